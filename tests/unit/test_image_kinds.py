"""Unusual kinds of image files, each beside the pixels that it was made of; tifffile and libheif are the references."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, features

from lle.images import ImageError, Picture, decode, decode_picture, eight_bits, encode_picture, losses, read_header

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")


def scene(height: int = 48, width: int = 64, levels: int = 65_535) -> np.ndarray:
    """A smooth picture whose four corners differ, with 16 bits."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return (np.stack([0.15 + 0.7 * x, 0.1 + 0.8 * y, 0.5 - 0.3 * x * y], -1) * levels).round().astype(np.uint16)


def grey_scene() -> np.ndarray:
    return scene()[..., 0]


def cut_out_alpha(white: int = 255) -> np.ndarray:
    """Opaque in the middle, transparent around it, half transparent at the right edge of what is opaque."""
    alpha = np.zeros((48, 64), np.uint8 if white == 255 else np.uint16)
    alpha[8:40, 8:40] = white
    alpha[8:40, 40:44] = white // 2
    return alpha


def difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def file_of(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def tiff(samples: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, samples, **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples: np.ndarray, depth: int, colour: int, *extra: bytes, behind: bytes = b"") -> bytes:
    """A PNG by the specification; samples (height, width, channels), packed below 8 bits."""
    height, width = samples.shape[:2]
    if depth == 16:
        rows = samples.astype(">u2").view(np.uint8).reshape(height, -1)
    elif depth == 8:
        rows = samples.astype(np.uint8).reshape(height, -1)
    else:
        bits = np.unpackbits(samples.astype(np.uint8).reshape(height, -1, 1), axis=2)[..., 8 - depth :]
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = b"".join(extra) + chunk(b"IDAT", zlib.compress(lines)) + behind
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


# ---- 16 bits in TIFF and PNG -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("layout", ["contig", "separate"])
@pytest.mark.parametrize("more", [{}, {"tile": (16, 16)}, {"rowsperstrip": 5}], ids=["one", "tiles", "strips"])
def test_16_bit_tiff_gives_its_samples(byteorder: str, compression: str | None, layout: str, more: dict) -> None:
    samples = scene() if layout == "contig" else np.moveaxis(scene(), -1, 0)
    options = {"photometric": "rgb", "planarconfig": layout, "compression": compression, "byteorder": byteorder}
    data = tiff(np.ascontiguousarray(samples), **options, **more)
    assert np.array_equal(decode_picture(data).pixels, scene())
    assert np.array_equal(decode(data), eight_bits(scene()))


def test_big_tiff_is_read_too() -> None:
    planes = np.ascontiguousarray(np.moveaxis(scene(), -1, 0))
    for samples, layout in ((scene(), "contig"), (planes, "separate")):
        data = tiff(samples, photometric="rgb", bigtiff=True, planarconfig=layout)
        assert np.array_equal(decode_picture(data).pixels, scene())


@pytest.mark.parametrize(
    ("layout", "extra", "white"),
    [
        ("contig", "unassalpha", 255),
        ("contig", "assocalpha", 255),
        ("separate", "unassalpha", 255),
        ("contig", "unassalpha", 65_535),
        ("contig", "assocalpha", 65_535),
        ("separate", "unassalpha", 65_535),
        ("separate", "assocalpha", 65_535),
    ],
)
def test_alpha_of_tiff_is_apart_or_divided_out(layout: str, extra: str, white: int) -> None:
    alpha = cut_out_alpha(white)
    colours = scene(levels=white)
    stored = colours if extra == "unassalpha" else np.rint(colours * (alpha[..., None] / white))
    samples = np.dstack([stored, alpha]).astype(alpha.dtype)
    if layout == "separate":
        samples = np.ascontiguousarray(np.moveaxis(samples, -1, 0))
    picture = decode_picture(tiff(samples, photometric="rgb", planarconfig=layout, extrasamples=[extra]))
    assert picture.alpha is not None and np.array_equal(picture.alpha, alpha)
    assert picture.pixels.dtype == alpha.dtype
    opaque = alpha == white
    assert difference(picture.pixels[opaque], colours[opaque]) <= 1
    half = alpha == white // 2
    assert difference(picture.own[half], colours[half]) <= 2


def test_a_plain_fourth_sample_is_no_alpha() -> None:
    samples = np.dstack([scene(), grey_scene()])
    picture = decode_picture(tiff(samples, photometric="rgb", extrasamples=["unspecified"]))
    assert picture.alpha is None and np.array_equal(picture.pixels, scene())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("layout", ["contig", "separate"])
def test_16_bit_tiff_is_turned_once(layout: str, orientation: int) -> None:
    deep = scene() if layout == "contig" else np.ascontiguousarray(np.moveaxis(scene(), -1, 0))
    tag = [(274, "H", 1, orientation, True)]
    flat = tiff(eight_bits(scene()), photometric="rgb", extratags=tag)
    data = tiff(deep, photometric="rgb", planarconfig=layout, extratags=tag)
    assert np.array_equal(eight_bits(decode_picture(data).pixels), decode(flat))
    header = read_header(data)
    assert (header.height, header.width) == decode(flat).shape[:2]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bit_png_is_turned_once(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    block = chunk(b"eXIf", exif.tobytes()[6:])
    flat = file_of(Image.fromarray(eight_bits(scene())), "PNG", exif=exif)
    for data in (png(scene(), 16, 2, block), png(scene(), 16, 2, behind=block)):
        assert np.array_equal(eight_bits(decode_picture(data).pixels), decode(flat))
        assert (read_header(data).height, read_header(data).width) == decode(flat).shape[:2]


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_16_bit_png_gives_its_samples(colour: int) -> None:
    samples = grey_scene()[..., None] if colour in (0, 4) else scene()
    stored = np.dstack([samples, cut_out_alpha(65_535)]) if colour in (4, 6) else samples
    picture = decode_picture(png(stored, 16, colour))
    assert np.array_equal(picture.own, np.broadcast_to(samples, (48, 64, 3)))
    assert (picture.grey, picture.channels) == ((True, 1) if colour in (0, 4) else (False, 3))
    if colour in (4, 6):
        assert picture.alpha is not None and np.array_equal(picture.alpha, cut_out_alpha(65_535))


@pytest.mark.parametrize("format", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("transparent", [False, True])
def test_16_bits_are_written_as_they_were_read(format: str, channels: int, transparent: bool) -> None:
    samples = scene() if channels == 3 else np.repeat(grey_scene()[..., None], 3, 2)
    alpha = cut_out_alpha(65_535) if transparent else None
    given = Picture(samples, icc_profile=SRGB, alpha=alpha, grey=channels == 1, channels=channels, dpi=(300, 300))
    data = encode_picture(given, format)
    again = decode_picture(data)
    assert np.array_equal(again.own, samples)
    assert again.dpi is not None and [round(each) for each in again.dpi] == [300, 300]
    assert transparent == (again.alpha is not None and np.array_equal(again.alpha, cut_out_alpha(65_535)))
    if format == "tiff":
        read = tifffile.imread(io.BytesIO(data))
        assert read.dtype == np.uint16 and np.array_equal(read.reshape(48, 64, -1)[..., 0], samples[..., 0])


def profile_of(name: str) -> bytes:
    """ProPhoto or linear sRGB, by matrix and curve: what 16-bit files come in."""
    from lle.images.colour import _SRGB_PRIMARIES, _profile

    if name == "linear":
        return _profile((0.3127, 0.3290), _SRGB_PRIMARIES, 1.0)
    return _profile((0.3457, 0.3585), ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), 1.8)


@pytest.mark.parametrize("name", ["linear", "ProPhoto"])
def test_16_bits_under_a_profile_become_srgb_as_littlecms_makes_them_of_8(name: str) -> None:
    profile = profile_of(name)
    muted = (scene() // 8 + 28_000).astype(np.uint16)  # inside both gamuts
    deep = decode_picture(tiff(muted, photometric="rgb", iccprofile=profile))
    flat = ImageCms.profileToProfile(
        Image.fromarray(eight_bits(muted)), io.BytesIO(profile), ImageCms.createProfile("sRGB"), renderingIntent=1
    )
    assert deep.pixels.dtype == np.uint16 and deep.icc_profile is None
    assert difference(eight_bits(deep.pixels), np.asarray(flat)) <= 2
    assert len(np.unique(deep.pixels[..., 0])) > len(np.unique(np.asarray(flat)[..., 0])) / 2


def test_linear_16_bit_grey_keeps_its_shadows_apart() -> None:
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    data = png(ramp[..., None], 16, 0, chunk(b"gAMA", struct.pack(">I", 100_000)))
    linear = ramp.ravel()[1:] / 65_535
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    picture = decode_picture(data)
    assert difference(picture.pixels[..., 0].ravel()[1:], np.rint(srgb * 65_535)) <= 2
    assert difference(decode(data)[..., 0].ravel()[1:], np.rint(srgb * 255)) <= 1


# ---- which picture of a TIFF -----------------------------------------------------------------------------------------


def test_a_reduced_picture_in_front_is_passed_over() -> None:
    full, small = eight_bits(scene()), eight_bits(scene(6, 8))
    for options in ({}, {"bigtiff": True}, {"byteorder": ">"}):
        stream = io.BytesIO()
        with tifffile.TiffWriter(stream, **options) as writer:
            writer.write(small, photometric="rgb", subfiletype=1)
            writer.write(full, photometric="rgb")
        assert np.array_equal(decode(stream.getvalue()), full)
        assert read_header(stream.getvalue()).width == 64
        assert decode_picture(stream.getvalue()).left_out == ()
        with pytest.raises(ImageError, match="64 x 48 pixels are over the limit"):
            decode(stream.getvalue(), max_pixels=1000)


def test_a_full_picture_below_a_reduced_one_is_found() -> None:
    full, small = eight_bits(scene()), eight_bits(scene(6, 8))
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(small, photometric="rgb", subfiletype=1, subifds=1)
        writer.write(full, photometric="rgb")
    assert np.array_equal(decode(stream.getvalue()), full)


def test_a_pyramid_gives_its_first_and_pages_are_told() -> None:
    full, small = eight_bits(scene()), eight_bits(scene(6, 8))
    for kind, left_out in ((1, ()), (0, ("all but the first of its 2 pictures",))):
        stream = io.BytesIO()
        with tifffile.TiffWriter(stream) as writer:
            writer.write(full, photometric="rgb")
            writer.write(small, photometric="rgb", subfiletype=kind)
        picture = decode_picture(stream.getvalue())
        assert np.array_equal(picture.pixels, full) and picture.left_out == left_out


@pytest.mark.parametrize(
    ("samples", "options", "reason"),
    [
        (scene().astype(np.float32), {"photometric": "rgb"}, "floating-point, signed or 32-bit samples"),
        (scene().astype(np.float16), {"photometric": "rgb"}, "floating-point, signed or 32-bit samples"),
        (scene().astype(np.uint32), {"photometric": "rgb"}, "floating-point, signed or 32-bit samples"),
        (scene().astype(np.int16), {"photometric": "rgb"}, "floating-point, signed or 32-bit samples"),
        (grey_scene().astype(np.float64), {}, "floating-point, signed or 32-bit samples"),
        (eight_bits(scene()), {"photometric": "cielab"}, "TIFF with CIE Lab colours; save it as grey or RGB"),
        (np.dstack([grey_scene()] * 2), {"photometric": "minisblack", "planarconfig": "contig"}, "TIFF of 2 unsigned"),
    ],
)
def test_what_tiff_cannot_say_is_refused_in_a_sentence(samples: np.ndarray, options: dict, reason: str) -> None:
    data = tiff(samples, **options)
    for reader in (decode, read_header, decode_picture):
        with pytest.raises(ImageError) as refusal:
            reader(data, "a.tif")
        assert refusal.value.reason.startswith(reason) or reason in refusal.value.reason
        assert "\n" not in str(refusal.value)


# ---- PNG's chunks ----------------------------------------------------------------------------------------------------


def test_the_transparent_colour_of_16_bit_rgb_is_compared_with_16_bits() -> None:
    samples = np.array([[[1000, 2000, 3000], [1001, 2000, 3000], [1000, 2000, 3000]]])
    picture = decode_picture(png(samples, 16, 2, chunk(b"tRNS", struct.pack(">3H", 1000, 2000, 3000))))
    assert picture.alpha is not None and picture.alpha.tolist() == [[0, 65_535, 0]]


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_every_depth(depth: int) -> None:
    white = 2**depth - 1
    samples = np.array([[[0], [white // 2], [white], [white // 2]]])
    picture = decode_picture(png(samples, depth, 0, chunk(b"tRNS", struct.pack(">H", white))))
    assert picture.alpha is not None and (picture.alpha > 0).tolist() == [[True, True, False, True]]
    expected = np.rint(samples[..., 0] * ((65_535 if depth == 16 else 255) / white))
    assert difference(picture.own[..., 0], expected) <= 1


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"tEXt", b"iCCP", b"eXIf", b"tIME", b"abCd", b"gAMA", b"tRNS"])
@pytest.mark.parametrize("place", ["before", "behind"])
def test_a_damaged_ancillary_chunk_costs_nothing(kind: bytes, place: str) -> None:
    bad = chunk(kind, b"\1\2\3 whatever stands here")[:-4] + b"!!!!"
    data = png(scene(), 16, 2, bad) if place == "before" else png(scene(), 16, 2, behind=bad)
    assert np.array_equal(decode_picture(data).pixels, scene())
    assert read_header(data).width == 64


def test_a_damaged_critical_chunk_is_refused() -> None:
    good = png(scene(), 16, 2)
    at = good.index(b"IDAT")
    damaged = good[: at + 30] + bytes([good[at + 30] ^ 255]) + good[at + 31 :]
    with pytest.raises(ImageError, match="damaged or truncated"):
        decode(damaged)


def test_long_texts_and_profiles_cost_nothing() -> None:
    long = zlib.compress(b"x" * 3_000_000)
    texts = [chunk(b"zTXt", b"Comment\0\0" + long), chunk(b"iTXt", b"Comment\0\1\0\0\0" + long)] * 3
    padded = struct.pack(">I", len(SRGB) + 2_000_000) + SRGB[4:] + bytes(2_000_000)
    profile = chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(padded))
    picture = decode_picture(png(scene(), 16, 2, profile, *texts))
    assert np.array_equal(picture.pixels, scene())
    assert picture.icc_profile == padded
    bomb = zlib.compress(bytes(40_000_000))
    bombs = [chunk(b"iCCP", b"x\0\0" + bomb), chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb)]
    assert np.array_equal(decode(png(eight_bits(scene()), 8, 2, *bombs)), eight_bits(scene()))


def in_srgb(levels: np.ndarray, gamma: float) -> np.ndarray:
    linear = (levels / 255) ** (1 / gamma)
    return np.rint(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("gamma", [1.0, 0.55556, 0.35])
def test_gamma_is_converted(gamma: float) -> None:
    ramp = np.arange(256).reshape(16, 16)
    for samples, colour in ((ramp[..., None], 0), (np.dstack([ramp] * 3), 2)):
        data = png(samples, 8, colour, chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000))))
        pixels = decode(data)
        assert difference(pixels[..., 1], in_srgb(ramp, gamma)) <= 1 + (ramp < 8).max() * 2
        assert difference(pixels[..., 0], pixels[..., 2]) <= 1


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(b"gAMA", struct.pack(">I", 45_455))],
        [
            chunk(b"gAMA", struct.pack(">I", 45_455)),
            chunk(b"cHRM", struct.pack(">8I", 31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)),
        ],
        [chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"sRGB", b"\0")],
        [chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"cICP", bytes([1, 13, 0, 1]))],
        [chunk(b"gAMA", struct.pack(">I", 0))],
    ],
    ids=["gAMA", "gAMA and cHRM", "sRGB before gAMA", "cICP before gAMA", "no gamma"],
)
def test_what_means_srgb_leaves_pixels_alone(chunks: list[bytes]) -> None:
    assert np.array_equal(decode(png(eight_bits(scene()), 8, 2, *chunks)), eight_bits(scene()))


