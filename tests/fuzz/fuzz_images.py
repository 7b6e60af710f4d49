"""Throw damaged pictures at the image reader: `python -m tests.fuzz.fuzz_images -runs=200000`.

It must answer with pixels or an ImageError, within two seconds and the memory of its pixel budget; what it has read can
be written again in every format. Other arguments are libFuzzer's. What it finds goes to tests/fuzz/found/images, which
a unit test reads again.
"""

from __future__ import annotations

import io
import struct
import sys
import tempfile
import zlib
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lle.images", "PIL"]):
    import numpy as np
    from PIL import Image, ImageCms

    from lle.images import ImageError, Picture, decode_picture, encode, encode_picture, losses, read_header

MAX_PIXELS = 1_000_000
WRITTEN_PIXELS = 10_000  # larger pictures are only read
LIMITS = ("-timeout=2", "-rss_limit_mb=2048", "-max_len=4096")


def read_one(data: bytes) -> None:
    """Header and pixels of whatever bytes."""
    for reader in (read_header, decode_picture):
        try:
            found = reader(data, max_pixels=MAX_PIXELS)
        except ImageError as error:
            assert "\n" not in str(error)
            continue
        if isinstance(found, Picture):
            check(found)


def check(picture: Picture) -> None:
    """The promises of a picture, and that it can be written."""
    pixels, alpha = picture.pixels, picture.alpha
    assert pixels.dtype in (np.uint8, np.uint16) and pixels.ndim == 3 and pixels.shape[2] == 3
    assert pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
    assert alpha is None or (alpha.shape == pixels.shape[:2] and alpha.dtype == pixels.dtype)
    if pixels.size < WRITTEN_PIXELS:
        for format in ("png", "jpeg", "tiff", "webp"):
            losses(picture, format)
            again = decode_picture(encode_picture(picture.enhanced(pixels), format))
            assert again.pixels.shape == pixels.shape
            kept = again.alpha is not None or alpha is None or alpha.min() == alpha.max()  # WebP drops what is opaque
            assert kept or format == "jpeg"


def samples() -> dict[str, bytes]:
    """Small good pictures of each format and mode, with EXIF and profiles, to be damaged."""
    colours = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
    found = {"ours.jpg": encode(colours, "jpeg"), "ours.png": encode(colours)}
    found |= {f"deep.{suffix}": encode(colours * np.uint16(257), suffix) for suffix in ("png", "tif")}
    found["planes.tif"] = in_planes(colours)
    found["chunks.png"] = with_chunks(encode(colours))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode, suffix in [
        ("RGB", "jpeg"), ("L", "jpeg"), ("CMYK", "jpeg"), ("RGB", "webp"), ("RGBA", "webp"), ("RGB", "bmp"),
        ("P", "gif"), ("RGBA", "png"), ("LA", "png"), ("P", "png"), ("1", "png"), ("I;16", "png"), ("RGB", "tiff"),
        ("F", "tiff"), ("CMYK", "tiff"), ("LAB", "tiff"), ("RGBA", "tiff"), ("RGB", "avif"), ("RGBA", "avif"),
    ]:  # fmt: skip
        picture = Image.fromarray(colours)
        if mode == "I;16":
            picture = Image.fromarray(colours[..., 0].astype(np.uint16) * 257)
        elif mode == "LAB":
            picture = Image.merge("LAB", picture.split())
        else:
            picture = picture.convert(mode)
            if mode == "RGBA":
                picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        stream = io.BytesIO()
        more = {"exif": exif.tobytes(), "icc_profile": profile} if suffix in ("jpeg", "webp", "png", "avif") else {}
        picture.save(stream, suffix, **more)
        found[f"{mode.replace(';', '')}.{suffix}"] = stream.getvalue()
    found["scene.heic"] = heic()
    found["scene.dng"] = raw()
    return found


def in_planes(colours: np.ndarray) -> bytes:
    """A TIFF of 16-bit samples, one plane behind another."""
    height, width = colours.shape[:2]
    plane = 2 * height * width
    entries = [(254, 0), (256, width), (257, height), (258, 0), (259, 1), (262, 2), (273, 6), (277, 3), (278, height)]
    entries += [(279, 18), (284, 2)]
    start = 8 + 2 + 12 * len(entries) + 4
    lists = struct.pack("<3H3I3I", 16, 16, 16, *[start + 30 + each * plane for each in range(3)], *[plane] * 3)
    directory = struct.pack("<H", len(entries))
    for tag, value in entries:
        kind, count = {258: (3, 3), 273: (4, 3), 279: (4, 3)}.get(tag, (4, 1))
        directory += struct.pack("<HHII", tag, kind, count, value + start if count == 3 else value)
    body = np.moveaxis(colours.astype("<u2") * 257, -1, 0).tobytes()
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + lists + body


def with_chunks(png: bytes) -> bytes:
    """A PNG with chunks of colours and texts."""
    chunks = b""
    for kind, content in (
        (b"gAMA", struct.pack(">I", 60_000)),
        (b"cHRM", struct.pack(">8I", 31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000)),
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 100)),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation='6'/><hdrgm:A>1</hdrgm:A>"),
        (b"pHYs", struct.pack(">IIB", 11_811, 11_811, 1)),
        (b"tRNS", struct.pack(">3H", 1, 2, 3)),
    ):
        chunks += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return png[:33] + chunks + png[33:]


def heic() -> bytes:
    """The HEIC of the unit tests: nothing here writes one."""
    from tests.unit.test_image_kinds import HEIC

    return HEIC


def raw() -> bytes:
    """The raw photo of the unit tests."""
    from tests.unit.test_raw import corners, dng

    return dng(corners())


def main() -> None:
    with tempfile.TemporaryDirectory() as corpus:
        for name, data in samples().items():
            Path(corpus, name).write_bytes(data)
        atheris.Setup([sys.argv[0], *LIMITS, *sys.argv[1:], corpus], read_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
