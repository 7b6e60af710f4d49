"""What a GPU does with it: how long a picture takes in each way that torch offers, and how fast each preset trains.

    python -m benchmarks.gpu [--minutes 8]

Enhancing: the bundled model on one picture of each size, as it is, channels last, in bfloat16, compiled, and compiled
into CUDA graphs, with the distance of each result from that in float32. Training: steps a second of each phase at the
preset's own batch and size, from pictures in memory, in float32 and in bfloat16. What there is no time left for is left
out, and said; what fails is told with its reason. It runs on a CPU too, smaller, so that it can be tried without a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.pages import PAGE, machine, markdown_table, replace_section, save, stored, told
from benchmarks.speed import BUNDLED, build, picture
from benchmarks.training_step import MemoryStream
from lle.config import TrainSettings
from lle.prior.loading import load_prior
from lle.training.hooks import Hooks, Step
from lle.training.loop import train
from lle.training.validation import ValidationSet, Validator
from pipelines.config.loading import load_settings
from pipelines.config.presets import PRESETS

SIZES = {"1920 x 1080": (1080, 1920), "3840 x 2160": (2160, 3840), "4000 x 3000": (3000, 4000)}
ON_A_CPU = {"480 x 270": (270, 480)}
PHASES = ("prompt_init", "reconstruction", "enhancement", "refinement", "denoising")
STEPS, WARM_UP = 12, 4
TURNS = 20
SHARE_FOR_ENHANCING = 0.4
NAME = "gpu"
Way = Callable[[Tensor], Tensor]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8, help="after which nothing new is begun")
    parser.add_argument("--presets", nargs="+", default=sorted(file.stem for file in PRESETS.glob("*.yaml")))
    parser.add_argument("--table", action="store_true", help="only write the page from the stored results")
    arguments = parser.parse_args(argv)
    found = stored(NAME) if arguments.table else measure(arguments.minutes, arguments.presets)
    replace_section(PAGE, NAME, as_text(found))
    print(as_text(found))
    return 0


def measure(minutes: float, presets: Sequence[str]) -> dict[str, Any]:
    """Milliseconds, or why there are none, by size and way; steps a second by preset, precision and phase."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    began, found = time.monotonic(), {"machine": machine(), "enhancing": {}, "training": {}}
    found["enhancing"] = latencies(device, began + 60 * minutes * SHARE_FOR_ENHANCING)
    save(NAME, found)
    for preset in presets:
        for precision in ("fp32", "bf16") if device.type == "cuda" else ("fp32",):
            late = time.monotonic() > began + 60 * minutes
            rates = {"no time left": 0.0} if late else _or_reason(partial(steps_a_second, preset, precision, device))
            found["training"].setdefault(preset, {})[precision] = rates
            print(preset, precision, rates, flush=True)
        save(NAME, found)
    return found


def latencies(device: torch.device, until: float) -> dict[str, dict[str, Any]]:
    """Median milliseconds and largest distance from float32, in steps of 8 bits, or a reason, by size and way."""
    network = build(BUNDLED, None).to(device)
    found = dict[str, dict[str, Any]]()
    with torch.inference_mode():
        for label, size in (SIZES if device.type == "cuda" else ON_A_CPU).items():
            image = picture(size).to(device)
            expected = network(image).image
            found[label] = {}
            for name, way in ways(network, device).items():
                late = time.monotonic() > until
                timed = partial(latency, way, image, expected)
                found[label][name] = {"no time left": 0.0} if late else _or_reason(timed)
                print(label, name, found[label][name], flush=True)
    return found