P3_CHROMATICITIES = struct.pack(">8I", 31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000)


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(b"cICP", bytes([12, 13, 0, 1]))],
        [chunk(b"cHRM", P3_CHROMATICITIES)],
        [chunk(b"gAMA", struct.pack(">I", 45_455)), chunk(b"cHRM", P3_CHROMATICITIES)],
    ],
    ids=["cICP", "cHRM", "gAMA and cHRM"],
)
def test_display_p3_is_converted_and_kept_as_a_profile(chunks: list[bytes]) -> None:
    red = np.full((4, 4, 3), [200, 60, 50])
    data = png(red, 8, 2, *chunks)
    # sRGB's 219, 41, 37: the published matrices between the two spaces, computed by hand
    linear = np.array([0.5776, 0.0452, 0.0319])
    to_srgb = np.array([[1.2249, -0.2247, 0.0], [-0.0421, 1.0421, 0.0], [-0.0196, -0.0786, 1.0979]])
    expected = 255 * (1.055 * (to_srgb @ linear) ** (1 / 2.4) - 0.055)
    assert difference(decode(data)[0, 0], expected.round()) <= 2
    picture = decode_picture(data)
    assert np.array_equal(picture.pixels, red) and picture.icc_profile is not None
    assert difference(decode(encode_picture(picture, "png")), decode(data)) <= 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (bytes([9, 16, 0, 1]), "high dynamic range"),
        (bytes([9, 18, 0, 1]), "high dynamic range"),
        (bytes([1, 13, 0, 0]), "narrow range"),
        (bytes([77, 13, 0, 1]), "not known here"),
    ],
)
def test_colours_without_a_white_are_refused(content: bytes, reason: str) -> None:
    for reader in (decode, decode_picture):
        with pytest.raises(ImageError, match=reason):
            reader(png(scene(), 16, 2, chunk(b"cICP", content)))


