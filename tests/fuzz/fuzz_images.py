"""Throw damaged pictures at the image reader: `python -m tests.fuzz.fuzz_images -runs=200000`.

It must answer with pixels or an ImageError, within two seconds and the memory of its pixel budget. Other arguments are
libFuzzer's. What it finds goes to tests/fuzz/found/images, which a unit test reads again.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lle.images", "PIL"]):
    import numpy as np
    from PIL import Image, ImageCms

    from lle.images import ImageError, decode_picture, encode, read_header

MAX_PIXELS = 1_000_000
LIMITS = ("-timeout=2", "-rss_limit_mb=2048", "-max_len=4096")


def read_one(data: bytes) -> None:
    """Header and pixels of whatever bytes."""
    for reader in (read_header, decode_picture):
        try:
            found = reader(data, max_pixels=MAX_PIXELS)
        except ImageError:
            continue
        pixels = getattr(found, "pixels", None)
        if pixels is not None:
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
            assert pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS


def samples() -> dict[str, bytes]:
    """Small good pictures of each format and mode, with EXIF and profiles, to be damaged."""
    colours = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
    found = {"ours.jpg": encode(colours, "jpeg"), "ours.png": encode(colours)}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode, suffix in [
        ("RGB", "jpeg"), ("L", "jpeg"), ("CMYK", "jpeg"), ("RGB", "webp"), ("RGBA", "webp"), ("RGB", "bmp"),
        ("P", "gif"), ("RGBA", "png"), ("LA", "png"), ("P", "png"), ("1", "png"), ("I;16", "png"), ("RGB", "tiff"),
        ("F", "tiff"), ("CMYK", "tiff"), ("LAB", "tiff"),
    ]:  # fmt: skip
        picture = Image.fromarray(colours)
        if mode == "I;16":
            picture = Image.fromarray(colours[..., 0].astype(np.uint16) * 257)
        elif mode == "LAB":
            picture = Image.merge("LAB", picture.split())
        else:
            picture = picture.convert(mode)
        stream = io.BytesIO()
        more = {"exif": exif.tobytes(), "icc_profile": profile} if suffix in ("jpeg", "webp", "png") else {}
        picture.save(stream, suffix, **more)
        found[f"{mode.replace(';', '')}.{suffix}"] = stream.getvalue()
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as corpus:
        for name, data in samples().items():
            Path(corpus, name).write_bytes(data)
        atheris.Setup([sys.argv[0], *LIMITS, *sys.argv[1:], corpus], read_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
