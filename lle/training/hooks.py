"""What the loop tells its surroundings, and what it asks them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from lle.enhancers import Enhancer
from lle.training.checkpoint import Checkpoint
from lle.training.schedule import Phase


@dataclass(frozen=True)
class Step:
    """One step, told to rank 0's `log` every `loop.log_every` steps.

    Attributes:
        step: steps done.
        line: a sentence for a person.
        metrics: numbers by name.
        phase: phase of this step.
    """

    step: int
    line: str
    metrics: dict[str, float]
    phase: Phase


@dataclass(frozen=True)
class Report:
    """A validation or a checkpoint, told to every rank's `report`, equally often on each.

    Attributes:
        step: steps done.
        phase: phase of the next step.
        round: round of the next step.
        metrics: of the validation; empty where nothing was validated.
        write: writes the checkpoint into an empty folder; None where none is due. Call it on rank 0 only.
        enhancer: the candidate that was measured; before denoising, the best.
        ended_round: the round whose enhancement has just ended; 0 elsewhere.
        note: a sentence for a person, where there is something to say.
    """

    step: int
    phase: Phase
    round: int
    metrics: dict[str, float]
    write: Callable[[Path], None] | None
    enhancer: Enhancer
    ended_round: int = 0
    note: str = ""


class ControlSignal(IntEnum):
    """What the surroundings want of the loop; one rank's is every rank's."""

    NOTHING = 0
    SAVE = 1  # a checkpoint now, for this machine may soon be gone
    STOP = 2  # a checkpoint now, and no further step


@dataclass(frozen=True)
class Hooks:
    """What the surroundings do; the defaults do nothing.

    Attributes:
        log: told of steps, on rank 0.
        report: told of validations and checkpoints, on every rank.
        control_signal: asked at every step, on every rank.
        interrupted: given, where a step fails with a RuntimeError, as collectives do once another rank is gone, what
            the training goes on from: a step counts once its validation is done. Then the error is raised. None:
            nobody asks, and nothing is copied before steps that are validated.
    """

    log: Callable[[Step], None] = lambda step: None
    report: Callable[[Report], None] = lambda report: None
    control_signal: Callable[[], ControlSignal] = lambda: ControlSignal.NOTHING
    interrupted: Callable[[Checkpoint], None] | None = None