def test_impossible_primaries_are_refused() -> None:
    with pytest.raises(ImageError, match="cHRM"):
        decode(png(scene(), 16, 2, chunk(b"cHRM", struct.pack(">8I", *[33_333] * 8))))


def test_the_still_picture_of_an_animated_png_is_taken() -> None:
    frames = [Image.new("RGB", (16, 8), colour) for colour in ("red", "blue")]
    data = file_of(frames[0], "PNG", save_all=True, append_images=frames[1:])
    picture = decode_picture(data)
    assert picture.pixels[0, 0].tolist() == [255, 0, 0]
    assert picture.left_out == ("all but the first of its 2 pictures",)


# ---- HEIC and AVIF ---------------------------------------------------------------------------------------------------


@needs_avif
@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_is_read_and_turned_once(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(eight_bits(scene()))
    data = file_of(image, "AVIF", quality=95, subsampling="4:4:4", exif=exif.tobytes())
    expected = decode(file_of(image, "PNG", exif=exif))
    assert difference(decode(data), expected) <= 6
    header = read_header(data)
    assert (header.height, header.width, header.format) == (*expected.shape[:2], "AVIF")
    picture = decode_picture(data)
    again = encode_picture(picture, "avif")
    assert decode(again).shape == expected.shape and difference(decode(again), expected) <= 10
    with pytest.raises(ImageError, match="pixels are over the limit of 1000"):
        read_header(data, max_pixels=1000)


@needs_avif
def test_avif_keeps_alpha_bit_for_bit_and_grey_grey() -> None:
    alpha = np.random.default_rng(0).integers(0, 256, (48, 64), dtype=np.uint8)
    data = encode_picture(Picture(eight_bits(scene()), alpha=alpha), "avif", quality=80)
    assert np.array_equal(decode_picture(data).alpha, alpha)
    pixels = np.repeat(eight_bits(grey_scene())[..., None], 3, 2)
    again = decode_picture(encode_picture(Picture(pixels, grey=True, channels=1), "avif"))
    assert np.ptp(again.pixels, axis=2).max() == 0


def in_a_container(data: bytes, primaries: int, transfer: int) -> bytes:
    """An AVIF that tells another colour space in numbers."""
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


@needs_avif
def test_colour_numbers_of_avif_are_obeyed() -> None:
    data = file_of(Image.new("RGB", (16, 16), (200, 60, 50)), "AVIF", quality=100, subsampling="4:4:4")
    plain = decode(data)[8, 8]
    assert difference(plain, np.array([200, 60, 50])) <= 2
    wide = decode(in_a_container(data, 12, 13))[8, 8]
    assert wide[0] > plain[0] + 10 and wide[1] < plain[1] - 10
    assert decode_picture(in_a_container(data, 12, 13)).icc_profile is not None
    for transfer in (16, 18):
        with pytest.raises(ImageError, match="high dynamic range"):
            decode(in_a_container(data, 9, transfer))


HEIC = bytes.fromhex(  # the scene, written by libheif and x265 at quality 80
    "0000001c6674797068656963000000006d696631686569636d696166000001aa6d657461000000000000002168646c720000000000000000"
    "70696374000000000000000000000000000000000e7069746d0000000000020000001069646174000000000040003000000038696c6f6301"
    "00000044400002000100000000000001ce0001000000000000015300020001000000000000000100000000000000080000003869696e6600"
    "000000000200000015696e66650200000100010000687663310000000015696e666502000000000200006772696400000000d56970727000"
    "0000b36970636f00000073687663430103700000000000000000001ef000fcfdf8f800000f03200001001840010c01ffff03700000030090"
    "000003000003001eba0240210001002742010103700000030090000003000003001ea020810596eae4a6b9b0200000030020000003002122"
    "000100064401c173c08900000014697370650000000000000040000000400000001469737065000000000000004000000030000000107069"
    "786900000000030808080000001a69706d610000000000000002000102810200020203840000001a69726566000000000000000e64696d67"
    "0002000100010000015b6d6461740000014f2801af04f871968c8e72536a4c75ff5a7149e960d59722c8767e5e9ca7d239fbbc561d947664"
    "1cffd4320c3171ae7984a95e84931a192778e2d38bac9c124c8d361a7812cbb5c19c7fbe285b5b2d6928b5e26723a23df9346106f3b7f174"
    "4e14137c42cf86e5ca848e79322079e1b0d3c7c831a09ad49a82b0acf60c87b2248501e1faaabd955f5f1939a4ff4142672332824dca4bb3"
    "873c951595d98e49600eba8fabe209c0ced6fe2a190594e1db7b8298294c32892b08a718d1d817c72e7c9e7a989e515c30ccc7d0925f2c48"
    "2192e96d2aed275e1db002374149a770131bb68f39620e64f0c750bc27aa708de51028db8993e3ab17aaa50820edb06e6d2b460d568aca51"
    "12ef68e1916a95d0005609800db1c7598bd23330b02b351d516099454bb139367af895d66c16c11ef4293b8cc2d6c31866ecd51e3a2d71a5"
    "a575fb8205b697b966ab7ee6d9bdecefb8"
)


def test_heic_is_read() -> None:
    pytest.importorskip("pi_heif")
    header = read_header(HEIC, "a.heic")
    assert (header.width, header.height, header.format) == (64, 48, "HEIF")
    assert difference(decode(HEIC), eight_bits(scene())) <= 12
    with pytest.raises(ImageError, match="64 x 48 pixels are over the limit of 1000"):
        decode(HEIC, max_pixels=1000)
    for end in (40, 200, len(HEIC) // 2, len(HEIC) - 9):
        with pytest.raises(ImageError):
            decode(HEIC[:end])


def test_a_missing_decoder_is_told_with_the_command() -> None:
    program = (
        "import sys; sys.modules['pi_heif'] = None\n"
        "from lle.images import decode, ImageError\n"
        "try: decode(bytes.fromhex(sys.argv[1]), 'a.heic')\n"
        "except ImageError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program, HEIC.hex()], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "a.heic: HEIC, which needs one more package; pip install pi-heif"


def test_unusual_decoders_are_imported_only_when_such_files_come() -> None:
    program = "import sys; import lle.images; sys.exit('pi_heif' in sys.modules or 'tifffile' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# ---- cut-outs --------------------------------------------------------------------------------------------------------


def cut_out(mode: str, below: int) -> Image.Image:
    """A uniform 88 behind the alpha of `cut_out_alpha`, and what stands below full transparency."""
    alpha = cut_out_alpha()
    grey = np.where(alpha > 0, 88, below).astype(np.uint8)
    channels = [grey] if mode == "LA" else [grey, grey + np.uint8(1), grey]
    return Image.merge(mode, [Image.fromarray(each) for each in (*channels, alpha)])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("below", [0, 254])
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_what_is_below_transparency_is_not_judged(mode: str, below: int, format: str) -> None:
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    picture = decode_picture(file_of(cut_out(mode, below), format, **options))
    assert (picture.pixels.min(), picture.pixels.max()) == (88, 88 if mode == "LA" else 89)
    assert picture.own[0, 0, 0] == below and np.array_equal(picture.alpha, cut_out_alpha())


def test_a_transparent_gif_and_palette_are_filled() -> None:
    image = Image.fromarray((cut_out_alpha() == 255).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 88, 88, 88])
    for format in ("GIF", "PNG"):
        picture = decode_picture(file_of(image, format, transparency=0))
        assert picture.alpha is not None and np.array_equal(picture.alpha == 255, cut_out_alpha() == 255)
        assert (picture.pixels == 88).all()


@pytest.mark.parametrize("alpha", [0, 1, 128])
def test_pictures_that_are_nowhere_opaque_do_not_fail(alpha: int) -> None:
    image = Image.new("RGBA", (9, 7), (10, 20, 30, alpha))
    picture = decode_picture(file_of(image, "PNG"))
    assert picture.pixels[0, 0].tolist() == [10, 20, 30]
    result = picture.enhanced(picture.pixels * 2)
    assert result.pixels[0, 0].tolist() == [20, 40, 60] and result.alpha is not None
    assert (result.alpha == alpha).all()
    assert decode(file_of(image, "PNG"))[0, 0].tolist() == [10, 20, 30]


def test_a_shadow_below_a_cut_out_stays_a_shadow() -> None:
    pixels, alpha = np.full((48, 64, 3), 100, np.uint8), cut_out_alpha()
    pixels[alpha < 255] = 0
    pixels[alpha == 127] = 10
    picture = decode_picture(file_of(Image.fromarray(np.dstack([pixels, alpha])), "PNG"))
    assert (picture.pixels == 100).all()
    result = picture.enhanced(picture.pixels * 2).pixels
    assert (result[alpha == 255] == 200).all() and (result[alpha == 127] == 20).all() and not result[0, 0].any()


@pytest.mark.parametrize("format", ["png", "webp", "tiff", pytest.param("avif", marks=needs_avif)])
def test_alpha_is_written_bit_for_bit(format: str) -> None:
    alpha = np.random.default_rng(1).integers(0, 256, (48, 64), dtype=np.uint8)
    picture = decode_picture(file_of(Image.fromarray(np.dstack([eight_bits(scene()), alpha])), "PNG"))
    again = decode_picture(encode_picture(picture.enhanced(picture.pixels), format, quality=90))
    assert np.array_equal(again.alpha, alpha)
    assert losses(picture, format) == []


@pytest.mark.parametrize("format", ["jpeg", "bmp"])
def test_formats_without_alpha_show_white_and_say_so(format: str) -> None:
    picture = decode_picture(file_of(cut_out("RGBA", 0), "PNG"))
    pixels = decode(encode_picture(picture, format))
    assert difference(pixels[0, 0], np.array([255] * 3)) <= 3
    assert difference(pixels[20, 16], np.array([88, 89, 88])) <= 3
    assert losses(picture, format) == ["alpha (composited on white)"]


# ---- grey, metadata, thumbnails, gain maps ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "format", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", pytest.param("AVIF", marks=needs_avif)]
)
def test_a_grey_photo_stays_grey(format: str) -> None:
    grey = Image.fromarray(eight_bits(grey_scene()))
    picture = decode_picture(file_of(grey if format != "WEBP" else grey.convert("RGB"), format))
    assert picture.grey
    tinted = np.clip(picture.pixels.astype(int) + np.array([3, 0, -3]), 0, 255).astype(np.uint8)
    result = picture.enhanced(tinted)
    written = encode_picture(result, "png" if format == "GIF" else format.lower())
    with Image.open(io.BytesIO(written)) as image:
        assert image.mode == ("L" if format not in ("WEBP", "GIF") else "RGB")
    assert np.ptp(decode(written), axis=2).max() <= (1 if format == "WEBP" else 0)


def exif_with_a_thumbnail(order: str) -> tuple[bytes, bytes]:
    """An EXIF block with orientation 6, a maker's note at an absolute offset, and a thumbnail; and the thumbnail."""
    thumbnail = file_of(Image.new("RGB", (16, 12), "red"), "JPEG")
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(order + "I", 8)
    first = struct.pack(order + "H", 2)
    first += struct.pack(order + "HHIHH", 274, 3, 1, 6, 0)
    first += struct.pack(order + "HHI4s", 271, 2, 4, b"Cam\0")
    second_at = 8 + len(first) + 4
    second = struct.pack(order + "H", 2)
    start = second_at + 2 + 24 + 4
    second += struct.pack(order + "HHII", 513, 4, 1, start) + struct.pack(order + "HHII", 514, 4, 1, len(thumbnail))
    block = head + first + struct.pack(order + "I", second_at) + second + bytes(4) + thumbnail
    return b"Exif\0\0" + block, thumbnail


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "tiff", pytest.param("avif", marks=needs_avif)])
def test_no_thumbnail_shows_the_old_picture(format: str, order: str) -> None:
    exif, thumbnail = exif_with_a_thumbnail(order)
    picture = decode_picture(file_of(Image.fromarray(eight_bits(scene())), "JPEG", exif=exif))
    assert picture.exif is not None and thumbnail in picture.exif and picture.pixels.shape == (64, 48, 3)
    data = encode_picture(picture, format)
    assert thumbnail[2:-2] not in data
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif()[271] == "Cam" and image.getexif().get(274, 1) == 1
        assert not image.getexif().get_ifd(1) and image.size == (48, 64)


