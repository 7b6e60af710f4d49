"""Files in, RGB out: every supported format and mode, and every way a file can be bad."""

import io
import pickle
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from lle import images
from lle.images import ImageError, ImageHeader, decode, decode_picture, encode, pixels, read_header

# Pillow warns where these tests hand it broken metadata and bombs on purpose.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Corrupt EXIF data"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]

FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"]


def scene(height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture whose four corners differ, so that lossy formats keep it and every turn shows."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.stack([40 + 180 * x, 30 + 200 * y, 120 - 80 * x * y], -1).round().astype(np.uint8)


def noise(height: int = 96, width: int = 128) -> np.ndarray:
    """A picture that does not compress: its file holds pixel data up to the end."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def file_of(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def file_with_orientation(pixels: np.ndarray, format: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return file_of(Image.fromarray(pixels), format, exif=exif)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG written by hand, for kinds that Pillow cannot write."""
    body = b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return png_header(width, height, depth, colour) + body


def difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


# ---- formats and modes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_the_pixels_and_the_header(format: str) -> None:
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"quality": 98}}.get(format, {})
    tolerance = {"JPEG": 4, "WEBP": 12, "GIF": 60}.get(format, 0)  # GIF: 256 colours
    data = file_of(Image.fromarray(scene()), format, **options)
    pixels = decode(data)
    assert pixels.dtype == np.uint8 and pixels.shape == (48, 64, 3)
    assert pixels.flags.writeable and pixels.flags.c_contiguous
    assert difference(pixels, scene()) <= tolerance
    header = read_header(data)
    assert (header.width, header.height, header.format) == (64, 48, format)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "GIF"])
def test_grey_is_repeated_in_all_channels(format: str) -> None:
    grey = scene()[..., 0]
    assert np.array_equal(decode(file_of(Image.fromarray(grey), format)), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "GIF"])
def test_black_and_white_becomes_0_and_255(format: str) -> None:
    checks = (np.indices((16, 24)).sum(0) % 2).astype(bool)
    pixels = decode(file_of(Image.fromarray(checks), format))
    assert np.array_equal(pixels[..., 1], checks * np.uint8(255))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "GIF"])
