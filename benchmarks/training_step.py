"""How fast a training step is: batched against image by image, one worker against two, and how it grows.

    python -m benchmarks.training_step                                    # everything, at the paper's sizes
    python -m benchmarks.training_step --size 128 --batch 4 --repeats 3   # smaller
    python -m benchmarks.training_step --parts step

`step` compares our step with one that shows CLIP image after image, as the published code does, on the same pictures
and weights, in turns; both must give the same loss. `workers` and `growth` time the real loop, each training in a
process of its own, whose peak memory is told with it.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import open_clip
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.pages import PAGE, machine, markdown_table, peak_memory, replace_section, save, stored, told
from lle.config import EnhancerSettings, TrainSettings
from lle.enhancers import Enhancer, build_enhancer
from lle.losses.objective import Objective
from lle.prior.loading import load_prior
from lle.prior.prompts import NEGATIVE, PromptPair
from lle.prior.towers import Prior, Tower
from lle.training.batches import PIXELS
from lle.training.hooks import Hooks, Step
from lle.training.loop import train
from lle.training.order import photo_at
from lle.training.validation import ValidationSet, Validator

NETWORKS = {"retinex": "faithful", "compact": "small"}
TOWERS = ("ViT-B-32-quickgelu", "RN101-quickgelu")
PARTS = ("step", "workers", "growth")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="side of the pictures, px")
    parser.add_argument("--batch", type=int, default=8, help="pictures in a step; even, for two workers")
    parser.add_argument("--repeats", type=int, default=7, help="timed steps of each kind")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    found = stored("training_step")
    parts = {"step": compare_steps, "workers": compare_workers, "growth": measure_growth}
    sizes = {"size": options.size, "batch": options.batch, "repeats": options.repeats}
    for part in options.parts:
        found[part] = {"machine": machine(), **sizes, "found": parts[part](**sizes)}
        save("training_step", found)
    replace_section(PAGE, "training-step", as_text(found))
    print(as_text(found))


# --- batched against image by image -----------------------------------------------------------------------------------


def compare_steps(
    size: int, batch: int, repeats: int, kinds: Iterable[str] = tuple(NETWORKS)
) -> dict[str, dict[str, float]]:
    """Median seconds of both steps, and the median of their ratios, by network."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    plain: list[Any] = [open_clip.create_model(name).eval().requires_grad_(False).to(device) for name in TOWERS]
    guidance, identity = (
        Tower(copy.deepcopy(model), name).to(device) for model, name in zip(plain, TOWERS, strict=True)
    )
    prompts = PromptPair(guidance).to(device)
    nn.init.normal_(prompts.embeddings, std=0.02)
    image = 0.3 * torch.rand(batch, 3, size, size, device=device)
    found = {}
    for kind in kinds:
        enhancer = build_enhancer(EnhancerSettings.model_validate({"arch": kind})).to(device)
        ours = batched_step(copy.deepcopy(enhancer), Prior(guidance, identity), prompts, image)
        theirs = step_by_image(enhancer, plain, prompts, image)
        first = [ours(), theirs()]
        assert abs(first[0] - first[1]) <= 1e-3 * abs(first[1]), f"the steps differ in their loss: {first}"
        seconds = [(_seconds(ours), _seconds(theirs)) for _ in range(repeats)]
        found[kind] = {
            "batched": statistics.median(each[0] for each in seconds),
            "by_image": statistics.median(each[1] for each in seconds),
            "ratio": statistics.median(each[1] / each[0] for each in seconds),
        }
        print(kind, found[kind], flush=True)
    return found


def batched_step(enhancer: Enhancer, prior: Prior, prompts: PromptPair, image: Tensor) -> Callable[[], float]:
    """Our enhancement step at the paper's weights."""
    enhancer = enhancer.to(memory_format=PIXELS)
    image = image.contiguous(memory_format=PIXELS)
    objective = Objective(paper().objective, prior, prompts)
    adam = torch.optim.Adam(enhancer.parameters(), 2e-5)

    def step() -> float:
        adam.zero_grad(set_to_none=True)
        loss = objective.enhancement(image, enhancer(image)).total
        loss.backward()
        adam.step()
        return float(loss.detach())

    return step


