"""Raw photos: files made of known light, whose colours and sides must come out, and two real ones."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import lle
from lle.exposure.camera import srgb_to_linear
from lle.images import ImageError, decode, decode_picture, encode_picture, losses, read_header
from lle.images.raw import RawImage, is_raw
from pipelines import enhance as entry_point

rawpy = pytest.importorskip("rawpy")

BLACK, WHITE = 256, 16_383
TO_XYZ = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])  # of linear sRGB
OF_XYZ = np.array([[0.7034, -0.0804, -0.1014], [-0.442, 1.2564, 0.2058], [-0.0851, 0.1994, 0.5758]])  # a Canon 6D
CORNERS = np.array([[[0.4, 0.2, 0.1], [0.1, 0.3, 0.2]], [[0.05, 0.05, 0.3], [0.3, 0.3, 0.3]]])  # linear sRGB
WHEN = "2026:01:02 03:04:05"
REAL = ("raw_bayer.dng", "raw_linear.dng")


def dng(light: np.ndarray, orientation: int = 1, tags: tuple = (), exposure: float = 1.0) -> bytes:
    """What a camera counts of linear sRGB, as a DNG with its colour matrix and white balance.

    At an exposure of 1 the light 1 of all three fills green, the first to be full.
    """
    to_camera = OF_XYZ @ TO_XYZ
    neutral = to_camera.sum(axis=1)
    camera = light @ to_camera.T / neutral.max() * exposure
    grid = np.empty(light.shape[:2])
    for (row, column), channel in zip(np.ndindex(2, 2), (0, 1, 1, 2), strict=True):
        grid[row::2, column::2] = camera[row::2, column::2, channel]
    stored = np.rint(BLACK + grid.clip(0, 1) * (WHITE - BLACK)).astype(np.uint16)
    extra = [
        (271, "s", 0, "Test"),
        (272, "s", 0, "Test One"),
        (274, "H", 1, orientation),
        (306, "s", 0, WHEN),
        (33421, "H", 2, (2, 2)),
        (33422, "B", 4, b"\0\1\1\2"),
        (50706, "B", 4, b"\1\4\0\0"),
        (50708, "s", 0, "Test One"),
        (50714, "H", 1, BLACK),
        (50717, "H", 1, WHITE),
        (50721, "2i", 9, fractions(OF_XYZ.ravel())),
        (50728, "2I", 3, fractions(neutral / neutral.max())),
        (50778, "H", 1, 21),  # daylight
        *tags,
    ]
    stream = io.BytesIO()
    options = {"photometric": "cfa", "metadata": None, "software": False}
    tifffile.imwrite(stream, stored, extratags=[(*each, False) for each in extra], **options)
    return stream.getvalue()


def fractions(values: np.ndarray) -> list[int]:
    return [number for value in values for number in (round(float(value) * 10_000), 10_000)]


def corners(light: np.ndarray = CORNERS, height: int = 64, width: int = 96) -> np.ndarray:
    """Four fields of these colours, (height, width, 3)."""
    return light.repeat(height // 2, 0).repeat(width // 2, 1)


def light_of(pixels: np.ndarray) -> np.ndarray:
    """Linear light of sRGB of 16 bits."""
    return srgb_to_linear(torch.from_numpy(pixels.astype(np.float64) / 65_535)).numpy()


def fields(pixels: np.ndarray) -> np.ndarray:
    """The middle of each quarter, (2, 2, 3)."""
    height, width = pixels.shape[:2]
    return pixels[height // 4 :: height // 2, width // 4 :: width // 2]


def clipped_share() -> float:
    """min(w) / mean(w) of the camera's white balance: what is 1 in a JPEG."""
    balance = 1 / (OF_XYZ @ TO_XYZ).sum(axis=1)
    return float(balance.min() / balance.mean())


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [(1, CORNERS), (3, CORNERS[::-1, ::-1]), (6, CORNERS.swapaxes(0, 1)[:, ::-1]), (8, CORNERS.swapaxes(0, 1)[::-1])],
)
def test_the_colours_of_a_scene_come_back_as_linear_light_and_upright(orientation: int, turned: np.ndarray):
    data = dng(corners(), orientation)
    picture = decode_picture(data)
    header = read_header(data)
    assert (header.height, header.width) == picture.pixels.shape[:2] == ((64, 96) if orientation < 5 else (96, 64))
    assert header.format == "RAW" and picture.pixels.dtype == np.uint16
    assert np.allclose(fields(light_of(picture.pixels)), turned * clipped_share(), atol=3e-4)


