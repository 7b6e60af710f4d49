"""A page on this machine: a photo goes in, before, after and light map come back, and nothing is kept."""

from __future__ import annotations

import asyncio
import base64
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from cluster.redaction import redacted
from cluster.storage import sqlite_path
from lle.dotted import said
from lle.enhancers.base import STRONGEST
from lle.images import ImageError, decode_picture, encode_picture, on_white, read_header
from lle.model import BUNDLED, enhance_picture, enhance_pixels
from pipelines.config.demo import DemoSettings
from pipelines.config.train import TrackingSettings
from pipelines.inference.upload import WRITTEN_AS, asked_strength, uploaded
from pipelines.models.resolve import ModelError, NamedModel, find_model
from pipelines.reporting.html_report import data_uri, template, view
from pipelines.reporting.light_map import RAMP, light_map
from pipelines.reporting.local_page import Refusal, check_origin, headers, listening, local_app, serve
from pipelines.tracking.address import TrackingError, tracking_uri

RUNS = "runs"
CHAMPION = f"models:/{TrackingSettings().model_name}@champion"
VIEW_SIDE = 1600  # px, longer side of what the page shows; the download has all pixels
SUFFIXES = {"jpeg": ".jpg", "tiff": ".tif"}
HEADERS = headers(pictures="data:")


def run(settings: DemoSettings) -> None:
    """Serve the page until interrupted; raises what is told in one sentence."""
    model, listener = chosen_model(settings), listening(settings.port)
    serve(demo_app(model, settings), listener, f"enhances with {model.uri}", settings.open)


def chosen_model(settings: DemoSettings) -> NamedModel:
    """The model that was named; else the registered champion; else the bundled one.

    Raises:
        ModelError, TrackingError: the named one is not there.
    """
    tracking = tracking_uri(settings.tracking.uri, RUNS)
    if settings.model:
        return find_model(settings.model, tracking)
    database = sqlite_path(tracking)
    if not database or Path(database).exists():  # MLflow would make an empty one
        try:
            return find_model(CHAMPION, tracking)
        except (ModelError, TrackingError):
            print(f"no {CHAMPION} at {redacted(tracking)}: taking the bundled model", flush=True)
    return find_model(BUNDLED, tracking)


def demo_app(model: NamedModel, settings: DemoSettings) -> Starlette:
    """The page at `/`, and `/enhance`, which takes the bytes of a photo and gives JSON."""
    if torch.cuda.is_available():
        model.network.cuda()
    enhance_pixels(model.network, np.zeros((1, 64, 64, 3), np.uint8))  # the first photo should not pay for warming up
    one_at_a_time = asyncio.Lock()
    ramp = ", ".join(f"rgb{colour}" for colour in RAMP)
    page = template("demo.html").render(model=model, settings=settings, ramp=ramp, strongest=STRONGEST)

    async def show(request: Request) -> Response:
        return HTMLResponse(page, headers=HEADERS)

    async def enhance(request: Request) -> Response:
        try:
            check_origin(request)
            strength = asked_strength(request)
            data = await uploaded(request, settings.max_megabytes)
            async with one_at_a_time:
                found = await run_in_threadpool(brighten, model, data, settings.max_pixels, strength)
        except Refusal as refusal:
            return JSONResponse({"error": refusal.reason}, refusal.status, HEADERS)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:  # whatever it is, the page is told in one sentence and nothing of the photo
            return JSONResponse({"error": f"could not be enhanced ({said(error)})"}, 500, HEADERS)
        return JSONResponse(found, headers=HEADERS)

    return local_app([Route("/", show), Route("/enhance", enhance, methods=["POST"])])


def brighten(model: NamedModel, data: bytes, max_pixels: int, strength: float = 1.0) -> dict[str, Any]:
    """What the page shows of a photo: pictures as data URIs, stops of the light map, seconds, and the file to keep.

    Args:
        model: what enhances.
        data: the photo's file.
        max_pixels: pixel budget.
        strength: from 0 to 1.5; others than 1 of models that know them.

    Raises:
        Refusal: the file cannot be used, or not be enhanced here.
    """
    started = time.perf_counter()
    try:
        kind = WRITTEN_AS.get(read_header(data, "photo", max_pixels).format, "png")
        photo = decode_picture(data, "photo", max_pixels=max_pixels)
    except ImageError as error:
        raise Refusal(error.reason, 422) from error
    decoded = time.perf_counter()
    try:
        after = enhance_picture(model.network, photo, strength)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise Refusal("does not fit into memory; try a smaller photo", 507) from error
    except (RuntimeError, ValueError) as error:
        raise Refusal(f"could not be enhanced ({said(error)})", 500) from error
    enhanced = time.perf_counter()
    file = encode_picture(after, kind)
    encoded = time.perf_counter()
    colours, low, high = light_map(on_white(photo), on_white(after))
    height, width = after.pixels.shape[:2]
    profile = photo.icc_profile
    shown = {"input": (on_white(photo), profile), "enhanced": (on_white(after), profile), "light map": (colours, None)}
    return {
        "width": width,
        "height": height,
        "pictures": {label: data_uri(view(pixels, VIEW_SIDE, space)) for label, (pixels, space) in shown.items()},
        "stops": [low, high],
        "seconds": {"decoding": decoded - started, "enhancing": enhanced - decoded, "encoding": encoded - enhanced},
        "file": base64.b64encode(file).decode(),
        "suffix": SUFFIXES.get(kind, f".{kind}"),
        "type": f"image/{kind}",
    }