def ways(network: nn.Module, device: torch.device) -> dict[str, Way]:
    """Functions of a picture, (1, 3, H, W), by name."""

    def plain(image: Tensor) -> Tensor:
        enhanced: Tensor = network(image).image
        return enhanced

    def halved(function: Way, image: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return function(image)

    compiled = torch.compile(plain)
    found: dict[str, Way] = {
        "as it is": plain,
        "channels last": lambda image: plain(image.contiguous(memory_format=torch.channels_last)),
        "bfloat16": partial(halved, plain),
        "compiled": compiled,
        "compiled, bfloat16": partial(halved, compiled),
    }
    if device.type == "cuda":
        found["compiled, CUDA graphs"] = torch.compile(plain, mode="reduce-overhead")
    return found


def latency(way: Way, image: Tensor, expected: Tensor) -> dict[str, float]:
    """Of one way, after two calls that warm it up."""
    for _ in range(2):
        enhanced = way(image).clone()
    seconds = [_seconds(partial(way, image), image.device) for _ in range(TURNS)]
    distance = 255 * float((enhanced.float() - expected).abs().max())
    return {"ms": 1000 * statistics.median(seconds), "distance": distance}


def steps_a_second(preset: str, precision: str, device: torch.device) -> dict[str, float]:
    """Of each phase that the preset has, median of STEPS steps."""
    settings, times = short(preset, precision, small=device.type == "cpu"), list[tuple[str, float]]()

    def log(step: Step) -> None:
        times.append((step.phase.value, time.perf_counter()))

    prior = load_prior(settings.prior).to(device)
    photo = torch.zeros(3, 64, 64, dtype=torch.uint8)
    validator = Validator(ValidationSet([photo], [photo]), prior.guidance, device)
    train(settings, prior, partial(_stream, settings.data.image_size), validator, Hooks(log))
    seconds = dict[str, list[float]]()
    for (before, start), (phase, end) in pairwise(times):
        if before == phase:
            seconds.setdefault(phase, []).append(end - start)
    return {phase: 1 / statistics.median(each[WARM_UP:]) for phase, each in seconds.items()}


def short(preset: str, precision: str, small: bool) -> TrainSettings:
    """The preset with a few steps of each of its phases; small: with pictures and batches for a CPU, too."""
    given = ["--preset", preset, "--data.samples", "--prior", "bundled", "--init_from", ""]
    schedule = load_settings(given).settings.schedule
    wanted: dict[str, Any] = {
        f"schedule.{phase}.steps": STEPS + WARM_UP for phase in PHASES if getattr(schedule, phase).steps
    }
    for phase in ("prompt_init", "enhancement", "refinement"):
        wanted[f"schedule.{phase}.extend_by"] = 0
    wanted |= {
        "schedule.rounds": min(2, schedule.rounds),
        "schedule.reconstruction.restart_below": 0,
        "loop.log_every": 1,
        "loop.validate_every": 10_000,
        "loop.precision": precision,
        "prior.vgg16_weights": "",
    }
    if small:
        wanted |= {"data.image_size": 64, "data.prompt_size": 64, "batch.enhancement": 2, "batch.prompts": 2}
    return load_settings(
        [*given, *(word for path, value in wanted.items() for word in (f"--{path}", str(value)))]
    ).settings


def as_text(found: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    enhancing = [
        [size, way, *(f"{each[key]:,.1f}" for key in ("ms", "distance"))] if "ms" in each else [size, way, *each, ""]
        for size, by_way in found["enhancing"].items()
        for way, each in by_way.items()
    ]
    phases = [
        phase for phase in PHASES if any(phase in each for by in found["training"].values() for each in by.values())
    ]
    training = [
        [preset, precision, *(f"{each[phase]:.1f}" if phase in each else "" for phase in phases)]
        if set(each) & set(phases)
        else [preset, precision, *each, *[""] * (len(phases) - 1)]
        for preset, by_precision in found["training"].items()
        for precision, each in by_precision.items()
    ]
    return "\n\n".join(
        (
            f"{told(found['machine'])}. The bundled model on one picture:",
            markdown_table(["size", "way", "ms", "farthest from float32, of 255"], enhancing),
            "Steps a second of each phase, pictures from memory:",
            markdown_table(["preset", "precision", *phases], training),
        )
    )


def _stream(size: int, name: str, row: int) -> MemoryStream:
    return MemoryStream(100, row, size)


def _seconds(function: Callable[[], Any], device: torch.device) -> float:
    wait: Callable[[], None] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    began = time.perf_counter()
    function()
    wait()
    return time.perf_counter() - began


def _or_reason(function: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What it gives; where it fails, the first line of the reason in place of numbers."""
    try:
        return function()
    except Exception as error:
        return {(str(error).strip() or type(error).__name__).splitlines()[0][:80]: 0.0}


if __name__ == "__main__":
    sys.exit(main())
