from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import scene_head
from benchmarks.scene_head import main, taught
from lle.enhancers.light import relight
from lle.enhancers.scene import SceneEnhancer, seen_small
from lle.exposure.camera import expose, srgb_to_linear
from lle.model import load


@pytest.fixture
def data(tmp_path: Path) -> Path:
    chance = np.random.default_rng(0)
    (tmp_path / "kodak24").mkdir()
    for name in ("01", "02"):
        pixels = chance.integers(60, 180, (20, 30, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        Image.fromarray(pixels).save(tmp_path / "kodak24" / f"{name}.png")
    (tmp_path / "train" / "free").mkdir(parents=True)
    (tmp_path / "train" / "free" / "SOURCES.csv").write_text("file,source,licence,author,exposure\n")
    return tmp_path


def test_each_seed_gives_a_model_whose_head_and_denoiser_have_learned(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scene_head, "STEPS", 3)
    threads = torch.get_num_threads()
    options = ["--variants", "2", "--denoising_steps", "2", "--seeds", "0", "1", "--threads", str(threads)]
    assert main(["--data", str(data), "--out", str(tmp_path / "out"), *options]) == 0
    first, second = (load(tmp_path / "out" / str(seed)).enhancer for seed in (0, 1))
    assert isinstance(first, SceneEnhancer) and isinstance(second, SceneEnhancer)
    assert first.denoiser is not None
    assert float(first.head[-1].weight.detach().abs().sum()) > 0
    assert not torch.equal(first.head[1].weight, second.head[1].weight)
    assert bool(first.denoiser.leave.weight.any()) and not bool(SceneEnhancer(8).denoiser.leave.weight.any())


def test_the_head_learns_that_photos_of_a_kind_are_darker_than_grey():
    generator = torch.Generator().manual_seed(0)
    photos = torch.rand(6, 3, 12, 12, generator=generator) ** 2 * 0.5
    wrong = expose(photos, -3.0)
    with torch.no_grad():
        found = SceneEnhancer(denoise=0).eval().look(seen_small(wrong))
    learned = taught((found, wrong, photos), seed=0).eval()
    with torch.no_grad():
        ours, begun = (
            float((relight(srgb_to_linear(wrong), each.light(wrong)[0])[0] - photos).abs().mean())
            for each in (learned, SceneEnhancer(denoise=0).eval())
        )
    assert ours < 0.5 * begun
