"""The training of the priors that ship, as a job: pictures, training, and how well the bundled one tells light."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lle.exposure.camera import expose
from lle.images import resize, to_tensor
from lle.prior import bundled, graded, grading
from lle.prior.graded import Eye
from lle.prior.grading import Examples, learn, looked_at
from lle.prior.pretraining import TOO_LITTLE_LIGHT, Recipe, pretrain, zero_shot_well_lit
from pipelines.config.pretrain_prior import PriorTrainingSettings
from pipelines.data.samples import dead_leaves, sample_photos
from pipelines.job import UserError

if TYPE_CHECKING:
    from open_clip.model import CLIP

PRIOR_PHOTOS = ("coffee", "chelsea", "flower")
"""Sample photos to train on: those with a plain licence, well exposed, and not held out by the quickstart."""

WRITTEN = ("light_prior.safetensors", "evaluation.json")
SIDE, LARGEST = 192, 768  # px a side of what is taken again, and of the photo it is cut from


def run(settings: PriorTrainingSettings) -> None:
    """Train one of the priors and write it.

    Raises:
        UserError: files would be written over, or photos are not there.
    """
    output = Path(settings.output)
    for name in (graded.WEIGHTS_FILE.name,) if settings.graded else WRITTEN:
        if (there := output / name).exists():
            raise UserError(f"output: {there} exists; choose another folder")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    (train_graded if settings.graded else train_bundled)(settings, output)


def train_bundled(settings: PriorTrainingSettings, output: Path) -> None:
    """Train the small CLIP, write it, and evaluate it where that is wanted."""
    pictures = training_pictures(settings.kodak, settings.leaves)
    recipe = Recipe(steps=settings.steps, seed=settings.seed)
    started = time.perf_counter()

    def report(step: int, loss: float, recognised: float) -> None:
        if step % 25 == 0 or step == recipe.steps - 1:
            seconds = time.perf_counter() - started
            left = seconds / (step + 1) * (recipe.steps - step - 1)
            print(
                f"step {step + 1}/{recipe.steps}  loss {loss:.3f}  recognised {recognised:.0%}  left {left:.0f} s",
                flush=True,
            )

    model = pretrain(pictures, recipe, report=report)
    print(f"wrote {bundled.save(model, output)} after {time.perf_counter() - started:.0f} s")
    if settings.evaluate:
        model.load_state_dict({name: tensor.half().float() for name, tensor in model.state_dict().items()})
        numbers = evaluate(model, Path(settings.evaluate))
        (output / "evaluation.json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
        print(json.dumps(numbers, indent=2))


def train_graded(settings: PriorTrainingSettings, output: Path) -> None:
    """Train the graded prior and write it."""
    from safetensors.torch import save_file

    photos = _photos(settings.graded, "graded", "the one with well-lit photos")
    eye, generator, examples = Eye(1), torch.Generator().manual_seed(settings.seed), []
    for index, photo in enumerate([*photos, *sample_photos(PRIOR_PHOTOS).values()]):
        small = smaller(photo, LARGEST)
        views = [to_tensor(resize(view(small, generator), (SIDE, SIDE))) for _ in range(settings.views)]
        examples.append(looked_at(eye, torch.stack(views), generator))
        if index % 25 == 0:
            print(f"photo {index + 1}", flush=True)

    def report(step: int, loss: float) -> None:
        if step % 25 == 0:
            print(f"step {step + 1}/{settings.steps}  loss {loss:.3f}", flush=True)

    model = learn(Examples.joined(examples), grading.Recipe(steps=settings.steps, seed=settings.seed), report)
    output.mkdir(parents=True, exist_ok=True)
    save_file(graded.learned(model), output / graded.WEIGHTS_FILE.name)
    print(f"wrote {output / graded.WEIGHTS_FILE.name}: {len(examples)} photos")


def view(photo: NDArray[np.uint8], generator: torch.Generator) -> NDArray[np.uint8]:
    """Most of a photo or all of it, in half of the cases the other way round."""
    part, row, column, turned = torch.rand(4, generator=generator).tolist()
    part = 1 if part < 0.5 else 0.2 + 0.8 * part  # all of it, or .6 to 1 of its sides
    height, width = photo.shape[:2]
    rows, columns = round(part * height), round(part * width)
    top, left = round(row * (height - rows)), round(column * (width - columns))
    cut = photo[top : top + rows, left : left + columns]
    return np.ascontiguousarray(cut[:, ::-1] if turned < 0.5 else cut)


def smaller(photo: NDArray[np.uint8], largest: int) -> NDArray[np.uint8]:
    """A photo of so many pixels a side at most, of which many views are soon taken."""
    image = Image.fromarray(photo)
    image.thumbnail((largest, largest), Image.Resampling.BOX)
    return np.asarray(image)


def training_pictures(kodak: str, leaves: int) -> list[NDArray[np.uint8]]:
    """The pictures that the prior learns from: sample photos, Kodak's if given, and one dead-leaves scene to each two
    photos drawn.
    """
    photos = list(sample_photos(PRIOR_PHOTOS).values())
    if kodak:
        photos += _photos(kodak, "kodak", "the one with Kodak's 24 photos")
    scenes = [dead_leaves(224, seed) for seed in range(leaves)]
    # Each picture is drawn equally often, so photos are repeated until they are two thirds of all.
    repeats = max(1, round(2 * len(scenes) / len(photos)))
    return photos * repeats + scenes


def _photos(folder: str, setting: str, which: str) -> list[NDArray[np.uint8]]:
    """The JPEG and PNG photos of a folder, by name, RGB."""
    if not Path(folder).is_dir():
        raise UserError(f"{setting}: {folder} is no folder; give {which}")
    beside = sorted(path for path in Path(folder).iterdir() if path.is_file() and not path.name.startswith("."))
    files = [path for path in beside if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
    if others := Counter(path.suffix or "without suffix" for path in beside if path not in files):
        print(f"left out: {', '.join(f'{count} {kind}' for kind, count in others.items())}")
    if not files:
        raise UserError(f"{setting}: {folder} holds no JPEG or PNG file; give {which}")
    return [np.asarray(Image.open(path).convert("RGB")) for path in files]


def evaluate(model: CLIP, data: Path) -> dict[str, float | list[float]]:
    """How well P(well-lit) tells light, on photos the prior never saw; beside mean brightness as the baseline.

    Args:
        model: the prior in eval mode.
        data: folder with test_paired/lol_eval15, train/low, train/well_lit and test_unpaired/backlit_cliplit6.

    Returns:
        AUC per comparison (`lol`, `train`, `backlit`) with P against the captions of too little light;
        `_wrong_light` the same against those of all wrong light; `_brightness` the baseline. At `stops` from -4 to +3,
        mean P(well-lit) against all wrong light of LOL's references (`p_well_lit_lol`) and of 50 well-lit photos
        (`p_well_lit_train`).
    """
    lol = data / "test_paired" / "lol_eval15"
    sets = {
        "lol_low": read_small(_files(lol / "low")),
        "lol_high": read_small(_files(lol / "high")),
        "low": read_small(_evenly(_files(data / "train" / "low"), 150)),
        "well_lit": read_small(_evenly(_files(data / "train" / "well_lit"), 150)),
        "backlit": read_small(_files(data / "test_unpaired" / "backlit_cliplit6")),
    }
    scores = {
        "": {name: zero_shot_well_lit(model, images, TOO_LITTLE_LIGHT) for name, images in sets.items()},
        "_wrong_light": {name: zero_shot_well_lit(model, images) for name, images in sets.items()},
        "_brightness": {name: images.mean(dim=(1, 2, 3)) for name, images in sets.items()},
    }
    comparisons = {"lol": ("lol_high", "lol_low"), "train": ("well_lit", "low"), "backlit": ("well_lit", "backlit")}
    numbers: dict[str, float | list[float]] = {
        name + kind: round(auc(score[good], score[bad]), 4)
        for name, (good, bad) in comparisons.items()
        for kind, score in scores.items()
    }
    stops = numbers["stops"] = [float(stop) for stop in range(-4, 4)]
    for name, images in (("lol", sets["lol_high"]), ("train", sets["well_lit"][::3])):
        curve = [zero_shot_well_lit(model, expose(images, stop)).mean().item() for stop in stops]
        numbers[f"p_well_lit_{name}"] = [round(p, 3) for p in curve]
    return numbers


def auc(higher: torch.Tensor, lower: torch.Tensor) -> float:
    """Probability that a value of the first set exceeds one of the second, ties counting half (area under the ROC
    curve).
    """
    difference = higher[:, None] - lower[None, :]
    return ((difference > 0).float() + 0.5 * (difference == 0).float()).mean().item()


def read_small(files: Sequence[Path], size: int = 112) -> torch.Tensor:
    """Photos at the prior's size, sRGB in [0, 1], (N, 3, size, size)."""
    if not files:
        raise UserError("evaluate: no photos there; give the folder that holds test_paired, test_unpaired, train")
    small = []
    for path in files:
        image = Image.open(path)
        image.draft("RGB", (2 * size, 2 * size))
        small.append(np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)))
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 255


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".bmp"))


def _evenly(files: list[Path], count: int) -> list[Path]:
    return [files[index * len(files) // count] for index in range(count)]