XMP = (
    b"<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?><x:xmpmeta xmlns:x='adobe:ns:meta/'>"
    b"<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description rdf:about='' "
    b"xmlns:tiff='http://ns.adobe.com/tiff/1.0/' xmlns:dc='http://purl.org/dc/elements/1.1/' "
    b"xmlns:hdrgm='http://ns.adobe.com/hdr-gain-map/1.0/' tiff:Orientation='6' hdrgm:Version=\"1.0\" dc:source='here'>"
    b"<xmp:Thumbnails><rdf:Alt>OLD PICTURE</rdf:Alt></xmp:Thumbnails></rdf:Description></rdf:RDF></x:xmpmeta>"
)
IPTC = b"\x1c\x02\x78\x00\x07Caption"


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "tiff", pytest.param("avif", marks=needs_avif)])
def test_xmp_is_kept_and_told_the_truth(format: str) -> None:
    picture = decode_picture(file_of(Image.fromarray(eight_bits(scene())), "JPEG", xmp=XMP))
    assert picture.xmp == XMP
    again = decode_picture(encode_picture(picture, format)).xmp
    assert again is not None and b"dc:source='here'" in again and b"tiff:Orientation='1'" in again
    assert b"OLD PICTURE" not in again and b"hdrgm" not in again


def test_dpi_and_iptc_are_kept_where_the_format_holds_them() -> None:
    pixels = eight_bits(scene())
    given = Picture(pixels, iptc=IPTC, dpi=(300.0, 300.0))
    for first in ("jpeg", "tiff"):
        picture = decode_picture(encode_picture(given, first))
        assert picture.iptc is not None and picture.iptc.rstrip(b"\0") == IPTC
        for format in ("jpeg", "tiff", "png", "bmp"):
            again = decode_picture(encode_picture(picture, format))
            assert again.dpi is not None and [round(each) for each in again.dpi] == [300, 300]
            assert (again.iptc is not None) == (format in ("jpeg", "tiff"))
    assert losses(given, "webp") == ["IPTC"]


