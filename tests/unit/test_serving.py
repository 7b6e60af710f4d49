"""The endpoint without a cluster: what is refused and how, batches by size, who answers, who else where one dies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from ray.exceptions import ActorDiedError
from starlette.requests import Request
from starlette.responses import Response
from torch import nn

from lle.images import decode, encode
from lle.model import load
from pipelines.config.serve import CanarySettings, ServeSettings
from pipelines.models.named import NamedModel
from pipelines.serving.endpoint import CANARY, CHAMPION, TRIES, Endpoint, asked_for, is_of_share
from pipelines.serving.enhancing import MOST_PHOTOS, Answer, Asked, Enhancing, size_of

SHARE = 0.5


class Brighten(nn.Module):
    """Adds so many of 255, and remembers the shapes that it was asked for."""

    def __init__(self, levels: float) -> None:
        super().__init__()
        self.levels = levels
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(image.shape))
        return image + self.levels / 255


def photo(value: int = 40, height: int = 20, width: int = 30) -> bytes:
    return encode(np.full((height, width, 3), value, np.uint8))


def asked(data: bytes, strength: float = 1.0) -> Asked:
    height, width = decode(data).shape[:2]
    return Asked(data, height * width, "png", strength)


def replica(network: nn.Module, name: str = "mine", **settings: object) -> Enhancing:
    return Enhancing(NamedModel(name, name, network), ServeSettings(**settings))


class Handle:
    """A replica in this process, called as Ray's handles are; the first calls may find it dead."""

    def __init__(self, enhancing: Enhancing, deaths: int = 0, seconds: float = 0.0) -> None:
        self.enhancing, self.deaths, self.seconds, self.calls = enhancing, deaths, seconds, 0

    async def remote(self, asked: Asked) -> Answer:
        self.calls += 1
        await asyncio.sleep(self.seconds)
        if self.deaths:
            self.deaths -= 1
            raise ActorDiedError()
        return self.enhancing.enhance([asked])[0]


def endpoint(handles: dict[str, Handle], **settings: object) -> Endpoint:
    found = Endpoint({}, ServeSettings(**settings))
    for role, handle in handles.items():
        found.add(role, handle)
    return found


def request(data: bytes = b"", path: str = "", query: str = "", kind: str = "image/png", **more: object) -> Request:
    """A request below /enhance, its body in pieces."""
    pieces = [data[start : start + 1000] for start in range(0, len(data), 1000)] or [b""]
    messages = [{"type": "http.request", "body": piece, "more_body": piece is not pieces[-1]} for piece in pieces]

    async def receive() -> dict:
        return messages.pop(0)

    headers = {"content-type": kind, **more.pop("headers", {})}
    scope = {"type": "http", "method": "POST", "path": f"/enhance{path}", "root_path": "/enhance"}
    scope |= {"query_string": query.encode(), **more}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in headers.items() if value]
    return Request(scope, receive)


def told(response: Response) -> str:
    return json.loads(response.body)["error"]


# --- a replica --------------------------------------------------------------------------------------------------------


def test_photos_of_one_size_and_strength_are_enhanced_at_once_and_come_back_in_order():
    network = Brighten(50)
    answers = replica(network).enhance([asked(photo(10)), asked(photo(20, 10, 10)), asked(photo(30))])
    assert [decode(each.data)[0, 0, 0] for each in answers] == [60, 70, 80]
    assert [shape[0] for shape in network.shapes[1:]] == [2, 1]  # behind the one that warms up
    assert answers[0].level == pytest.approx(60 / 255, abs=1e-3) and answers[0].burnt == 0


def test_what_is_wrong_with_one_photo_does_not_touch_the_others():
    class Choosy(Brighten):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            if (image > 0.5).any():
                raise RuntimeError("too bright for me")
            return super().forward(image)

    good = asked(photo(10))
    broken = Asked(photo()[:60], 600, "png")
    answers = replica(Choosy(50)).enhance([good, broken, asked(photo(200)), asked(photo(10), 0.5)])
    assert decode(answers[0].data)[0, 0, 0] == 60
    assert answers[1].refused.startswith("damaged or truncated")
    assert answers[2].failed == "too bright for me"
    assert answers[3].refused == "strength: mine knows none but 1; leave it out"


