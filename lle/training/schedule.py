"""Which phase is it: a pure, serialisable state machine (method 1.4).

    prompt_init -> reconstruction -> enhancement -> (refinement -> enhancement) x (rounds - 1) -> denoising -> done

A phase of 0 steps is skipped.
`advance(settings, state, loss, copy_psnr)` gives the next state. Ranks that see the same all-reduced loss decide the
same. Phases may be extended while their loss, a mean of the last 20 steps, is too high;
reconstruction starts anew when the light map has died.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from lle.config import PhaseLength, ScheduleSettings

WINDOW = 20


class Phase(StrEnum):
    """What a step does."""

    PROMPT_INIT = "prompt_init"
    RECONSTRUCTION = "reconstruction"
    ENHANCEMENT = "enhancement"
    REFINEMENT = "refinement"
    DENOISING = "denoising"
    DONE = "done"

    @property
    def trains_prompts(self) -> bool:
        """Whether the prompts learn in this phase, and the enhancer rests."""
        return self in (Phase.PROMPT_INIT, Phase.REFINEMENT)


@dataclass(frozen=True)
class ScheduleState:
    """Where a training stands.

    Attributes:
        phase: the phase of the next step.
        round: 0 before the first enhancement, then 1, 2, ...
        step: steps done in all.
        phase_step: steps done in this phase.
        phase_length: steps of this phase as planned now, extensions included.
        extensions: how often this phase was extended.
        restarts: how often a dead light map made reconstruction start anew.
        recent: losses of up to the last 20 steps of this phase.
    """

    phase: Phase
    round: int = 0
    step: int = 0
    phase_step: int = 0
    phase_length: int = 0
    extensions: int = 0
    restarts: int = 0
    recent: tuple[float, ...] = ()

    def in_phase_of(self, other: ScheduleState) -> bool:
        """Whether both stand in the same phase of the same round."""
        return (self.phase, self.round) == (other.phase, other.round)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ScheduleState:
        """From the plain values that `dataclasses.asdict` made of one."""
        return cls(**{**values, "phase": Phase(values["phase"]), "recent": tuple(values["recent"])})


class DeadLightMap(RuntimeError):
    """The enhancer does not learn to copy, however often it starts anew."""


def first(settings: ScheduleSettings) -> ScheduleState:
    """The state before the first step."""
    return _entered(settings, ScheduleState(Phase.PROMPT_INIT))


def advance(
    settings: ScheduleSettings, state: ScheduleState, loss: float | None, copy_psnr: float | None = None
) -> ScheduleState:
    """The state after a step.

    Args:
        settings: lengths and thresholds.
        state: the state the step was done in.
        loss: the step's loss, the same on every rank; None for a skipped step, which leaves the mean alone.
        copy_psnr: in reconstruction, PSNR of the copy to the input in dB; None where it was not measured.

    Raises:
        DeadLightMap: reconstruction failed once more than `schedule.reconstruction.max_restarts` allows.
    """
    recent = state.recent if loss is None else (*state.recent, loss)[-WINDOW:]
    state = replace(state, step=state.step + 1, phase_step=state.phase_step + 1, recent=recent)
    if state.phase is Phase.RECONSTRUCTION and _died(settings, state, copy_psnr):
        return _restarted(settings, state)
    if state.phase_step < state.phase_length:
        return state
    if state.phase is not Phase.RECONSTRUCTION and _too_high(_length(settings, state.phase), state):
        longer = state.phase_length + _length(settings, state.phase).extend_by
        return replace(state, phase_length=longer, extensions=state.extensions + 1)
    return _next_phase(settings, state)


def cut_short(settings: ScheduleSettings, state: ScheduleState) -> ScheduleState:
    """The state after a phase that ends now, whatever its length."""
    return _next_phase(settings, state)


def planned_steps(settings: ScheduleSettings, state: ScheduleState | None = None) -> int:
    """Steps in all if nothing more is extended; from `state` on where given, else from the start."""
    state = state or first(settings)
    total = state.step
    while state.phase is not Phase.DONE:
        total += state.phase_length - state.phase_step
        state = _next_phase(settings, state)
    return total


def learning_done(settings: ScheduleSettings, state: ScheduleState) -> float:
    """Share of what the enhancer learns that is done, in [0, 1]: of the enhancement, whole rounds and steps of the
    present one by its length; in denoising, of that alone.
    """
    if not state.round:
        return 0.0
    if state.phase is Phase.DENOISING:
        return state.phase_step / state.phase_length
    present = state.phase_step / state.phase_length if state.phase is Phase.ENHANCEMENT else 1.0
    return (state.round - 1 + present) / settings.rounds


def _next_phase(settings: ScheduleSettings, state: ScheduleState) -> ScheduleState:
    if state.phase is Phase.PROMPT_INIT:
        phase, round_ = Phase.RECONSTRUCTION, 0
    elif state.phase in (Phase.RECONSTRUCTION, Phase.REFINEMENT):
        phase, round_ = Phase.ENHANCEMENT, state.round + 1
    elif state.phase is Phase.ENHANCEMENT and state.round < settings.rounds:
        phase, round_ = Phase.REFINEMENT, state.round
    elif state.phase is Phase.ENHANCEMENT:
        phase, round_ = Phase.DENOISING, state.round
    else:
        phase, round_ = Phase.DONE, state.round
    return _entered(settings, ScheduleState(phase, round_, state.step, restarts=state.restarts))


def _entered(settings: ScheduleSettings, state: ScheduleState) -> ScheduleState:
    """The state with the length of its phase; where that is 0, the state of the next phase that has steps."""
    if state.phase is Phase.DONE:
        return state
    length = getattr(settings, state.phase.value).steps
    return replace(state, phase_length=length) if length else _next_phase(settings, state)


def _length(settings: ScheduleSettings, phase: Phase) -> PhaseLength:
    length: PhaseLength = getattr(settings, phase.value)
    return length


def _too_high(length: PhaseLength, state: ScheduleState) -> bool:
    if not length.extend_by or state.extensions >= length.max_extensions or not state.recent:
        return False
    return sum(state.recent) / len(state.recent) > length.extend_above


def _died(settings: ScheduleSettings, state: ScheduleState, copy_psnr: float | None) -> bool:
    check = min(settings.reconstruction.check_at, settings.reconstruction.steps)
    return copy_psnr is not None and state.phase_step == check and copy_psnr < settings.reconstruction.restart_below


def enhancer_steps(state: ScheduleState, done: Mapping[str, int]) -> int:
    """Steps that the enhancer has learned since it last began afresh.

    Args:
        state: the present one.
        done: all steps so far, by phase.
    """
    if state.phase is Phase.RECONSTRUCTION:
        return state.phase_step
    return sum(count for phase, count in done.items() if not Phase(phase).trains_prompts)


def _restarted(settings: ScheduleSettings, state: ScheduleState) -> ScheduleState:
    if state.restarts >= settings.reconstruction.max_restarts:
        raise DeadLightMap(
            f"the enhancer gave less than {settings.reconstruction.restart_below} dB to its input after "
            f"{state.phase_step} steps, {state.restarts + 1} times; lower optimiser.enhancer_lr, or take "
            "enhancer.arch compact, whose light map cannot die"
        )
    return replace(state, phase_step=0, restarts=state.restarts + 1, recent=())