def test_palette_gives_its_colours(format: str) -> None:
    palette = Image.fromarray(scene()).quantize(32)
    assert np.array_equal(decode(file_of(palette, format)), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_a_transparent_palette_entry_gets_the_colour_beside_it(format: str) -> None:
    palette = Image.new("P", (8, 4), 1)
    palette.putpalette([250, 10, 20, 30, 200, 40])
    palette.paste(0, (0, 0, 4, 4))
    pixels = decode(file_of(palette, format, transparency=0))
    assert np.array_equal(pixels, np.full((4, 8, 3), [30, 200, 40], np.uint8))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_transparent_places_are_filled_from_opaque_ones_which_are_kept(format: str) -> None:
    rgba = np.dstack([scene(), np.full((48, 64), 255, np.uint8)])
    rgba[:16] = 0
    rgba[16:32, :, 3] = 128
    pixels = decode(file_of(Image.fromarray(rgba), format, **({"lossless": True} if format == "WEBP" else {})))
    assert np.array_equal(pixels[32:], scene()[32:])
    assert scene()[32:].min() <= pixels[:32].min() and pixels[:32].max() <= scene()[32:].max()


def test_transparent_grey_is_filled_too() -> None:
    la = Image.merge("LA", [Image.new("L", (2, 1), 200), Image.fromarray(np.array([[255, 0]], np.uint8))])
    la.putpixel((1, 0), (7, 0))
    assert decode(file_of(la, "PNG"))[0].tolist() == [[200] * 3, [200] * 3]


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_gradient_keeps_all_256_levels(format: str) -> None:
    ramp = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    pixels = decode(file_of(Image.fromarray(ramp), format))
    assert len(np.unique(pixels)) == 256
    assert np.array_equal(pixels[..., 0], np.rint(ramp / 257).astype(np.uint8))
    assert read_header(file_of(Image.fromarray(ramp), format)).mode == "I;16"


def test_16_bit_big_endian_tiff_is_scaled_like_a_little_endian_one() -> None:
    ramp = np.arange(0, 65_536, 64, dtype=np.uint16).reshape(32, 32)
    big = Image.frombytes("I;16B", (32, 32), ramp.astype(">u2").tobytes())
    assert np.array_equal(decode(file_of(big, "TIFF")), decode(file_of(Image.fromarray(ramp), "TIFF")))


def test_16_bit_tiff_whose_white_is_zero_is_inverted() -> None:
    data = file_of(Image.fromarray(np.array([[0, 65_535]], np.uint16)), "TIFF")
    assert decode(data)[0, :, 0].tolist() == [0, 255]
    black_is_zero, white_is_zero = struct.pack("<HHIH", 262, 3, 1, 1), struct.pack("<HHIH", 262, 3, 1, 0)
    assert data.count(black_is_zero) == 1
    assert decode(data.replace(black_is_zero, white_is_zero))[0, :, 0].tolist() == [255, 0]


def test_16_bit_colour_png_is_scaled_to_8_bits() -> None:
    values = [0, 257, 12_850, 32_896, 40_000, 65_535]
    pixels = decode(png(2, 1, 16, 2, b"\0" + struct.pack(">6H", *values)))
    assert difference(pixels.ravel(), np.array(values) / 257) <= 1


def test_16_bit_grey_png_with_a_transparent_value_is_filled_there() -> None:
    data = png(2, 1, 16, 0, b"\0" + struct.pack(">2H", 25_700, 40_000), chunk(b"tRNS", struct.pack(">H", 40_000)))
    assert decode(data)[0].tolist() == [[100] * 3, [100] * 3]


def test_floating_point_tiff_is_refused_with_its_reason() -> None:
    data = file_of(Image.new("F", (8, 8), 0.5), "TIFF")
    for reader in (decode, read_header):
        with pytest.raises(
            ImageError, match=r"f\.tif: TIFF with floating-point, .* samples, which .*; save it as grey"
        ):
            reader(data, "f.tif")


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_comes_out_close_to_the_rgb_it_was_made_of(format: str) -> None:
    options = {"quality": 98} if format == "JPEG" else {}
    data = file_of(Image.fromarray(scene()).convert("CMYK"), format, **options)
    assert read_header(data).mode == "CMYK"
    assert difference(decode(data), scene()) <= 8


def test_inverted_cmyk_of_adobe_is_not_a_negative() -> None:
    data = file_of(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG")  # no ink: white paper
    assert b"Adobe" in data
    assert decode(data).min() >= 253


def test_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (16, 8), colour) for colour in ("red", "blue")]
    for format, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})):
        data = file_of(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert decode(data)[4, 8].tolist() == [255, 0, 0], format


# ---- orientation -----------------------------------------------------------------------------------------------------

UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p.swapaxes(0, 1)[:, ::-1],
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: p.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("pixels_of_a_strip", [1, 1000])
def test_samples_are_the_same_strip_by_strip(
    mode: str, pixels_of_a_strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "_STRIP_PIXELS", pixels_of_a_strip)
    image = Image.fromarray(noise(67, 31)).convert(mode)
    assert np.array_equal(pixels.array_of(image), np.asarray(image))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied_to_pixels_and_header(format: str, orientation: int) -> None:
    data = file_with_orientation(scene(), format, orientation)
    expected = UPRIGHT[orientation](scene())
    pixels = decode(data)
    assert pixels.shape == expected.shape
    assert difference(pixels, expected) <= {"JPEG": 16, "WEBP": 24}.get(format, 0)
    header = read_header(data)
    assert (header.height, header.width) == expected.shape[:2]


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_impossible_orientation_is_ignored(orientation: int) -> None:
    assert np.array_equal(decode(file_with_orientation(scene(), "PNG", orientation)), scene())


def test_broken_exif_is_ignored() -> None:
    data = file_of(Image.fromarray(scene()), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert np.array_equal(decode(data), scene())
    assert read_header(data) == ImageHeader(64, 48, "PNG", "RGB")


# ---- colour profiles -------------------------------------------------------------------------------------------------


def swapped_profile() -> bytes:
    """An RGB profile whose red and blue primaries are exchanged: its effect cannot be overlooked."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", profile, 128)[0]
    entries = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * count, 12)}
    red, blue = entries[b"rXYZ"], entries[b"bXYZ"]
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_embedded_profile_is_converted_to_srgb(format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    data = file_of(Image.fromarray(scene()), format, icc_profile=swapped_profile(), **options)
    assert difference(decode(data), scene()[..., ::-1]) <= 2


def test_profile_applies_to_grey_and_to_opaque_parts_below_alpha() -> None:
    grey = file_of(Image.fromarray(scene()[..., 0]), "PNG", icc_profile=swapped_profile())
    assert difference(decode(grey), np.repeat(scene()[..., :1], 3, axis=2)) <= 2  # neutral stays neutral
    rgba = np.dstack([scene(), np.where(np.arange(64) < 32, 0, 255)[None].repeat(48, 0).astype(np.uint8)])
    pixels = decode(file_of(Image.fromarray(rgba), "PNG", icc_profile=swapped_profile()))
    assert pixels[:, :32].any()
    assert difference(pixels[:, 32:], scene()[:, 32:, ::-1]) <= 2


def test_srgb_profile_leaves_the_pixels_exactly_alone() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(decode(file_of(Image.fromarray(noise()), "PNG", icc_profile=profile)), noise())


@pytest.mark.parametrize("profile", [b"not a profile", swapped_profile()[:200]])
def test_broken_profile_is_ignored(profile: bytes) -> None:
    assert np.array_equal(decode(file_of(Image.fromarray(scene()), "PNG", icc_profile=profile)), scene())


def test_profile_for_another_kind_of_pixels_is_ignored() -> None:
    data = file_of(Image.fromarray(scene()).convert("CMYK"), "TIFF", icc_profile=swapped_profile())
    assert difference(decode(data), scene()) <= 2


# ---- the pixel budget ------------------------------------------------------------------------------------------------


def webp_header(width: int, height: int) -> bytes:
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4 + (width - 1).to_bytes(3, "little")
    body += (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif_header(width: int, height: int) -> bytes:
    descriptor = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0)
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + descriptor + b"\x08\x01\0\0;"


def bmp_header(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("header", [png_header, webp_header, gif_header, bmp_header])
@pytest.mark.parametrize("size", [(10_000, 10_000), (50_000, 50_000)])  # the second is over Pillow's own limit too
def test_bomb_is_refused_in_its_header(header: Callable[[int, int], bytes], size: tuple[int, int]) -> None:
    for reader in (decode, read_header):
        with pytest.raises(ImageError, match=r"bomb: .*(over the limit of 80000000|2500000000 pixels)"):
            reader(header(*size), "bomb")


@pytest.mark.parametrize("format", FORMATS)
def test_budget_is_a_setting_and_exact(format: str) -> None:
    data = file_of(Image.fromarray(scene()), format)
    assert decode(data, max_pixels=64 * 48).shape == (48, 64, 3)
    for reader in (decode, read_header):
        with pytest.raises(ImageError, match=r"x\.img: 64 x 48 pixels are over the limit of 3071; shrink"):
            reader(data, "x.img", max_pixels=64 * 48 - 1)


@pytest.mark.parametrize("data", [png_header(0, 5), png_header(5, 0)])
def test_image_without_pixels_is_refused(data: bytes) -> None:
    for reader in (decode, read_header):
        with pytest.raises(ImageError, match="has no pixels"):
            reader(data)


# ---- bad files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.97])
@pytest.mark.parametrize("format", FORMATS)
def test_truncated_file_is_refused(format: str, share: float) -> None:
    data = file_of(Image.fromarray(noise()), format)
    with pytest.raises(ImageError) as caught:
        decode(data[: int(len(data) * share)], "s3://photos/cut")
    assert caught.value.uri == "s3://photos/cut"
    assert "damaged" in caught.value.reason


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg"])
def test_truncated_compressed_tiff_is_refused(compression: str) -> None:
    data = file_of(Image.fromarray(noise()), "TIFF", compression=compression)
    with pytest.raises(ImageError):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_header_is_read_from_the_beginning_of_a_file(format: str) -> None:
    data = file_of(Image.fromarray(noise(480, 640)), format)
    assert read_header(data[:4096]) == read_header(data)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [False, True])
def test_webp_prefix_has_the_size_and_mode_of_the_file(mode: str, lossless: bool) -> None:
    image = Image.fromarray(noise()).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    data = file_of(image, "WEBP", lossless=lossless)
    assert read_header(data[:64]) == read_header(data) == ImageHeader(128, 96, "WEBP", mode)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>", "not a JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC, AVIF or raw image"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a video or another container"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "begins as HEIC or AVIF, but its header is damaged or cut short"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "begins as HEIC or AVIF, but its header is damaged or cut short"),
        (b"P6 1 1 255\n\1\2\3", "not a JPEG"),  # an image, but of a format that is not ours
        (b"\xff\xd8\xff\xe0 and no more", "damaged or truncated"),
        (b"BM and no more", "begins as BMP, but its header is damaged or cut short"),
    ],
)
def test_what_is_not_an_image_is_refused_with_uri_and_reason(data: bytes, reason: str) -> None:
    for reader in (decode, read_header):
        with pytest.raises(ImageError) as caught:
            reader(data, "s3://photos/a")
        assert caught.value.uri == "s3://photos/a"
        assert caught.value.reason.startswith(reason)
        assert str(caught.value) == f"s3://photos/a: {caught.value.reason}"


def test_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(ImageError("a.jpg", "the file is empty")))
    assert (type(error), error.uri, error.reason, str(error)) == (
        ImageError,
        "a.jpg",
        "the file is empty",
        "a.jpg: the file is empty",
    )


def refused_or_rgb(data: bytes) -> None:
    try:
        pixels = decode(data, "fuzz", max_pixels=100_000)
    except ImageError as error:
        assert error.uri == "fuzz" and error.reason
    else:
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    try:
        read_header(data, "fuzz", max_pixels=100_000)
    except ImageError as error:
        assert error.uri == "fuzz" and error.reason


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_image_error(data: bytes) -> None:
    refused_or_rgb(data)


SEEDS = [encode(scene(12, 16), format, icc_profile=swapped_profile()) for format in ("jpeg", "png", "webp", "tiff")]
SEEDS += [file_with_orientation(scene(12, 16), format, 6) for format in ("JPEG", "PNG", "WEBP", "TIFF")]
SEEDS += [file_of(Image.fromarray(scene(12, 16)), format) for format in FORMATS]
SEEDS += [file_of(Image.fromarray(scene(12, 16)), "TIFF", compression="tiff_lzw")]
SEEDS += [file_of(Image.new("I;16", (9, 7)), "PNG"), file_of(Image.new("CMYK", (9, 7)), "JPEG")]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=4)), max_size=6))
def test_any_damage_to_a_good_file_decodes_or_raises_image_error(
    seed: bytes, damage: list[tuple[float, bytes]]
) -> None:
    mutated = bytearray(seed)
    for place, junk in damage:
        at = int(place**3 * len(mutated))  # more often in the header
        mutated[at : at + len(junk)] = junk
    refused_or_rgb(bytes(mutated))


# ---- reading, resizing, encoding, tensors ----------------------------------------------------------------------------


def test_short_side_reduces_a_jpeg_but_never_below_it() -> None:
    data = file_of(Image.fromarray(scene(400, 600)), "JPEG", quality=95)
    for short_side, height, width in ((50, 50, 75), (90, 100, 150), (101, 200, 300), (201, 400, 600), (999, 400, 600)):
        assert decode(data, short_side=short_side).shape == (height, width, 3)
    assert difference(decode(data, short_side=100), images.resize(scene(400, 600), (100, 150))) <= 6
    assert decode(file_of(Image.fromarray(scene(400, 600)), "PNG"), short_side=50).shape == (400, 600, 3)
    with pytest.raises(ValueError, match="at least 1 pixel"):
        decode(data, short_side=0)


def test_read_takes_a_path_and_names_it_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(file_of(Image.fromarray(scene()), "PNG"))
    assert np.array_equal(images.read(path), scene())
    with pytest.raises(ImageError, match=r"missing.png: cannot be read \(No such file or directory\)"):
        images.read(tmp_path / "missing.png")
    with pytest.raises(ImageError, match="cannot be read"):
        images.read(tmp_path)
    path.write_bytes(b"text")
    with pytest.raises(ImageError, match=r"a.png: not a JPEG"):
        images.read(str(path))


def test_resize_takes_height_and_width_and_averages_before_dropping_pixels() -> None:
    checks = np.repeat((np.indices((64, 96)).sum(0) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    small = images.resize(checks, (8, 24))
    assert small.shape == (8, 24, 3) and small.dtype == np.uint8
    assert difference(small[2:-2, 2:-2], np.full((4, 20, 3), 127)) <= 3
    assert images.resize(checks, (100, 10)).shape == (100, 10, 3)
    same = images.resize(checks, (64, 96))
    assert np.array_equal(same, checks) and same is not checks


@pytest.mark.parametrize("size", [(0, 4), (4, -1)])
def test_resize_refuses_impossible_sizes(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1 pixel"):
        images.resize(scene(), size)


@pytest.mark.parametrize("format", ["png", "PNG", ".tif", "tiff", "bmp"])
def test_lossless_formats_come_back_unchanged(format: str) -> None:
    assert np.array_equal(decode(encode(noise(), format)), noise())


@pytest.mark.parametrize("format", ["jpg", "jpeg", "webp"])
def test_higher_quality_is_closer_and_larger(format: str) -> None:
    low, high = (encode(noise(), format, quality=quality) for quality in (30, 95))
    error_low, error_high = (np.abs(decode(data).astype(int) - noise()).mean() for data in (low, high))
    assert len(low) < len(high) and error_high < error_low


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff"])
def test_carried_over_exif_keeps_its_fields_but_turns_nothing_again(format: str) -> None:
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Camera"
    data = encode(scene(), format, exif=exif.tobytes(), icc_profile=swapped_profile())
    assert decode(data).shape == scene().shape
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif()[271] == "Camera"
        assert image.info["icc_profile"] == swapped_profile()


def exif_of_a_camera() -> Image.Exif:
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Camera"
    exif[34665] = {33434: (1, 125), 36867: "2024:05:01 12:00:00"}  # exposure time, when it was taken
    return exif


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("written", ["jpeg", "png", "webp", "tiff"])
def test_a_picture_written_again_keeps_its_exif_and_is_turned_once(format: str, written: str) -> None:
    picture = decode_picture(file_of(Image.fromarray(scene()), format, exif=exif_of_a_camera().tobytes()))
    assert picture.pixels.shape == (64, 48, 3)
    with Image.open(io.BytesIO(encode(picture.pixels, written, exif=picture.exif))) as again:
        assert again.size == (48, 64) and again.getexif().get(274, 1) == 1
        assert again.getexif()[271] == "Camera"
        assert again.getexif().get_ifd(34665)[36867] == "2024:05:01 12:00:00"


def test_a_picture_keeps_a_colour_space_with_the_tones_of_srgb() -> None:
    picture = decode_picture(file_of(Image.fromarray(scene()), "PNG", icc_profile=swapped_profile()))
    assert np.array_equal(picture.pixels, scene()) and picture.icc_profile == swapped_profile()


def profile_with_gamma(gamma: float) -> bytes:
    """sRGB's primaries, but plain powers as its tones."""
    profile = bytearray(swapped_profile())
    count = struct.unpack_from(">I", profile, 128)[0]
    for at in range(132, 132 + 12 * count, 12):
        kind, start, _ = struct.unpack_from(">4sII", profile, at)
        if kind in (b"rTRC", b"gTRC", b"bTRC"):
            struct.pack_into(">I", profile, at + 8, 14)
            struct.pack_into(">4sIIH", profile, start, b"curv", 0, 1, round(gamma * 256))
    return bytes(profile)


@pytest.mark.parametrize(("gamma", "kept"), [(2.2, True), (1.8, False), (1.0, False)])
def test_a_picture_under_other_tones_becomes_srgb(gamma: float, kept: bool) -> None:
    data = file_of(Image.fromarray(scene()), "PNG", icc_profile=profile_with_gamma(gamma))
    picture = decode_picture(data)
    assert (picture.icc_profile is not None) == kept
    assert np.array_equal(picture.pixels, scene() if kept else decode(data))
    assert not np.array_equal(decode(data), scene())


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_a_picture_with_alpha_or_palette_keeps_its_colour_space(mode: str) -> None:
    image = Image.fromarray(scene()).convert(mode)
    picture = decode_picture(file_of(image, "PNG", icc_profile=swapped_profile()))
    assert picture.icc_profile == swapped_profile() and np.array_equal(picture.pixels, image.convert("RGB"))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_picture_that_is_not_rgb_becomes_srgb(mode: str) -> None:
    image = Image.fromarray(scene()).convert(mode)
    data = file_of(image, "TIFF" if mode == "CMYK" else "PNG", icc_profile=swapped_profile())
    picture = decode_picture(data)
    assert picture.icc_profile is None and np.array_equal(picture.pixels, decode(data))


def test_an_exif_block_too_long_for_jpeg_is_left_out() -> None:
    exif = Image.Exif()
    exif[270] = "x" * 70_000
    with Image.open(io.BytesIO(encode(scene(), "jpeg", exif=exif.tobytes()))) as image:
        assert 270 not in image.getexif()


def test_broken_exif_is_left_out() -> None:
    assert np.array_equal(decode(encode(scene(), exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")), scene())


@pytest.mark.parametrize(
    ("image", "options", "sentence"),
    [
        (scene()[..., 0], {}, "expected RGB pixels"),
        (scene().astype(np.float32), {}, "expected RGB pixels"),
        (np.zeros((0, 4, 3), np.uint8), {}, "expected RGB pixels"),
        (scene(), {"format": "heic"}, "cannot encode 'heic'; choose one of png"),
        (scene(), {"quality": 0}, "choose from 1 to 100"),
        (np.zeros((1, 16_384, 3), np.uint8), {"format": "webp"}, "too long for WEBP"),
    ],
)
def test_encode_says_what_is_wrong(image: np.ndarray, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        encode(image, **options)  # type: ignore[arg-type]


def test_image_names_are_told_by_their_suffix() -> None:
    good = ["a.jpg", "s3://bucket/dir.d/B.JPEG", "c.PNG", "d.webp", "e.tif", "f.tiff", "g.bmp", "h.gif"]
    bad = ["a.txt", "jpg", "a.jpg.part", "._a.jpg", "folder.jpg/readme", "x/.jpg", ""]
    assert [name for name in good + bad if images.is_image_name(name)] == good
    assert all(suffix == suffix.lower() and images.is_image_name(f"a{suffix}") for suffix in images.SUFFIXES)


def test_tensor_round_trip_is_exact() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)[:, ::-1]
    ramp.flags.writeable = False
    tensor = images.to_tensor(ramp)
    assert tensor.shape == (3, 16, 16) and str(tensor.dtype) == "torch.float32" and tensor.is_contiguous()
    assert float(tensor.min()) == 0.0 and float(tensor.max()) == 1.0
    assert np.array_equal(images.from_tensor(tensor), ramp)


def test_from_tensor_clamps_and_rounds() -> None:
    import torch

    tensor = torch.tensor([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 1.0, float("inf")]).repeat(3, 1).reshape(3, 1, 6)
    assert images.from_tensor(tensor)[0, :, 0].tolist() == [0, 0, 0, 1, 255, 255]
    with pytest.raises(ValueError, match="not numbers"):
        images.from_tensor(tensor * float("nan"))
    with pytest.raises(ValueError, match="expected a float tensor"):
        images.from_tensor(tensor[None])


def test_decoding_does_not_import_torch() -> None:
    program = (
        "import sys; from lle import images; import numpy as np;"
        "images.decode(images.encode(np.zeros((4, 4, 3), np.uint8)));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
