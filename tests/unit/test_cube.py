"""A photo's colours as a table: what other programs read from it is what the model does to colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

import lle
from lle.config import EnhancerSettings
from lle.cube import cube
from lle.enhancers import build_enhancer
from lle.enhancers.light import linear_light, log_light, relight
from lle.model import Model
from pipelines.enhance import main

SIDE = 48


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """Dark, with a lamp, uint8."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 70, (SIDE, SIDE, 3), np.uint8)
    pixels[:6, :6] = 230
    return pixels


def model(**settings: object) -> Model:
    """One that lifts, and casts."""
    torch.manual_seed(0)
    chosen = EnhancerSettings(arch="exposure", thumbnail_size=48, width=8, denoise=8, **settings)
    enhancer = build_enhancer(chosen)
    torch.nn.init.constant_(enhancer.exposure.bias, 0.3)
    with torch.no_grad():
        enhancer.balance.bias.copy_(torch.tensor([0.3, 0.0, -0.3]))
    return Model(enhancer.requires_grad_(False), chosen)


def without_places(model: Model, pixels: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """The model's colours without local light and denoiser, [0, 255]."""
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    with torch.no_grad():
        light, _ = model.enhancer.light(image)
        linear = linear_light(image)
        local = None if light.base is None else light.stops(log_light(linear))
        return (255 * relight(linear, light, local, strength)[0][0]).permute(1, 2, 0).numpy()


def applied(text: str, pixels: np.ndarray) -> np.ndarray:
    """What Pillow, which interpolates linearly between eight knots, makes of the pixels."""
    title, size, *rows = text.splitlines()
    assert title.startswith("TITLE ") and size.startswith("LUT_3D_SIZE ")
    side = int(size.split()[1])
    table = np.array([row.split() for row in rows], float)
    assert table.shape == (side**3, 3) and table.min() >= 0 and table.max() <= 1
    lut = ImageFilter.Color3DLUT(side, table.ravel().tolist())
    return np.asarray(Image.fromarray(pixels).filter(lut)).astype(float)


@pytest.mark.parametrize("local", [0.0, 0.7])
def test_a_table_does_what_the_model_does_to_colours(photo: np.ndarray, local: float):
    enhancing = model(local=local)
    for strength in (0.5, 1.0):
        wanted = without_places(enhancing, photo, strength)
        assert np.abs(wanted - photo).mean() > 10
        difference = np.abs(applied(cube(enhancing, photo, strength, 33), photo) - wanted)
        assert difference.mean() < 0.6 and difference.max() < 6


def test_the_bundled_model_keeps_highlights_in_its_table(photo: np.ndarray):
    bundled = lle.load("bundled")
    wanted = without_places(bundled, photo)
    found = applied(cube(bundled, photo), photo)
    assert np.abs(found - wanted).mean() < 3 and wanted.mean() > photo.mean() + 20
    assert 230 < found[:6, :6].mean() < 254


def test_at_strength_0_colours_stay(photo: np.ndarray):
    np.testing.assert_allclose(applied(cube(model(), photo, 0.0, 17), photo), photo, atol=1)


def test_sixteen_bits_give_the_same_table(photo: np.ndarray):
    of_bytes, of_words = (
        np.array(" ".join(cube(model(), pixels, 1.0, 9).splitlines()[2:]).split(), float)
        for pixels in (photo, photo.astype(np.uint16) * 257)
    )
    np.testing.assert_allclose(of_words, of_bytes, atol=2e-3)


def test_ffmpeg_reads_the_table_as_it_was_meant(photo: np.ndarray, tmp_path: Path):
    av = pytest.importorskip("av", reason="needs the extra `video`")
    enhancing, file = model(), tmp_path / "photo.cube"
    file.write_text(cube(enhancing, photo))
    graph = av.filter.Graph()
    source = graph.add_buffer(width=SIDE, height=SIDE, format="rgb24", time_base="1/25")
    table, sink = graph.add("lut3d", f"file={file}:interp=trilinear"), graph.add("buffersink")
    source.link_to(table)
    table.link_to(sink)
    graph.configure()
    source.push(av.VideoFrame.from_ndarray(photo, format="rgb24"))
    found = sink.pull().to_ndarray(format="rgb24").astype(float)
    assert np.abs(found - without_places(enhancing, photo)).max() < 2.5


def test_the_job_writes_a_table_beside_the_photo(photo: np.ndarray, tmp_path: Path, capsys):
    Image.fromarray(photo).save(tmp_path / "night.png")
    assert main([str(tmp_path / "night.png"), "--format", "cube", "--strength", "0.5"]) == 0
    file = tmp_path / "night.enhanced.png.cube"
    assert file.read_text() == cube(lle.load("bundled"), photo, 0.5)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["night.enhanced.png.cube", "night.png"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--model", "baseline:auto-gain"], "format: auto-gain has no one exposure for a photo"),
        (["--side_by_side", "true"], "side_by_side: a cube is no picture; leave out one of the two"),
    ],
)
def test_what_has_no_table_is_told_before_anything_is_read(words: list[str], reason: str, tmp_path: Path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    try:
        assert main([str(tmp_path / "a.png"), "--format", "cube", *words]) == 2
    except SystemExit as stop:
        assert stop.code == 2
    told = capsys.readouterr().err
    assert reason in told and [each.name for each in tmp_path.iterdir()] == ["a.png"]


def test_other_networks_are_refused(photo: np.ndarray):
    settings = EnhancerSettings(arch="compact", thumbnail_size=48, width=8)
    with pytest.raises(ValueError, match="enhancer.arch: compact has no one exposure for a photo"):
        cube(Model(build_enhancer(settings), settings), photo)
