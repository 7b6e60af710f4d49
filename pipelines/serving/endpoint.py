"""The endpoint: sees what comes in, lets one of two models enhance it, and counts how they do.

POST ROUTE           the file of a photo -> the file of its result
GET  ROUTE/health    {"status": "ok"}
GET  ROUTE/models    both models, how often they answered, how fast, and how their results differ on the same photos

A request is never lost with the process that works on it: another one gets it. What the canary fails at, or has not
done in half of the time, the champion answers. Each photo that the canary has answered is done by the champion, too,
afterwards, so that the two are compared on the same photos.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ray import serve
from ray.exceptions import RayActorError
from ray.util.metrics import Counter, Gauge, Histogram
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from lle.dotted import said
from lle.images import ImageError, TooLarge, read_header
from pipelines.config.serve import ServeSettings
from pipelines.inference.upload import WRITTEN_AS, Refusal, asked_strength, uploaded
from pipelines.serving.enhancing import Answer, Asked

CHAMPION, CANARY = "champion", "canary"
TRIES = 3  # of a photo, each with another process
PAUSE_SECONDS = 0.2
REMEMBERED = 1000  # requests of a model, for its percentiles
RETRY_AFTER = "1"  # seconds
TYPES = ("image/", "application/octet-stream")
FORMATS = tuple(dict.fromkeys(WRITTEN_AS.values()))
SECONDS_BUCKETS = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60]
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass
class Tally:
    """How a model has done.

    Attributes:
        answered, refused, failed: photos.
        seconds: of the last ones that it answered.
        model, version: what it is now.
    """

    answered: int = 0
    refused: int = 0
    failed: int = 0
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    model: str = ""
    version: str = ""

    def add(self, answer: Answer) -> None:
        """Count one more; a new version begins anew."""
        if answer.version and answer.version != self.version:
            if self.version:
                self.answered = self.refused = self.failed = 0
                self.seconds.clear()
            self.model, self.version = answer.model, answer.version
        self.answered += bool(answer.data)
        self.refused += bool(answer.refused)
        self.failed += bool(answer.failed)

    def report(self) -> dict[str, Any]:
        """Numbers for people."""
        names = ("model", "version", "answered", "refused", "failed")
        found: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.seconds:
            p50, p95 = np.percentile(self.seconds, (50, 95))
            found |= {"seconds_p50": round(float(p50), 4), "seconds_p95": round(float(p95), 4)}
        return found


class Endpoint:
    """The process that answers; one for an application, for it only passes files on.

    Args:
        applications: name of the one that holds a model, by what it is for; without a canary, the champion alone.
        settings: limits and shares.
    """

    def __init__(self, applications: Mapping[str, str], settings: ServeSettings) -> None:
        self._handles = dict[str, Any]()
        self._tallies = dict[str, Tally]()
        self._settings = settings
        self._under_way = 0
        self._same = deque[tuple[float, float]](maxlen=REMEMBERED)  # differences of level and burnt share
        self._same_of = "", ""  # versions of champion and canary
        self.comparing = set[asyncio.Task[None]]()
        tags = {"application": settings.name}
        self._requests = Counter(
            "lle_serve_requests", "Requests by status and model.", ("application", "status", "model")
        ).set_default_tags(tags)
        self._seconds = Histogram(
            "lle_serve_seconds", "From a photo's last byte to its result.", SECONDS_BUCKETS, ("application", "model")
        ).set_default_tags(tags)
        self._waiting = Gauge("lle_serve_under_way", "Photos under way.", ("application",)).set_default_tags(tags)
        self._tried_again = Counter(
            "lle_serve_retries", "Photos given to another process.", ("application",)
        ).set_default_tags(tags)

        for role, name in applications.items():
            self.add(role, serve.get_app_handle(name))

    def add(self, role: str, handle: Any) -> None:
        """Let a model answer.

        Args:
            role: what it is for.
            handle: its `remote` takes what is asked and gives the answer, as Ray Serve's do.
        """
        self._handles[role], self._tallies[role] = handle, Tally()

    async def __call__(self, request: Request) -> Response:
        """Any request below the route."""
        role = ""
        try:
            path = request.scope["path"].removeprefix(request.scope.get("root_path", "")).strip("/")
            if path in ("health", "models"):
                _see_method(request, "GET")
                return JSONResponse({"status": "ok"} if path == "health" else self.report(), headers=HEADERS)
            if path:
                raise Refusal(f"/{path[:60]} is not served; post photos to {self._settings.route}", 404)
            _see_method(request, "POST")
            role, response = await self._photo(request)
        except Refusal as refusal:
            headers = HEADERS | ({"Retry-After": RETRY_AFTER} if refusal.status == 503 else {})
            response = JSONResponse({"error": refusal.reason}, refusal.status, headers)
        except ClientDisconnect:
            response = Response(status_code=400)
        self._requests.inc(tags={"status": str(response.status_code), "model": role})
        return response

    def report(self) -> dict[str, Any]:
        """What `models` tells."""
        found: dict[str, Any] = {role: tally.report() for role, tally in self._tallies.items()}
        if CANARY in found:
            found[CANARY]["share"] = self._settings.canary.share
        if self._same:
            level, burnt = np.mean(self._same, axis=0)
            found["same_photos"] = {
                "photos": len(self._same),
                "canary_brighter_by": round(float(level), 4),
                "canary_burns_more_by": round(float(burnt), 4),
            }
        return found

    async def _photo(self, request: Request) -> tuple[str, Response]:
        if self._under_way >= self._settings.max_waiting:
            raise Refusal(f"{self._under_way} photos are under way already; send it again in a moment", 503)
        self._under_way += 1
        self._waiting.set(self._under_way)
        try:
            asked = await asked_for(request, self._settings)
            began = time.perf_counter()
            try:
                role, answer = await asyncio.wait_for(self._answered(asked), self._settings.seconds)
            except TimeoutError:
                raise Refusal(
                    f"was not done within {self._settings.seconds:g} s; send a smaller photo, or try again later", 504
                ) from None
            seconds = time.perf_counter() - began
            self._seconds.observe(seconds, {"model": role})
            self._tallies[role].seconds.append(seconds)
        finally:
            self._under_way -= 1
            self._waiting.set(self._under_way)
        if role == CANARY:
            task = asyncio.create_task(self._compare(asked, answer))
            self.comparing.add(task)
            task.add_done_callback(self.comparing.discard)
        about = {"X-Model": role, "X-Model-Version": answer.version}
        return role, Response(answer.data, media_type=f"image/{asked.format}", headers=HEADERS | about)

    async def _answered(self, asked: Asked) -> tuple[str, Answer]:
        """Which model answered, and what.

        Raises:
            Refusal: the photo cannot be used, or no model could enhance it.
        """
        role = CANARY if CANARY in self._handles and is_of_share(asked.data, self._settings.canary.share) else CHAMPION
        if role == CANARY:
            try:
                answer = await asyncio.wait_for(self._enhanced(CANARY, asked), self._settings.seconds / 2)
            except TimeoutError:
                answer = Answer(failed="takes too long")
            self._tallies[CANARY].add(answer)
            if answer.failed:
                role = CHAMPION
        if role == CHAMPION:
            answer = await self._enhanced(CHAMPION, asked)
            self._tallies[CHAMPION].add(answer)
        if answer.refused:
            raise Refusal(answer.refused, 422)
        if answer.failed:
            raise Refusal(f"could not be enhanced ({answer.failed})", 500)
        return role, answer

    async def _enhanced(self, role: str, asked: Asked) -> Answer:
        """What a model makes of a photo, by another process where the first one dies."""
        for left in reversed(range(TRIES)):
            try:
                answer: Answer = await self._handles[role].remote(asked)
                break
            except RayActorError as error:
                answer = Answer(failed=f"{TRIES} processes died with it: {said(error)}")
                if left:
                    self._tried_again.inc()
                    await asyncio.sleep(PAUSE_SECONDS)
            except Exception as error:
                answer = Answer(failed=said(error))
                break
        return answer

    async def _compare(self, asked: Asked, answer: Answer) -> None:
        """Let the champion do what the canary has done; nobody waits for it, so it is left out where many do."""
        if self._under_way > self._settings.max_waiting // 2:
            return
        try:
            other: Answer = await self._handles[CHAMPION].remote(asked)
        except Exception:
            return
        if other.data:
            if self._same_of != (versions := (other.version, answer.version)):
                self._same.clear()
                self._same_of = versions
            self._same.append((answer.level - other.level, answer.burnt - other.burnt))


async def asked_for(request: Request, settings: ServeSettings) -> Asked:
    """The photo of a request, seen to be one by its header.

    Raises:
        Refusal: it is none, too large, of a kind that is not taken, or asked for as what cannot be.
    """
    kind = request.headers.get("content-type", TYPES[1]).partition(";")[0].strip().lower()
    if not kind.startswith(TYPES):
        raise Refusal(
            f"the content type {kind[:60]!r} is not taken; post the file, as image/jpeg or application/octet-stream",
            415,
        )
    wanted, strength = request.query_params.get("format", "same"), asked_strength(request)
    if wanted not in ("same", *FORMATS):
        raise Refusal(f"format: {wanted[:20]!r} is none of same, {', '.join(FORMATS)}", 400)
    data = await uploaded(request, settings.max_megabytes)
    try:
        header = read_header(data, "photo", settings.max_pixels)
    except ImageError as error:
        raise Refusal(error.reason, 413 if isinstance(error, TooLarge) else 415) from error
    format = WRITTEN_AS.get(header.format, "png") if wanted == "same" else wanted
    return Asked(data, header.width * header.height, format, strength)


def is_of_share(data: bytes, share: float) -> bool:
    """Whether a photo is the canary's: by its bytes, so that asking again asks the same model."""
    return zlib.crc32(data) < share * 2**32


def _see_method(request: Request, wanted: str) -> None:
    if request.method != wanted:
        raise Refusal(f"{request.method} is not answered here; use {wanted}", 405)