def test_the_steps_of_a_sensor_are_kept_in_the_dark():
    ramp = np.linspace(0, 1, 96)[None, :, None] * np.ones((64, 1, 3))
    dark = light_of(decode_picture(dng(ramp, exposure=1 / 256)).pixels)[32, 4:-4, 1]
    assert len(np.unique(dark)) >= 60  # green counts 63 steps here
    assert len(np.unique(decode(dng(ramp, exposure=1 / 256))[32, 4:-4, 1])) <= 13  # as a JPEG would have it


def test_what_all_colours_overflow_is_white_and_what_one_does_keeps_its_light():
    sun, grey, warm = np.full(3, 4.0), np.full(3, 0.5), np.array([1.3, 0.7, 0.4])  # red beyond what a JPEG shows
    field = fields(light_of(decode_picture(dng(corners(np.array([[sun, grey], [warm, warm]])))).pixels))
    assert np.allclose(field[0, 0], 1, atol=0.01)
    assert np.allclose(field[0, 1], grey * clipped_share(), atol=1e-3)
    assert np.allclose(field[1], warm * clipped_share(), atol=0.02)
    assert field[1, 0, 0] > 1.2 * clipped_share()


@pytest.mark.parametrize("name", REAL)
def test_a_real_raw_photo_is_as_libraw_renders_it_where_that_clips_nothing(shared: Path, name: str):
    data = (shared / "data" / "other_tasks" / "formats" / name).read_bytes()
    ours = RawImage(data).light()
    with rawpy.imread(io.BytesIO(data)) as raw:
        theirs = raw.postprocess(gamma=(1, 1), output_bps=16, no_auto_bright=True, use_camera_wb=True)
        balance = raw.camera_whitebalance[:3]
    assert ours.shape == theirs.shape
    ours, theirs = ours[::7, ::7].astype(np.float64), theirs[::7, ::7]
    inside = theirs.max(axis=2) < 60_000
    assert inside.mean() > 0.9
    away = np.abs(ours - theirs * (min(balance) * 3 / sum(balance)))[inside]
    assert np.median(away) <= 2 and np.quantile(away, 0.99) <= 131  # of 65535; how edges are interpolated may differ


def test_date_and_camera_are_kept_and_what_is_not_is_told():
    settings = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" crs:Exposure2012="+1"/>'
    picture = decode_picture(dng(corners(), 6, tags=((700, "B", len(settings), settings),)))
    assert picture.xmp is None and picture.left_out == ("settings of a raw developer (XMP)",)
    for format in ("tiff", "png", "jpeg"):
        again = Image.open(io.BytesIO(encode_picture(picture, format))).getexif()
        assert (again[271], again[306], again.get(274, 1)) == ("Test", WHEN, 1)
    assert losses(picture, "jpeg")[-1] == "16 bits (written with 8)" and len(losses(picture, "png")) == 1
    plain = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmp:Rating="4"/>'
    assert decode_picture(dng(corners(), tags=((700, "B", len(plain), plain),))).xmp == plain


@pytest.mark.parametrize(("make", "model"), [("NIKON CORPORATION", "NIKON D700"), ("SONY", "ILCE-7M2")])
def test_a_cameras_own_tiff_gives_the_sensors_picture_and_not_its_preview(make: str, model: str):
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        names = [(271, "s", 0, make, False), (272, "s", 0, model, False)]
        preview = np.zeros((16, 24, 3), np.uint8)
        plain = {"metadata": None, "software": False}
        writer.write(preview, photometric="rgb", subfiletype=1, subifds=1, extratags=names, **plain)
        grid = [(33421, "H", 2, (2, 2), False), (33422, "B", 4, b"\0\1\1\2", False)]
        writer.write(np.full((64, 96), 2000, np.uint16), photometric="cfa", extratags=grid, **plain)
    picture = decode_picture(stream.getvalue())
    assert picture.pixels.shape[0] == 64 and picture.pixels.shape[1] >= 92 and picture.pixels.min() > 0


