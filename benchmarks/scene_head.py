"""Teach the scene network in parts: its head on features that are computed once, its denoiser without the tower.

    python -m benchmarks.scene_head --data DIR --out DIR [--research] [--seeds 0 1 2]

Photos as for `benchmarks.pretrained`: those that anybody may use, or with --research all but the held-out scenes. Each
is taken again VARIANTS times by the camera of the preset `scene`; the tower looks at each picture once. The head learns
to bring back the well-lit photo, by the root of the mean squared error on some of its pixels, with the same curve and
white balance as the network. The denoiser learns on squares of the photos, lifted to a mean near .44, from what a
camera without noise would have given of the same exposure; where --denoiser names a model, it goes on from that one's.
Nothing is validated and nothing chosen. Each seed gives a model in OUT/SEED, for `benchmarks.quality --model
NAME=OUT/SEED`. Minutes, where `pipelines/train.py --preset scene` takes hours on a CPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.pretrained import split, unrestricted
from lle.config import EnhancerSettings, TrainSettings
from lle.enhancers.denoiser import Denoiser
from lle.enhancers.light import Light, gains, log_light, relight, told, tones_kept
from lle.enhancers.scene import GREY, SceneEnhancer, seen_small, settled
from lle.exposure.camera import srgb_to_linear
from lle.exposure.curves import bag_of_curves
from lle.exposure.shoulder import BRIGHTEST, DARKEST, lift_to_mean
from lle.images import resize, to_tensor
from lle.losses.restoration import denoising
from lle.model import Model, load
from pipelines.config.loading import load_settings
from pipelines.training.prior import smaller, view

SIDE, LARGEST = 192, 768
PIXELS = 16
STEPS, BATCH, LEARNING_RATE, DECAY = 900, 96, 1e-3, 1e-2
SQUARE, SQUARES = 128, 8
DENOISER_RATE, AVERAGE = 5e-4, 0.99
LEVEL_SPREAD = 0.3
LEAST = 1e-4  # of a mean squared error, under its root


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    torch.set_num_threads(arguments.threads)
    settings = load_settings(["--preset", "scene", "--data.samples"]).settings
    data, folder = arguments.data.resolve(), arguments.out / "photos"
    photos = split(data, folder) if arguments.research else unrestricted(data, folder)
    files = sorted(photos["well_lit"].iterdir())
    if arguments.research:
        files += sorted((data / "train" / "well_lit_lol").iterdir())
        files += sorted(unrestricted(data, arguments.out / "free")["well_lit"].iterdir())
    examples = seen_again(files, settings, arguments.variants)
    known = load(arguments.denoiser).enhancer.get_submodule("denoiser").state_dict() if arguments.denoiser else {}
    for seed in arguments.seeds:
        enhancer = taught(examples, seed)
        assert enhancer.denoiser is not None
        if known:
            enhancer.denoiser.load_state_dict(known)
        teach_denoiser(enhancer.denoiser, files, settings, arguments.denoising_steps, seed)
        enhancer.eval().requires_grad_(False)
        about = {"run": f"scene-head-{seed}", "photos": len(files), "denoiser": arguments.denoiser}
        Model(enhancer, EnhancerSettings(arch="scene"), about).save(arguments.out / str(seed))
        print(f"{len(files)} photos, seed {seed}: {arguments.out / str(seed)}", flush=True)
    return 0


@torch.no_grad()
def seen_again(files: Sequence[Path], settings: TrainSettings, variants: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the head is given of each wrong exposure, (N, F), some of its pixels, and those of the photo, (N, 3, P, P)
    both.
    """
    enhancer, generator = SceneEnhancer(denoise=0).eval(), torch.Generator().manual_seed(0)
    term = settings.objective.restoration
    curves = settings.curves.model_copy(update={"under_share": 1 - term.over_share})
    found, dark, well_lit = list[Tensor](), list[Tensor](), list[Tensor]()
    for index, file in enumerate(files):
        photo = smaller(np.asarray(Image.open(file).convert("RGB")), LARGEST)
        views = torch.stack([to_tensor(resize(view(photo, generator), (SIDE, SIDE))) for _ in range(variants)])
        seeds = torch.randint(2**31, (variants,), generator=generator).tolist()
        wrong = bag_of_curves(views, curves, seeds)
        stays = torch.rand(variants, 1, 1, 1, generator=generator) < term.clean_share
        wrong = torch.where(stays, views, wrong)
        found.append(enhancer.look(seen_small(wrong)))
        every = SIDE // PIXELS
        for kept, pictures in ((dark, wrong), (well_lit, views)):  # copies, or all of each picture stays in memory
            kept.append(pictures[..., every // 2 :: every, every // 2 :: every].clone())
        if index % 100 == 0:
            print(f"{index} of {len(files)} photos looked at", flush=True)
    return torch.cat(found), torch.cat(dark), torch.cat(well_lit)


def taught(examples: tuple[Tensor, Tensor, Tensor], seed: int) -> SceneEnhancer:
    """A network whose head has learned from them."""
    found, dark, well_lit = examples
    torch.manual_seed(seed)
    enhancer = SceneEnhancer()
    head = enhancer.head.train()
    optimiser = torch.optim.AdamW(head.parameters(), LEARNING_RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(found), (BATCH,))
        said = head(found[rows])
        exposure = (found[rows, -1:] + said[:, :1]).clamp(-DARKEST, BRIGHTEST)[:, :, None, None]
        relit, _ = relit_as_seen(dark[rows], Light(exposure, gains(said[:, 1:])))
        loss = (F.mse_loss(relit, well_lit[rows], reduction="none").mean(dim=(1, 2, 3)) + LEAST).sqrt().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return enhancer


def teach_denoiser(denoiser: Denoiser, files: Sequence[Path], settings: TrainSettings, steps: int, seed: int) -> None:
    """Some steps of the denoiser, whose light is drawn round the lift to grey."""
    generator, chance = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    photos = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    optimiser = torch.optim.Adam(denoiser.parameters(), DENOISER_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    average = AveragedModel(denoiser, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE))
    for step in range(steps):
        squares = torch.stack(
            [to_tensor(_square(photos[index], chance)) for index in chance.integers(len(photos), size=SQUARES)]
        )
        seeds = torch.randint(2**31, (SQUARES,), generator=generator).tolist()
        noisy, clean = (bag_of_curves(squares, settings.curves, seeds, noise) for noise in (True, False))
        exposure = lift_to_mean(srgb_to_linear(clean), GREY) + LEVEL_SPREAD * torch.randn(
            SQUARES, 1, 1, 1, generator=generator
        )
        light = settled(exposure.clamp(-DARKEST, BRIGHTEST), torch.ones(SQUARES, 3, 1, 1))
        with torch.no_grad():
            (relit, k), (wanted, _) = relit_as_seen(noisy, light), relit_as_seen(clean, light)
        loss = denoising(denoiser(relit, told(k)), wanted, settings.objective.restoration.denoising_structure)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        average.update_parameters(denoiser)
        if step % 50 == 0:
            print(f"denoiser, step {step} of {steps}: {float(loss.detach()):.4f}", flush=True)
    if steps:
        denoiser.load_state_dict(average.module.state_dict())


def relit_as_seen(image: Tensor, light: Light) -> tuple[Tensor, Tensor]:
    """`relight` with tones kept, each place by its own light, for pixels and squares without surroundings."""
    linear = srgb_to_linear(image)
    return relight(linear, light, tones_kept(light.exposure, log_light(linear)))


def _square(photo: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    top, left = (int(chance.integers(max(1, side - SQUARE + 1))) for side in photo.shape[:2])
    square = photo[top : top + SQUARE, left : left + SQUARE]
    square = square if square.shape[:2] == (SQUARE, SQUARE) else resize(square, (SQUARE, SQUARE))
    return np.ascontiguousarray(square[:, :: 1 if chance.random() < 0.5 else -1])


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the photos")
    parser.add_argument("--out", type=Path, required=True, help="folder for a model of each seed")
    parser.add_argument("--research", action="store_true", help="photos whose terms allow research only, too")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", type=int, default=24, help="wrong exposures of each photo")
    parser.add_argument("--denoiser", default="", help="model whose denoiser this one begins as")
    parser.add_argument("--denoising_steps", type=int, default=2500)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