@pytest.mark.parametrize("mark", [b"http://ns.adobe.com/hdr-gain-map/1.0/", b"urn:com:apple:photo:2020:aux:hdrgainmap"])
def test_a_gain_map_is_told(mark: bytes) -> None:
    first = file_of(Image.fromarray(eight_bits(scene())), "JPEG", xmp=b"<x " + mark + b">")
    picture = decode_picture(first + file_of(Image.new("L", (16, 12)), "JPEG"))
    assert picture.left_out == ("the HDR gain map",)
    assert "the HDR gain map" in losses(picture, "jpeg")


def test_further_views_of_a_jpeg_are_told() -> None:
    views = [Image.fromarray(eight_bits(scene())), Image.new("RGB", (64, 48), "blue")]
    picture = decode_picture(file_of(views[0], "MPO", save_all=True, append_images=views[1:]))
    assert difference(picture.pixels, eight_bits(scene())) <= 12
    assert picture.left_out == ("all but the first of its 2 pictures",)


def test_a_kind_of_file_is_told_by_its_bytes_not_its_name() -> None:
    data = file_of(Image.fromarray(eight_bits(scene())), "PNG", icc_profile=SRGB)
    assert np.array_equal(decode(data, "a.jpg"), eight_bits(scene()))
    assert decode_picture(data, "a.jpg").icc_profile == SRGB