def step_by_image(enhancer: Enhancer, towers: list[Any], prompts: PromptPair, image: Tensor) -> Callable[[], float]:
    """The same mathematics, CLIP called for one image at a time: how the published code goes about it."""
    vit, resnet = towers
    weights = paper().objective
    adam = torch.optim.Adam(enhancer.parameters(), 2e-5)

    def seen(model: Any, picture: Tensor) -> Tensor:
        visual = model.visual
        small = F.interpolate(picture, size=visual.image_size, mode="bilinear", antialias=True)
        mean, std = (small.new_tensor(each).view(3, 1, 1) for each in (visual.image_mean, visual.image_std))
        return (small - mean) / std

    def stages(picture: Tensor) -> list[Tensor]:
        found: list[Tensor] = resnet.visual.forward_intermediates(seen(resnet, picture))["image_intermediates"]
        return found

    def step() -> float:
        adam.zero_grad(set_to_none=True)
        enhanced = enhancer(image).image
        with torch.no_grad():
            text = prompts.text_features()
        loss = torch.zeros((), device=image.device)
        for one, original in zip(enhanced.split(1), image.split(1), strict=True):
            features = F.normalize(vit.visual(seen(vit, one)), dim=-1)
            probability = (float(vit.logit_scale.exp()) * features @ text.T).softmax(dim=-1)[0, NEGATIVE]
            pairs = zip(weights.identity.layers, stages(one), stages(original), strict=True)
            distance = torch.stack([weight * F.mse_loss(ours, theirs) for weight, ours, theirs in pairs]).sum()
            loss = loss + (weights.guidance.weight * probability + weights.identity.weight * distance) / len(image)
        loss.backward()
        adam.step()
        return float(loss.detach())

    return step


def paper() -> TrainSettings:
    """The paper's settings; no photo is read here."""
    return TrainSettings.model_validate({"data": {"samples": True}})


def _seconds(step: Callable[[], float]) -> float:
    started = time.perf_counter()
    step()  # ends with a number on the CPU, so a GPU has finished too
    return time.perf_counter() - started


# --- the real loop ----------------------------------------------------------------------------------------------------


@dataclass
class MemoryStream:
    """Noise in place of photos, in the order that real ones would have."""

    photos: int
    row: int
    size: int

    def take(self, count: int) -> Tensor:
        chosen = [photo_at(self.row + index, self.photos, 0) for index in range(count)]
        self.row += count
        generator = torch.Generator().manual_seed(chosen[0])
        return torch.randint(0, 80, (count, self.size, self.size, 3), dtype=torch.uint8, generator=generator)

    def take_with_regions(self, count: int) -> tuple[Tensor, Tensor]:
        pictures = self.take(count)
        return pictures, torch.zeros(pictures.shape[:3], dtype=torch.int32)

    def close(self) -> None:
        """Nothing reads ahead here."""


