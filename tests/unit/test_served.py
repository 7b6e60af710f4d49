"""What MLflow's server answers for this model: no error repeats what was sent, and whose fault it is shows."""

from __future__ import annotations

import base64
import io
import json
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mlflow.pyfunc import scoring_server
from PIL import Image

from lle.config import EnhancerSettings
from lle.enhancers import build_enhancer
from lle.images import decode, encode
from lle.model import Model
from pipelines.config.demo import DemoSettings
from pipelines.config.enhance import EnhanceSettings
from pipelines.models import served
from pipelines.models.served import PhotoServer, answer

JSON = "application/json"
MARK = "Q" * 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> PhotoServer:
    settings = EnhancerSettings(arch="compact", thumbnail_size=32, width=4)
    torch.manual_seed(0)
    folder = Model(build_enhancer(settings).requires_grad_(False), settings).save(tmp_path_factory.mktemp("model"))
    made = PhotoServer()
    made.load_context(SimpleNamespace(artifacts={"model": str(folder)}))
    return made


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> PhotoServer:
    """A model with a strength."""
    settings = EnhancerSettings(arch="exposure", thumbnail_size=32, width=8, denoise=0)
    enhancer = build_enhancer(settings)
    torch.nn.init.constant_(enhancer.exposure.bias, 0.3)
    folder = Model(enhancer.requires_grad_(False), settings).save(tmp_path_factory.mktemp("model"))
    made = PhotoServer()
    made.load_context(SimpleNamespace(artifacts={"model": str(folder)}))
    return made


def body(*photos: bytes | str, **more: Any) -> bytes:
    texts = [each if isinstance(each, str) else base64.b64encode(each).decode() for each in photos]
    return json.dumps({"inputs": texts, **more}).encode()


def test_photos_come_back_as_png_of_their_size(server: PhotoServer) -> None:
    photo = np.random.default_rng(0).integers(0, 60, (30, 41, 3), dtype=np.uint8)
    said = answer(body(encode(photo)), f"{JSON}; charset=utf-8", server, None)
    assert said.status == 200 and said.mimetype == JSON
    (picture,) = json.loads(said.response)["predictions"]
    assert decode(base64.b64decode(picture)).shape == (30, 41, 3)


def test_a_strength_goes_from_the_photo_to_more_than_trained(knowing: PhotoServer) -> None:
    photo = np.random.default_rng(0).integers(0, 60, (30, 41, 3), dtype=np.uint8)

    def served_at(**more: Any) -> np.ndarray:
        said = answer(body(encode(photo), **more), JSON, knowing, None)
        assert said.status == 200
        return decode(base64.b64decode(json.loads(said.response)["predictions"][0]))

    left_out = served_at()
    for strength in (0, 0.5, 1, 1.5):
        expected = knowing._model.enhance(photo, strength)
        assert (served_at(params={"strength": strength}) == expected).all()
        assert (strength == 0) == (expected == photo).all() and (strength == 1) == (expected == left_out).all()


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"strength": 2}, "strength: 2 lies outside 0 to 1.5"),
        ({"strength": -0.1}, "strength: -0.1 lies outside 0 to 1.5"),
        ({"strength": float("nan")}, "strength: nan lies outside 0 to 1.5"),
        ({"strength": 10**400}, "strength: inf lies outside 0 to 1.5"),
        ({"strength": MARK}, "the strength of the request is no number"),
        ({"strength": True}, "the strength of the request is no number"),
        ({"strength": None}, "the strength of the request is no number"),
        ({"strenght": 1}, "the request has params other than "),
        ([MARK], "the request has params other than "),
    ],
)
def test_a_strength_that_is_none_is_answered_400(knowing: PhotoServer, params: Any, reason: str) -> None:
    said = answer(body(b"no photo", params=params), JSON, knowing, None)
    assert said.status == 400 and reason in json.loads(said.response)["message"]
    assert MARK not in said.response


def test_a_model_without_a_strength_says_so_and_takes_1(server: PhotoServer) -> None:
    photo = encode(np.zeros((8, 8, 3), np.uint8))
    assert answer(body(photo, params={"strength": 1}), JSON, server, None).status == 200
    said = answer(body(photo, params={"strength": 0.5}), JSON, server, None)
    assert said.status == 400 and "knows none but 1; leave it out" in json.loads(said.response)["message"]


@pytest.mark.parametrize(
    ("data", "content_type", "reason"),
    [
        (body(b"no photo" * 1000), JSON, "photo 1: not a JPEG, PNG, WebP"),
        (body(MARK + "!" * 9), JSON, "photo 1 is not base64"),
        (body(MARK + "ä" * 9), JSON, "photo 1 is not base64"),
        (MARK.encode() * 1000, JSON, "the request is not valid JSON"),
        (b"\xff\xd8" + MARK.encode() * 1000, JSON, "the request is not valid JSON"),
        (b"[" * 100_000, JSON, "the request is not valid JSON"),
        (b"[1]", JSON, "the request has no list of texts named inputs"),
        (json.dumps({"inputs": MARK * 1000}).encode(), JSON, "the request has no list of texts named inputs"),
        (json.dumps({"inputs": [{"b64": MARK * 99}]}).encode(), JSON, "the request has no list of texts named inputs"),
        (json.dumps({"instances": [MARK * 99]}).encode(), JSON, "the request has no list of texts named inputs"),
        (json.dumps({"messages": [MARK * 99]}).encode(), JSON, "the request has no list of texts named inputs"),
        (MARK.encode() * 99, "image/jpeg", "the request is no JSON"),
        (MARK.encode() * 99, "text/csv", "the request is no JSON"),
        (MARK.encode() * 99, None, "the request is no JSON"),
    ],
)
def test_a_request_at_fault_is_answered_400_without_repeating_it(
    server: PhotoServer, data: bytes, content_type: str | None, reason: str
) -> None:
    said = answer(data, content_type, server, None)
    assert said.status == 400 and reason in json.loads(said.response)["message"]
    assert len(said.response) < 400 and MARK not in said.response


def test_a_model_at_fault_is_answered_500_in_one_sentence() -> None:
    def predict(photos: list[bytes], params: dict[str, float]) -> list[bytes]:
        raise RuntimeError("the model is broken\n" + MARK)

    said = answer(body(b"photo"), JSON, SimpleNamespace(predict=predict), None)
    assert said.status == 500
    assert json.loads(said.response)["message"] == "the photos could not be enhanced (the model is broken)"


def test_mlflows_own_answers_are_replaced_where_it_serves_the_model_and_nowhere_else(
    server: PhotoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scoring_server.invocations is not answer
    monkeypatch.setattr(scoring_server, "invocations", scoring_server.invocations)  # put back afterwards
    monkeypatch.setitem(sys.modules, f"{served.SERVER}.app", SimpleNamespace())
    server_again: Any = PhotoServer()
    monkeypatch.setattr(served.lle, "load", lambda folder: server._model)
    server_again.load_context(SimpleNamespace(artifacts={"model": ""}))
    assert scoring_server.invocations is answer


def test_the_server_and_the_page_take_what_enhance_takes(server: PhotoServer) -> None:
    limit = EnhanceSettings.model_fields["max_pixels"].default
    assert limit == served.MAX_PIXELS == DemoSettings().max_pixels
    assert DemoSettings().max_megabytes * 10**6 >= served.most_bytes(limit)
    file = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(file, "PNG")  # 144 megapixels, over the 80 of training
    served.check_sizes([file.getvalue()])
    said = answer(body(file.getvalue(), file.getvalue()), JSON, server, None)
    assert said.status == 400 and "over the limit of 150000000" in said.response