def test_a_format_without_profiles_gets_srgb() -> None:
    picture = decode_picture(png(np.full((4, 4, 3), [200, 60, 50]), 8, 2, chunk(b"cICP", bytes([12, 13, 0, 1]))))
    assert difference(decode(encode_picture(picture, "bmp")), decode(encode_picture(picture, "png"))) <= 1
    assert losses(picture, "bmp") == ["the colour space (converted to sRGB)"]


# ---- JPEG ------------------------------------------------------------------------------------------------------------


def test_rgb_jpeg_marked_by_adobe_is_not_taken_for_ycbcr() -> None:
    data = file_of(Image.fromarray(eight_bits(scene())), "JPEG", quality=98, subsampling=0, keep_rgb=True)
    assert difference(decode(data), eight_bits(scene())) <= 4


def test_12_bit_jpeg_is_refused_in_a_sentence() -> None:
    data = bytearray(file_of(Image.fromarray(eight_bits(scene())), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = 0xC1, 12
    with pytest.raises(ImageError, match="a.jpg: "):
        decode(bytes(data), "a.jpg")


@pytest.mark.parametrize("share", [0.4, 0.7, 0.95])
def test_truncated_progressive_jpeg_is_refused(share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    data = file_of(Image.fromarray(noise), "JPEG", progressive=True)
    with pytest.raises(ImageError, match="truncated"):
        decode(data[: int(len(data) * share)])


def ycbcr_tiff(across: int, down: int, compression: int) -> bytes:
    """A TIFF of YCbCr by the specification: blocks of luma, then their Cb and Cr."""
    ycc = np.asarray(Image.fromarray(eight_bits(scene())).convert("YCbCr"))
    luma = ycc[..., 0].reshape(48 // down, down, 64 // across, across).transpose(0, 2, 1, 3)
    chroma = ycc[..., 1:].reshape(48 // down, down, 64 // across, across, 2).mean((1, 3)).round().astype(np.uint8)
    raw = np.concatenate([luma.reshape(*luma.shape[:2], -1), chroma], -1).tobytes()
    raw = zlib.compress(raw) if compression == 8 else raw
    entries = [(256, 64), (257, 48), (258, 0), (259, compression), (262, 6), (273, 0), (277, 3), (278, 48)]
    entries += [(279, len(raw)), (284, 1), (530, across | down << 16), (531, 1)]
    behind = 8 + 2 + 12 * len(entries) + 4
    directory = struct.pack("<H", len(entries))
    for tag, value in entries:
        kind, count = {258: (3, 3), 530: (3, 2)}.get(tag, (4, 1))
        value = {258: behind, 273: behind + 6}.get(tag, value)
        directory += struct.pack("<HHII", tag, kind, count, value)
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + struct.pack("<3H", 8, 8, 8) + raw


@pytest.mark.parametrize(("across", "down", "compression"), [(1, 1, 1), (1, 1, 8), (2, 1, 8), (2, 2, 8)])
def test_ycbcr_tiff_is_read(across: int, down: int, compression: int) -> None:
    assert difference(decode(ycbcr_tiff(across, down, compression)), eight_bits(scene())) <= 6


def test_ycbcr_tiff_that_only_libtiff_could_unpack_is_refused() -> None:
    with pytest.raises(ImageError, match="uncompressed TIFF with subsampled YCbCr; save it as RGB"):
        decode(ycbcr_tiff(2, 2, 1))


def test_multiplied_alpha_in_planes_of_8_bits_is_refused() -> None:
    samples = np.moveaxis(np.dstack([eight_bits(scene()), cut_out_alpha()]), -1, 0)
    data = tiff(np.ascontiguousarray(samples), photometric="rgb", planarconfig="separate", extrasamples=["assocalpha"])
    with pytest.raises(ImageError, match="multiplied alpha in planes; save it with interleaved samples"):
        decode(data)


def test_cmyk_tiff_is_read() -> None:
    image = Image.fromarray(eight_bits(scene())).convert("CMYK")
    assert difference(decode(file_of(image, "TIFF")), np.asarray(image.convert("RGB"))) <= 1
