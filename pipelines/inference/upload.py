"""A photo that comes by HTTP: what is asked for, what it may be, and why it is refused, in one sentence."""

from __future__ import annotations

import re

from starlette.requests import Request

from lle.enhancers.base import checked_strength
from pipelines.reporting.local_page import Refusal

WRITTEN_AS = {format: format.lower() for format in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF")}
WRITTEN_AS |= dict.fromkeys(("HEIF", "RAW"), "jpeg")


def asked_strength(request: Request) -> float:
    """The request's strength; 1 without one.

    Raises:
        Refusal: it is none.
    """
    try:
        return checked_strength(float(request.query_params.get("strength", 1)))
    except ValueError as error:
        raise Refusal(str(error), 400) from error


async def uploaded(request: Request, max_megabytes: int) -> bytes:
    """The body of a request.

    Raises:
        Refusal: it is too large; no more than the limit is ever held.
    """
    limit, data = max_megabytes * 10**6, bytearray()
    too_large = Refusal(f"is over the limit of {max_megabytes} MB; send a smaller file, or raise --max-megabytes", 413)
    told = request.headers.get("content-length") or "0"
    if not re.fullmatch("[0-9]{1,20}", told):
        raise Refusal("the request tells no length that is a number; send the photo again", 400)
    if int(told) > limit:
        raise too_large
    async for part in request.stream():
        data += part
        if len(data) > limit:
            raise too_large
    return bytes(data)