def test_the_bundled_model_answers_as_it_does_without_the_endpoint():
    model = load("bundled")
    data = encode(np.random.default_rng(0).integers(0, 90, (40, 60, 3), dtype=np.uint8))
    answer = Enhancing(NamedModel("bundled", "bundled", model), ServeSettings()).enhance([asked(data, 0.5)])[0]
    assert np.array_equal(decode(answer.data), model.enhance(decode(data), strength=0.5))


def test_a_batch_is_as_large_as_its_pixels_and_one_photo_always_fits():
    def of(*pixels: int) -> int:
        return size_of([Asked(b"", each, "png") for each in pixels], 1600)

    assert of(1000) == 1000 and of(5000) == 1600
    assert of(1000, 600) == 1600 and of(1000, 601) > 1600 and of(5000, 1) > 1600
    assert of(*[1] * MOST_PHOTOS) == 1600 and of(*[1] * (MOST_PHOTOS + 1)) > 1600


# --- what is asked for ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "status", "reason"),
    [
        (lambda: request(photo(), kind="text/plain"), 415, "the content type 'text/plain' is not taken; post the file"),
        (lambda: request(b"no photo at all"), 415, "not a JPEG, PNG"),
        (lambda: request(photo(), query="strength=2"), 400, "strength: 2 lies outside 0 to 1.5"),
        (lambda: request(photo(), query="format=gif"), 400, "format: 'gif' is none of same, jpeg"),
        (lambda: request(photo(0, 100, 100)), 413, "100 x 100 pixels are over the limit of 5000"),
        (lambda: request(bytes(1_000_001)), 413, "is over the limit of 1 MB"),
        (lambda: request(photo(), headers={"content-length": "2000000"}), 413, "is over the limit of 1 MB"),
        (lambda: request(photo()[:60]), 422, "damaged or truncated"),
        (lambda: request(photo(), path="/other"), 404, "/other is not served; post photos to /enhance"),
        (lambda: request(photo(), method="PUT"), 405, "PUT is not answered here; use POST"),
        (lambda: request(path="/health"), 405, "POST is not answered here; use GET"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_a_sentence(given: Callable[[], Request], status: int, reason: str):
    handle = Handle(replica(Brighten(50)))
    response = asyncio.run(endpoint({CHAMPION: handle}, max_pixels=5000, max_megabytes=1)(given()))
    assert response.status_code == status and told(response).startswith(reason)
    assert "retry-after" not in response.headers


def test_a_photo_comes_back_as_it_came_or_as_it_was_asked_for():
    found = endpoint({CHAMPION: Handle(replica(Brighten(50)))})
    response = asyncio.run(found(request(photo(10), kind="application/octet-stream")))
    assert response.status_code == 200 and response.media_type == "image/png"
    assert decode(response.body)[0, 0, 0] == 60 and response.headers["x-model"] == CHAMPION
    assert asyncio.run(found(request(photo(10), query="format=jpeg"))).body[:2] == b"\xff\xd8"
    wanted = asyncio.run(asked_for(request(photo(10), kind="", query="strength=0.25"), ServeSettings()))
    assert (wanted.strength, wanted.pixels, wanted.format) == (0.25, 600, "png")
    assert json.loads(asyncio.run(found(request(path="/health", method="GET"))).body) == {"status": "ok"}


def test_more_photos_than_may_wait_are_sent_away_for_a_moment_and_none_is_lost():
    handle = Handle(replica(Brighten(50)), seconds=0.05)
    found = endpoint({CHAMPION: handle}, max_waiting=3)

    async def five() -> list[Response]:
        return await asyncio.gather(*(found(request(photo())) for _ in range(5)))

    answers = asyncio.run(five())
    assert sorted(each.status_code for each in answers) == [200] * 3 + [503] * 2
    away = next(each for each in answers if each.status_code == 503)
    assert told(away) == "3 photos are under way already; send it again in a moment"
    assert away.headers["retry-after"] == "1"
    assert asyncio.run(found(request(photo()))).status_code == 200


def test_a_photo_that_takes_too_long_is_given_up():
    found = endpoint({CHAMPION: Handle(replica(Brighten(50)), seconds=5)}, seconds=0.05)
    response = asyncio.run(found(request(photo())))
    assert response.status_code == 504 and told(response).startswith("was not done within 0.05 s")


# --- processes that die, and two models -------------------------------------------------------------------------------


def test_a_photo_outlives_the_processes_that_die_with_it_unless_it_kills_them_all():
    handle = Handle(replica(Brighten(50)), deaths=TRIES - 1)
    assert asyncio.run(endpoint({CHAMPION: handle})(request(photo()))).status_code == 200 and handle.calls == TRIES
    handle = Handle(replica(Brighten(50)), deaths=100)
    response = asyncio.run(endpoint({CHAMPION: handle})(request(photo())))
    assert response.status_code == 500 and f"{TRIES} processes died with it" in told(response)


def test_the_canary_has_its_share_and_the_same_photo_always_goes_the_same_way():
    photos = [photo(value, 2, 2) for value in range(200)]
    chosen = [is_of_share(each, 0.25) for each in photos]
    assert 30 <= sum(chosen) <= 70 and chosen == [is_of_share(each, 0.25) for each in photos]
    assert all(is_of_share(each, 0.75) for each, is_chosen in zip(photos, chosen, strict=True) if is_chosen)


def both(champion: nn.Module, canary: nn.Module) -> Endpoint:
    handles = {CHAMPION: Handle(replica(champion, "old")), CANARY: Handle(replica(canary, "new"))}
    return endpoint(handles, canary=CanarySettings(model="new", share=SHARE))


def test_what_the_canary_answers_is_compared_with_the_champion_on_the_same_photos():
    found = both(Brighten(50), Brighten(101))
    photos = [photo(value) for value in range(20)]

    async def all_of_them() -> list[Response]:
        answers = [await found(request(each)) for each in photos]
        await asyncio.gather(*found.comparing)
        return answers

    answers = asyncio.run(all_of_them())
    for data, answer in zip(photos, answers, strict=True):
        assert answer.headers["x-model"] == (CANARY if is_of_share(data, SHARE) else CHAMPION)
    report = found.report()
    share = sum(is_of_share(each, SHARE) for each in photos)
    assert (report[CHAMPION]["answered"], report[CANARY]["answered"]) == (20 - share, share)
    assert report["same_photos"]["photos"] == share
    assert report["same_photos"]["canary_brighter_by"] == pytest.approx(51 / 255, abs=1e-3)


def test_what_the_canary_fails_at_the_champion_answers():
    class Broken(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image if image.shape[-1] == 64 else image * float("nan")  # well while it warms up

    found = both(Brighten(50), Broken())
    data = next(each for each in map(photo, range(100)) if is_of_share(each, SHARE))
    response = asyncio.run(found(request(data)))
    assert response.status_code == 200 and response.headers["x-model"] == CHAMPION
    assert found.report()[CANARY]["failed"] == 1


def test_what_the_canary_takes_too_long_for_the_champion_answers():
    handles = {CHAMPION: Handle(replica(Brighten(50), "old")), CANARY: Handle(replica(Brighten(50), "new"), seconds=9)}
    found = endpoint(handles, canary=CanarySettings(model="new", share=SHARE), seconds=2)
    data = next(each for each in map(photo, range(100)) if is_of_share(each, SHARE))
    response = asyncio.run(found(request(data)))
    assert response.status_code == 200 and response.headers["x-model"] == CHAMPION
    assert found.report()[CANARY]["failed"] == 1