def compare_workers(size: int, batch: int, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of a step on one worker and on two, one thread each, the same total batch; by network."""
    found = {}
    for kind in NETWORKS:
        settings = small_training(kind, size, batch, repeats)
        one, two = (run_apart(settings, workers=workers) for workers in (1, 2))
        found[kind] = {
            "one": one["enhancement"],
            "two": two["enhancement"],
            "efficiency": one["enhancement"] / (2 * two["enhancement"]),
        }
        print("workers", kind, found[kind], flush=True)
    return found


def measure_growth(size: int, batch: int, repeats: int) -> dict[str, list[dict[str, Any]]]:
    """Seconds of the steps and peak memory over resolution, batch, rounds and number of photos."""
    runs: dict[str, list[tuple[str, TrainSettings, int]]] = {
        "resolution": [
            (f"{side} px, {NETWORKS[kind]}", small_training(kind, side, batch, repeats), 100)
            for kind in NETWORKS
            for side in (size // 4, size // 2, size)
        ],
        "batch": [
            (f"{pictures}", small_training("compact", size, pictures, repeats), 100)
            for pictures in (batch, 2 * batch, 4 * batch)
        ],
        "rounds": [
            (f"{rounds}", small_training("compact", size, batch, repeats, rounds), 100) for rounds in (2, 4, 16)
        ],
        "photos": [
            (f"{photos:,}", small_training("compact", size, batch, repeats), photos)
            for photos in (100, 10_000, 1_000_000)
        ],
    }
    found: dict[str, list[dict[str, Any]]] = {}
    for name, cases in runs.items():
        found[name] = []
        for label, settings, photos in cases:
            found[name].append({"case": label, **run_apart(settings, photos)})
            print(name, found[name][-1], flush=True)
    return found


def small_training(kind: str, size: int, batch: int, repeats: int, rounds: int = 1) -> TrainSettings:
    """A training with the bundled prior, so that what grows is not hidden behind large towers."""
    fixed = {"steps": repeats + 2, "extend_by": 0}
    return TrainSettings.model_validate(
        {
            "data": {"samples": True, "image_size": size, "prompt_size": min(size, 256)},
            "enhancer": {"arch": kind},
            "schedule": {
                "prompt_init": {"steps": 2},
                "reconstruction": {"steps": 0},
                "enhancement": fixed,
                "refinement": fixed,
                "rounds": rounds,
            },
            "batch": {"enhancement": batch, "prompts": batch},
            "loop": {"log_every": 1, "validate_every": 10_000, "checkpoint_every": 100_000},
        }
    )


def run_apart(settings: TrainSettings, photos: int = 100, workers: int = 0) -> dict[str, float]:
    """Median seconds of each phase's steps in the last round, and peak memory of a process in MiB.

    Args:
        settings: of the training.
        photos: pictures in each set.
        workers: processes in a gloo group, one thread each; 0: one process with all threads.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        answers = context.SimpleQueue()
        count = max(1, workers)
        processes = [
            context.Process(target=_train, args=(settings, photos, index, workers, folder, answers))
            for index in range(count)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise RuntimeError("a training of the benchmark failed; its reason is above")
        found: dict[str, float] = answers.get()
        return found


def _train(settings: TrainSettings, photos: int, index: int, workers: int, folder: str, answers: Any) -> None:
    if workers:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=index, world_size=workers)
    times: list[tuple[str, float]] = []

    def open_stream(name: str, row: int) -> MemoryStream:
        return MemoryStream(photos, row, settings.data.image_size)

    def log(step: Step) -> None:
        times.append((step.line.split("  ")[0], time.perf_counter()))

    prior = load_prior(settings.prior)
    picture = torch.zeros(3, 64, 64, dtype=torch.uint8)
    validator = Validator(ValidationSet([picture], [picture]), prior.guidance, torch.device("cpu"))
    train(settings, prior, open_stream, validator, Hooks(log=log))
    if index == 0:
        seconds: dict[str, list[float]] = {}
        for (before, started), (phase, ended) in pairwise(times):
            if before == phase:
                seconds.setdefault(phase.split()[-1], []).append(ended - started)
        steps = settings.schedule.enhancement.steps - 1
        medians = {phase: statistics.median(each[-steps:]) for phase, each in seconds.items() if phase != "prompt_init"}
        answers.put({**medians, "peak_mib": peak_memory()})
    if workers:
        dist.destroy_process_group()


# --- the page ---------------------------------------------------------------------------------------------------------


def as_text(found: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    parts = []
    if step := found.get("step"):
        steps, batch = step["found"], step["batch"]
        rows = [
            [NETWORKS[kind], *(f"{batch / each[way]:.2f}" for way in ("by_image", "batched")), f"{each['ratio']:.2f}"]
            for kind, each in steps.items()
        ]
        crossed = steps["retinex"]["by_image"] / steps["compact"]["batched"]
        parts += [
            _measured(step),
            f"Towers of the shapes {' and '.join(TOWERS)}, random weights, images/s. Image by image: CLIP called for "
            "one image at a time, the same mathematics and loss.",
            markdown_table(["network", "image by image", "ours", "times faster, pairwise"], rows),
            f"Our step with the small network against image by image with the faithful one: {crossed:.1f} times.",
        ]
    if workers := found.get("workers"):
        rows = [
            [NETWORKS[kind], f"{each['one']:.3f}", f"{each['two']:.3f}", f"{each['efficiency']:.2f}"]
            for kind, each in workers["found"].items()
        ]
        header = ["network", "one worker, s", "two workers, s", "efficiency"]
        parts += [
            f"Workers of one thread each, the same total batch, bundled prior. {_measured(workers)}",
            markdown_table(header, rows),
        ]
    if growth := found.get("growth"):
        rows = [
            [
                name,
                each["case"],
                f"{each['enhancement']:.3f}",
                f"{each['refinement']:.3f}" if "refinement" in each else "",
                each["peak_mib"],
            ]
            for name, cases in growth["found"].items()
            for each in cases
        ]
        parts += [
            "How a step grows, bundled prior, small network where no other is named; peak memory of the whole process. "
            + _measured(growth),
            markdown_table(["over", "", "enhancement, s", "refinement, s", "peak, MiB"], rows),
        ]
    return "\n\n".join(parts)


def _measured(part: dict[str, Any]) -> str:
    return (
        f"{told(part['machine'])}. Batch {part['batch']}, {part['size']}x{part['size']}, medians of {part['repeats']} "
        "steps."
    )


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