def test_raw_photos_are_known_by_their_bytes():
    for beginning in (
        b"II*\0\x10\0\0\0CR\2\0",
        b"\0\0\0\x18ftypcrx \0\0\0\0",
        b"FUJIFILMCCD-RAW 0201",
        b"IIRO\x08\0\0\0",
    ):
        assert is_raw(beginning + bytes(64))
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((4, 4, 3), np.uint16), photometric="rgb")
    assert not is_raw(stream.getvalue()) and not is_raw(b"\0\0\0\x18ftypheic") and not is_raw(b"")


def test_a_damaged_raw_photo_is_an_error_wherever_it_is_cut():
    data = dng(corners())
    for end in (9, 60, 400, len(data) // 2, len(data) - 3):
        with pytest.raises(ImageError) as refusal:
            decode_picture(data[:end], "a.dng")
        assert str(refusal.value).startswith("a.dng: ") and "\n" not in str(refusal.value)
    with pytest.raises(ImageError, match="96 x 64 pixels are over the limit of 1000"):
        decode_picture(data, max_pixels=1000)


@pytest.mark.parametrize(("scale", "width", "height"), [((5, 1, 1, 1), 480, 64), ((1, 1, 2, 1), 96, 128)])
def test_oblong_pixels_count_as_the_square_ones_they_become(scale: tuple[int, ...], width: int, height: int):
    data = dng(corners(), tags=((50718, "2I", 2, scale),))
    header = read_header(data)
    assert (header.width, header.height) == (width, height)
    assert decode_picture(data, max_pixels=width * height).pixels.shape == (height, width, 3)
    with pytest.raises(ImageError, match=f"{width} x {height} pixels are over the limit"):
        decode_picture(data, max_pixels=width * height - 1)


def test_a_missing_package_is_told_with_its_command():
    program = (
        "import sys; sys.modules['rawpy'] = None\n"
        "from lle.images import decode, ImageError\n"
        "try: decode(sys.stdin.buffer.read(), 'a.dng')\n"
        "except ImageError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], input=dng(corners()), capture_output=True, check=True)
    assert done.stdout.decode().strip() == "a.dng: a raw photo, which needs one more package; pip install rawpy"


def test_a_folder_of_raw_photos_beside_jpegs_is_done_under_names_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    data = dng(corners(), exposure=0.1)
    (folder / "one.DNG").write_bytes(data)
    Image.fromarray(decode(data)).save(folder / "one.JPG")
    (folder / "two.nef").write_bytes(data[:900])
    (folder / "three.arw").write_bytes(b"nothing of the kind")
    assert entry_point.main(["photos", "--output", "out", "--model", "baseline:exposure-shoulder"]) == 1
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["one.DNG.jpg", "one.JPG", "report.csv"]
    said = capsys.readouterr().out
    assert "2 photos enhanced, 0 done before, 2 failed" in said
    assert "failed: two.nef: damaged or truncated" in said and "failed: three.arw: not a JPEG, PNG" in said


def test_16_bits_of_a_dark_raw_photo_reach_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    ramp = np.linspace(0.1, 1, 96)[None, :, None] * np.ones((64, 1, 3))
    (tmp_path / "dark.dng").write_bytes(dng(ramp, exposure=1 / 64))
    options = ["--model", "baseline:exposure-shoulder", "--format"]
    assert entry_point.main(["dark.dng", *options, "tiff"]) == 0
    deep = decode_picture((tmp_path / "dark.enhanced.dng.tif").read_bytes()).pixels
    shallow = lle.load("bundled").enhance("dark.dng")
    assert deep.dtype == np.uint16 and len(np.unique(deep[32, 4:-4, 1])) >= 80
    assert shallow.mode == "RGB" and len(np.unique(np.asarray(shallow)[32, 4:-4, 1])) >= 60
