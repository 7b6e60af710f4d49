"""A prior, photos and settings so small that a whole training takes a second: what the tests of the core share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import open_clip
import torch
from torch import Tensor

from lle.config import TrainSettings
from lle.prior.towers import Prior, Seen, Tower
from lle.training.checkpoint import Checkpoint, read
from lle.training.distributed import rank, world_size
from lle.training.hooks import ControlSignal, Hooks, Report, Step
from lle.training.loop import Outcome, train
from lle.training.validation import ValidationSet, Validator

SIDE = 32
# A network that does not begin as a copy, for trainings whose numbers are compared: while a copy learns to copy, there
# is only rounding to learn from, which Adam scales up, and which processors do differently.
NO_COPY = {"arch": "curves"}


def tiny_clip(seed: int = 0) -> open_clip.CLIP:
    """A random CLIP with 32-pixel pictures and two layers each side; the real vocabulary."""
    torch.manual_seed(seed)
    return open_clip.CLIP(
        embed_dim=16,
        vision_cfg={"image_size": SIDE, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
        text_cfg={"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    )


class TinyTower(Tower):
    """That CLIP as a frozen tower; its tokeniser is loaded once for all tests."""

    known: ClassVar[dict[str, Tensor]] = {}

    def __init__(self, seed: int = 0) -> None:
        super().__init__(tiny_clip(seed), "bundled", mean=[0.5] * 3, std=[0.25] * 3)

    def token_ids(self, sentence: str) -> Tensor:
        if sentence not in TinyTower.known:
            TinyTower.known[sentence] = super().token_ids(sentence)
        return TinyTower.known[sentence]


@cache
def tiny_tower() -> Tower:
    """The one tower that most tests share: it is frozen."""
    return TinyTower()


def tiny_prior() -> Prior:
    """One tower for both jobs."""
    return Prior(tiny_tower(), tiny_tower())


class CountingTower(TinyTower):
    """Counts its looks, and sees nothing finite at those in `blind`."""

    def __init__(self, blind: Iterable[int] = ()) -> None:
        super().__init__()
        self.looks, self.blind = 0, set(blind)

    def forward(self, image: Tensor, stages: bool = False) -> Seen:
        self.looks += 1
        seen = super().forward(image, stages)
        return Seen(seen.features, [each * float("nan") for each in seen.stages]) if self.looks in self.blind else seen


def photo(photos: str, row: int, side: int = SIDE) -> Tensor:
    """The photo in a row, uint8, (S, S, 3): dark ones 0 to 79, well-lit ones 100 to 255, with structure and noise."""
    generator = torch.Generator().manual_seed(1000 * row + (photos == "dark"))
    coarse = torch.rand(1, 3, 4, 4, generator=generator)
    picture = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")[0].permute(1, 2, 0)
    picture = 0.9 * picture + 0.1 * torch.rand(side, side, 3, generator=generator)
    low, high = (0, 80) if photos == "dark" else (100, 256)
    return (low + picture * (high - low)).clamp(0, 255).to(torch.uint8)


def regions(picture: Tensor) -> Tensor:
    """Regions of a picture (S, S, 3): four levels of its green channel, int32, (S, S)."""
    return picture[..., 1].div(64, rounding_mode="floor").int()


@dataclass
class PhotoStream:
    """Rows shared out among the ranks: rank r of n starts at row p + r and goes on by n."""

    name: str
    row: int
    draw: Callable[[str, int], Tensor] = photo
    photos: int = 7

    def take(self, count: int) -> Tensor:
        rows = [self.row + rank() + world_size() * index for index in range(count)]
        self.row += world_size() * count
        return torch.stack([self.draw(self.name, row) for row in rows])

    def take_with_regions(self, count: int) -> tuple[Tensor, Tensor]:
        pictures = self.take(count)
        return pictures, torch.stack([regions(picture) for picture in pictures])

    def close(self) -> None:
        """Nothing reads ahead here."""


def tiny_settings(**changes: dict[str, Any] | Any) -> TrainSettings:
    """Every phase for 3 steps, 3 rounds, a small compact network, no augmentation; `changes` are merged in."""
    phase = {"steps": 3, "extend_by": 0}
    values: dict[str, Any] = {
        "data": {"samples": True, "image_size": SIDE, "prompt_size": SIDE},
        "augment": {"flip": 0.0, "transpose": 0.0, "zoom": 0.0, "rotation": 0.0},
        "enhancer": {"arch": "compact", "thumbnail_size": 32, "width": 4},
        "schedule": {
            "prompt_init": phase,
            "reconstruction": {"steps": 3, "restart_below": 0.0},
            "enhancement": phase,
            "refinement": phase,
            "rounds": 3,
        },
        "objective": {"smoothness": {"weight": 5.0}},
        "optimiser": {"enhancer_lr": 1e-3, "prompt_lr": 1e-3, "ema_decay": 0.5},
        "batch": {"enhancement": 4, "prompts": 4},
        "loop": {"precision": "fp32", "log_every": 1, "validate_every": 2, "checkpoint_every": 1000},
    }
    return TrainSettings(**_merged(values, changes))


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    deeper = {k for k in values.keys() & changes.keys() if isinstance(values[k], dict) and isinstance(changes[k], dict)}
    return values | changes | {k: _merged(values[k], changes[k]) for k in deeper}


def tiny_validator(prior: Prior, pairs: int = 3) -> Validator:
    """Pairs and unpaired photos of several sizes; their numbers are no multiple of two."""
    chw = [(photo("dark", 900 + i, 24 + 8 * i), photo("well_lit", 900 + i, 24 + 8 * i)) for i in range(3)]
    turned = [(low.permute(2, 0, 1), high.permute(2, 0, 1)) for low, high in chw]
    unpaired = ValidationSet([low for low, _ in turned], [high for _, high in turned], turned[:pairs])
    return Validator(unpaired, prior.guidance, torch.device("cpu"))


@dataclass
class Told:
    """What the hooks heard, and wishes at a step."""

    folder: Path | None = None
    stop_at: int | None = None
    save_at: int | None = None
    steps: list[Step] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    weights: list[dict[str, Tensor]] = field(default_factory=list)

    def hooks(self, first_step: int = 0) -> Hooks:
        self._done = first_step
        return Hooks(self._log, self._report, self._control_signal)

    def losses(self) -> list[float]:
        return [step.metrics["loss"] for step in self.steps]

    def _log(self, step: Step) -> None:
        self.steps.append(step)

    def _report(self, report: Report) -> None:
        self.reports.append(report)
        self.weights.append({name: each.detach().clone() for name, each in report.enhancer.state_dict().items()})
        if report.write and self.folder:
            report.write(self.folder / f"{report.step:06d}")

    def _control_signal(self) -> ControlSignal:
        self._done += 1
        if self._done == self.stop_at:
            return ControlSignal.STOP
        return ControlSignal.SAVE if self._done == self.save_at else ControlSignal.NOTHING


def tiny_train(
    settings: TrainSettings | None = None,
    prior: Prior | None = None,
    told: Told | None = None,
    resume: Checkpoint | None = None,
    draw: Callable[[str, int], Tensor] = photo,
    pairs: int = 3,
    start: dict[str, Tensor] | None = None,
    rests: Sequence[str] = (),
) -> Outcome:
    """A training on the tiny photos."""
    prior = prior or tiny_prior()
    told = told or Told()
    first = resume.progress.schedule.step if resume else 0
    settings = settings or tiny_settings()
    validator = replace(tiny_validator(prior, pairs), metric=settings.loop.metric)
    open_stream = partial(PhotoStream, draw=draw)
    return train(settings, prior, open_stream, validator, told.hooks(first), resume, start, rests=rests)


def newest(folder: Path) -> Checkpoint:
    """The last checkpoint written under a folder."""
    return read(max(folder.iterdir()))
