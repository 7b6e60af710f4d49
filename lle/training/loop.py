"""The loop: phases, rounds, validation and checkpoints, on one process or many; it does not know where it runs.

Rank 0 speaks through `Hooks`; every rank takes the same decisions, because they follow from all-reduced numbers.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.autograd.profiler import record_function
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lle.config import TrainSettings
from lle.dotted import said
from lle.enhancers import Enhancer, build_enhancer
from lle.losses.objective import Objective, Terms, check_own_terms
from lle.losses.task import load_task
from lle.prior.crops import Crops
from lle.prior.guidance_heads import GuidanceHead, build_guidance_head
from lle.prior.residual import ResidualVector
from lle.prior.towers import Prior
from lle.training import checkpoint as checkpoint_files
from lle.training import schedule as schedules
from lle.training.batches import PIXELS, Batches
from lle.training.checkpoint import Best, Checkpoint, Progress
from lle.training.distributed import parallel, rank, same_on_every_rank, seed_step, summed, world_size
from lle.training.hooks import ControlSignal, Hooks, Report, Step
from lle.training.optimisers import build_optimiser, rest
from lle.training.phase_steps import PhaseSteps
from lle.training.residual import mean_features
from lle.training.schedule import Phase, ScheduleState
from lle.training.stepline import StepLine
from lle.training.streams import OpenStream
from lle.training.validation import Validator

ENHANCED_SETS = 2
DENOISER = "denoiser."


@dataclass(frozen=True)
class Outcome:
    """What a training gives.

    Attributes:
        enhancer: the best enhancer by the validation measure, in evaluation mode.
        guide: state of what judged the light, by name: prompt embeddings, latents, or direction and threshold.
        progress: where the training ended.
        best: value and step of the best.
        finished: False when a wish ended it.
        images_per_second: pictures of all ranks in a second of steps.
        data_wait_share: share of the steps' time spent waiting for data, in [0, 1].
    """

    enhancer: Enhancer
    guidance_head: dict[str, Tensor]
    progress: Progress
    best: tuple[float, int]
    finished: bool
    images_per_second: float
    data_wait_share: float


class NonFiniteError(RuntimeError):
    """More steps had a non-finite loss or gradient than `loop.non_finite_limit` allows.

    Attributes:
        rows: rows of each stream (`dark`, `well_lit`) that the skipped steps took, of all ranks together.
    """

    def __init__(self, message: str, rows: dict[str, list[int]]) -> None:
        super().__init__(message, rows)
        self.rows = rows

    def __str__(self) -> str:
        return str(self.args[0])


def train(
    settings: TrainSettings,
    prior: Prior,
    open_stream: OpenStream,
    validator: Validator,
    hooks: Hooks | None = None,
    resume: Checkpoint | None = None,
    start: dict[str, Tensor] | None = None,
    uneven: bool = False,
    rests: Sequence[str] = (),
) -> Outcome:
    """Train an enhancer with alternating prompt refinement.

    Args:
        settings: the whole tree.
        prior: frozen towers on the training's device.
        open_stream: gives the streams of dark and well-lit pictures.
        validator: chooses the best enhancer.
        hooks: where lines, metrics and checkpoints go.
        resume: a checkpoint to continue from.
        start: weights that the enhancer begins with, by name; None: fresh ones.
        uneven: ranks may come and go; what is left of a batch that their number does not divide is left out.
        rests: parts of the enhancer that stay as they begin, by name; those that it has not are left out.

    Raises:
        NonFiniteError, DeadLightMap: the training cannot succeed; the message names the setting.
        ValueError: a batch that the ranks cannot share equally, or an enhancer of which nothing learns.
        OwnCodeError: code from outside that the settings name cannot be used.
    """
    check_own_terms(settings)
    training = _Training(settings, prior, open_stream, validator, hooks or Hooks(), resume, start, uneven, rests)
    try:
        return training.run()
    except RuntimeError:
        if training.hooks.interrupted:
            training.hooks.interrupted(training.before or training.checkpoint())
        raise
    finally:
        training.batches.close()


class _Training:
    def __init__(
        self,
        settings: TrainSettings,
        prior: Prior,
        open_stream: OpenStream,
        validator: Validator,
        hooks: Hooks,
        resume: Checkpoint | None,
        start: dict[str, Tensor] | None,
        uneven: bool,
        rests: Sequence[str],
    ) -> None:
        self.settings, self.hooks, self.validator, self.prior = settings, hooks, validator, prior
        self.phases, self.open_stream = settings.phases, open_stream
        self.device = validator.device
        self.progress = resume.progress if resume else Progress(schedules.first(self.phases))
        self.best: Best | None = None
        self.round_best: Best | None = None
        self.frozen_enhancers: list[Enhancer] = []
        self.led_to_best: dict[str, Tensor] = {}
        self.note = ""
        self.before: Checkpoint | None = None
        self.control_signal = ControlSignal.NOTHING
        self.skipped_rows: dict[str, list[int]] = {}

        torch.manual_seed(settings.seed)
        self.enhancer = build_enhancer(settings.enhancer).to(self.device).to(memory_format=PIXELS)
        if start:
            self.enhancer.load_state_dict(start)
        self.guidance_head = build_guidance_head(settings.prior, prior.guidance).to(self.device)
        chosen = settings.optimiser
        rest(self.enhancer, rests)
        self.enhancer_adam = build_optimiser(chosen, self.enhancer.parameters(), chosen.enhancer_lr)
        self.prompt_adam = build_optimiser(chosen, self.guidance_head.parameters(), chosen.prompt_lr)
        self.average = self._new_average()
        if resume:
            self._restore(resume)
            if self.schedule.phase is Phase.DENOISING:
                self._rest_the_light()
        else:
            self._find_residual()

        self.phase_steps = PhaseSteps(
            settings,
            Objective(
                settings.objective,
                prior,
                self.guidance_head,
                Crops(settings.prior.crops, settings.prior.crop_share),
                task if (task := load_task(settings.objective.task)) is None else task.to(self.device),
            ),
            parallel(self.enhancer),
            parallel(self.guidance_head),
            self.frozen_enhancers,
        )
        self.batches = Batches(settings, open_stream, self.progress, self.device, uneven)
        self.autocast = settings.loop.precision == "bf16" or (
            settings.loop.precision == "auto" and self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        )
        self.line = StepLine(settings)

    @property
    def schedule(self) -> ScheduleState:
        return self.progress.schedule

    def run(self) -> Outcome:
        reported = self.schedule.step
        if self.schedule.phase is Phase.DONE:  # whoever was to write the last checkpoint may have been lost with it
            self._report({}, True, 0)
        while self.schedule.phase is not Phase.DONE and self.control_signal is not ControlSignal.STOP:
            before = self.schedule
            self.before = self._copied() if self.hooks.interrupted and self._is_validated_next else None
            rows = self.progress.dark_row, self.progress.well_lit_row
            try:
                with record_function(f"{before.phase.value} step {before.step + 1}"):
                    self._step()
            except RuntimeError:  # of a collective, and those come before a step changes anything but these
                self.progress.dark_row, self.progress.well_lit_row = rows
                raise
            after = self.schedule
            if after.restarts > before.restarts:
                self._start_anew()
            metrics = self._validate(not after.in_phase_of(before), before)
            after = self.schedule  # which may have ended a round
            ended_round = 0 if after.in_phase_of(before) or before.phase is not Phase.ENHANCEMENT else before.round
            due = (
                after.step - reported >= self.settings.loop.checkpoint_every
                or ended_round > 0
                or after.phase is Phase.DONE
                or self.control_signal is not ControlSignal.NOTHING
            )
            if metrics or due:
                self._report(metrics, due, ended_round)
                reported = after.step if due else reported
        return self._outcome(finished=self.schedule.phase is Phase.DONE)

    # one step

    def _step(self) -> None:
        schedule, started = self.schedule, time.perf_counter()
        seed_step(self.settings.seed, schedule.step)
        trains_prompts = schedule.phase.trains_prompts
        optimiser = self.prompt_adam if trains_prompts else self.enhancer_adam
        module = self.phase_steps.prompts if trains_prompts else self.phase_steps.enhancer
        micro_batches = self.settings.optimiser.accumulate
        self.batches.rows = {}
        self.enhancer_adam.param_groups[0]["lr"] = self._enhancer_lr

        optimiser.zero_grad(set_to_none=True)
        waited, collected = 0.0, []
        for index in range(micro_batches):
            batch, seconds = self.batches.take(schedule.phase)
            waited += seconds
            synchronise = index == micro_batches - 1 or not hasattr(module, "no_sync")
            with nullcontext() if synchronise else module.no_sync():  # type: ignore[operator]
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
                    terms = self.phase_steps.terms(schedule.phase, batch)
                    loss = terms.total
                (loss / micro_batches).backward()
            collected.append(_numbers(loss, terms))

        values = self._apply(optimiser, module, collected)
        if not trains_prompts and self.average is not None:
            self.average.update_parameters(self.enhancer)
        copied = values.get("term/copy_error")
        copy_psnr = None if copied is None else float(-10 * torch.log10(torch.tensor(max(copied, 1e-10))))
        self._advance(values, copy_psnr)
        self.line.count(self.batches.pictures(schedule.phase), time.perf_counter() - started, waited)
        done = self.schedule.step
        if rank() == 0 and (done % self.settings.loop.log_every == 0 or not self.schedule.in_phase_of(schedule)):
            rates = {"lr/enhancer": self.enhancer_adam, "lr/prompts": self.prompt_adam}
            metrics = (
                values
                | {"skipped_steps": float(self.progress.skipped)}
                | {name: adam.param_groups[0]["lr"] for name, adam in rates.items()}
            )
            self.hooks.log(Step(done, *self.line.tell(schedule, self.schedule, metrics), schedule.phase))

    @property
    def _enhancer_lr(self) -> float:
        chosen = self.settings.optimiser
        rate = chosen.enhancer_lr
        if (steps := schedules.enhancer_steps(self.schedule, self.progress.phase_steps)) < chosen.warmup_steps:
            rate *= (steps + 1) / chosen.warmup_steps
        if chosen.lr_schedule == "none":
            return rate
        done = schedules.learning_done(self.phases, self.schedule)
        return rate * (1 + math.cos(math.pi * done)) / 2

    def _apply(
        self, optimiser: torch.optim.Optimizer, module: nn.Module, collected: list[dict[str, Tensor]]
    ) -> dict[str, float]:
        """Clip, agree on the numbers, and step unless one of them is not finite on any rank."""
        limit = self.settings.optimiser.clip_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(module.parameters(), limit)
        names = list(collected[0])
        mine = torch.stack([torch.stack([each[name] for each in collected]).mean() for name in names])
        broken = ~torch.isfinite(mine).all() | ~torch.isfinite(norm)
        control_signal = self.hooks.control_signal()
        decisions = torch.stack(
            [broken.to(mine), *(mine.new_tensor(float(control_signal is each)) for each in ControlSignal)]
        )
        *agreed, any_broken, _, any_save, any_stop = summed(torch.cat([mine, decisions])).tolist()
        self.control_signal = (
            ControlSignal.STOP if any_stop else ControlSignal.SAVE if any_save else ControlSignal.NOTHING
        )
        values = {name: value / world_size() for name, value in zip(names, agreed, strict=True)}
        if not any_broken:
            optimiser.step()
            return values
        self.progress.skipped += 1
        for name, rows in self.batches.rows.items():
            self.skipped_rows.setdefault(name, []).extend(rows)
        if self.progress.skipped > self.settings.loop.non_finite_limit:
            raise NonFiniteError(
                f"{self.progress.skipped} steps had a loss or gradient that is not finite, the last in "
                f"{self.schedule.phase.value} at step {self.schedule.step}; lower optimiser.enhancer_lr or "
                "optimiser.prompt_lr, or set optimiser.clip_norm",
                self.skipped_rows,
            )
        optimiser.zero_grad(set_to_none=True)
        return {}

    def _advance(self, values: dict[str, float], copy_psnr: float | None) -> None:
        before = self.schedule
        self.progress.schedule = schedules.advance(self.phases, before, values.get("loss"), copy_psnr)
        counts = self.progress.phase_steps
        counts[before.phase.value] = counts.get(before.phase.value, 0) + 1

    # between steps

    def _validate(self, phase_ended: bool, before: ScheduleState) -> dict[str, float]:
        """Measure the candidate where it is due, keep it if none is better, and end the round where it ends."""
        enhancing, denoising = before.phase is Phase.ENHANCEMENT, before.phase is Phase.DENOISING
        ended = phase_ended or (before.phase_step + 1) % self.settings.loop.validate_every == 0
        due = (enhancing or denoising) and ended
        if not due and not (phase_ended and before.phase is Phase.RECONSTRUCTION):
            return {}
        with record_function("validation"):
            metrics = self.validator.metrics(self._candidate, self._judge)
        value = metrics[self.validator.chosen]
        if denoising:
            self.best = self._copy(value)  # its light is the best enhancer's, and its denoiser learns to the end
        if enhancing:
            if as_good := self._is_as_good(value):
                self.best = self._copy(value)
            if as_good or self.validator.better(value, _value(self.round_best)):
                self.round_best = self._copy(value)
            if not phase_ended and (why := self._why_to_end(metrics)):
                self._say(f"round {before.round} ends after {before.phase_step + 1} steps: {why}")
                self.progress.schedule = schedules.cut_short(self.phases, self.schedule)
                phase_ended = True
            if phase_ended:
                self._end_round(before.round)
        return metrics

    def _is_as_good(self, value: float) -> bool:
        """Whether a value is the best so far, or behind it by so little that the later enhancer is taken."""
        if self.validator.better(value, self.progress.reached):
            self.progress.reached = value
            return True
        reached = math.inf if self.progress.reached is None else self.progress.reached
        return abs(value - reached) < self.phases.tolerance

    @property
    def _judge(self) -> GuidanceHead | None:
        """What guides the enhancer, where anything does."""
        return self.guidance_head if self.settings.objective.guidance.weight else None

    def _why_to_end(self, metrics: dict[str, float]) -> str:
        """A reason to end the round before its time; empty where there is none."""
        gap = metrics.get("judge_gap", math.inf)
        if gap < self.phases.min_gap:
            return f"judge_gap {gap:.3f}, what guides it hardly tells the enhanced photos from well-lit ones"
        waited = self.schedule.step - self.round_best.step if self.round_best else 0
        if 0 < self.phases.patience * self.settings.loop.validate_every <= waited:
            return f"no better {self.validator.chosen} for {waited} steps"
        return ""

    def _end_round(self, ended: int) -> None:
        """The round's best enhancer joins the earlier ones, which make the enhanced sets of the refinement."""
        frozen = copy.deepcopy(self._candidate).eval().requires_grad_(False)
        if self.round_best is not None:
            frozen.load_state_dict(self.round_best.weights)
        best, reached = self.best, self.round_best
        self.round_best = None
        if self.phases.from_best and best and (reached is None or reached.step != best.step):
            value = f"{self.validator.chosen} {reached.value if reached else math.nan:.3f}"
            self._say(
                f"round {ended} is undone: {value} at best, and {best.value:.3f} at step {best.step}, which is kept"
            )
            self.frozen_enhancers[:] = [frozen, *self.frozen_enhancers[-1:]]  # the best stays the newest
            self.guidance_head.load_state_dict(self.led_to_best)
            self.prompt_adam.state.clear()
        else:
            self.frozen_enhancers[:] = [*self.frozen_enhancers, frozen][-ENHANCED_SETS:]
            self.led_to_best = {name: each.detach().clone() for name, each in self.guidance_head.state_dict().items()}
        if self.schedule.phase is Phase.DENOISING:
            self._begin_denoising()
        elif self.phases.from_best:
            self._begin_with_best()
        if self.settings.prior.renew_residual and self.schedule.phase in (Phase.REFINEMENT, Phase.ENHANCEMENT):
            self._find_residual()

    def _begin_with_best(self) -> None:
        """On from the best enhancer, with fresh moments."""
        if self.best:
            self.enhancer.load_state_dict(self.best.weights)
        self.enhancer_adam.state.clear()
        self.average = self._new_average()

    def _begin_denoising(self) -> None:
        """From the best enhancer on, which stays beside as it is."""
        self._begin_with_best()
        self.frozen_enhancers[:] = [copy.deepcopy(self.enhancer).eval().requires_grad_(False)]
        self._rest_the_light()
        self.phase_steps = replace(self.phase_steps, enhancer=parallel(self.enhancer))

    def _say(self, sentence: str) -> None:
        self.note = f"{self.note}; {sentence}" if self.note else sentence

    def _rest_the_light(self) -> None:
        """Only the denoiser learns from here on, of the light that a finished network would see."""
        for name, parameter in self.enhancer.named_parameters():
            parameter.requires_grad_(name.startswith(DENOISER))
        for name, part in self.enhancer.named_children():
            part.train(DENOISER.startswith(name))

    def _find_residual(self) -> None:
        if isinstance(self.guidance_head, ResidualVector) and self.settings.objective.guidance.weight:
            self.guidance_head.find(
                *mean_features(self.settings, self.prior.guidance, self.open_stream, self.frozen_enhancers)
            )

    def _start_anew(self) -> None:
        torch.manual_seed(self.settings.seed + 7919 * self.schedule.restarts)
        self.enhancer.load_state_dict(build_enhancer(self.settings.enhancer).state_dict())
        self.enhancer_adam.state.clear()
        self.average = self._new_average()

    def _report(self, metrics: dict[str, float], checkpoint: bool, ended_round: int) -> None:
        if checkpoint:
            weights = self.enhancer.state_dict() | self.guidance_head.state_dict()
            assert same_on_every_rank(checkpoint_files.weights_hash(weights)), "the ranks' weights have drifted apart"
        write = (lambda folder: checkpoint_files.write(self.checkpoint(), folder)) if checkpoint else None
        state = self.schedule
        report = Report(state.step, state.phase, state.round, metrics, write, self._candidate, ended_round, self.note)
        self.note = ""
        self.hooks.report(report)

    def _outcome(self, finished: bool) -> Outcome:
        best = self.best or self._copy(float("nan"))
        enhancer = copy.deepcopy(self.enhancer)
        enhancer.load_state_dict(best.weights)
        enhancer.requires_grad_(False).eval()
        guidance_head = {name: each.detach().cpu() for name, each in self.guidance_head.state_dict().items()}
        speed, wait = self.line.images_per_second, self.line.data_wait_share
        return Outcome(enhancer, guidance_head, self.progress, (best.value, best.step), finished, speed, wait)

    # state

    @property
    def _candidate(self) -> Enhancer:
        """The enhancer that is measured and saved: the averaged one where there is one."""
        return cast(Enhancer, self.average.module) if self.average is not None else self.enhancer

    def _copy(self, value: float) -> Best:
        weights = {name: weight.detach().cpu().clone() for name, weight in self._candidate.state_dict().items()}
        return Best(value, self.schedule.step, weights)

    def _new_average(self) -> AveragedModel | None:
        decay = self.settings.optimiser.ema_decay
        return AveragedModel(self.enhancer, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None

    @property
    def _is_validated_next(self) -> bool:
        """Whether collectives may follow the next step, which has changed weights by then."""
        done = self.schedule.phase_step + 1
        return done == self.schedule.phase_length or done % self.settings.loop.validate_every == 0

    def _copied(self) -> Checkpoint:
        """Where the training stands, whatever it does next."""
        here = self.checkpoint()
        return replace(here, tensors={name: each.detach().clone() for name, each in here.tensors.items()})

    def checkpoint(self) -> Checkpoint:
        """Where the training stands; the tensors are its own."""
        parts: dict[str, dict[str, Tensor]] = {
            "enhancer": self.enhancer.state_dict(),
            "guide": self.guidance_head.state_dict(),
            "enhancer_adam": checkpoint_files.optimiser_tensors(self.enhancer_adam),
            "prompt_adam": checkpoint_files.optimiser_tensors(self.prompt_adam),
            "average": self.average.state_dict() if self.average is not None else {},
            "best": self.best.weights if self.best else {},
            "round_best": self.round_best.weights if self.round_best else {},
            "led_to_best": self.led_to_best,
        }
        parts |= {f"earlier/{index}": each.state_dict() for index, each in enumerate(self.frozen_enhancers)}
        return Checkpoint(
            replace(self.progress, phase_steps=dict(self.progress.phase_steps)),
            self.settings.model_dump(mode="json"),
            {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()},
            _summary(self.best),
            _summary(self.round_best),
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        try:
            self.enhancer.load_state_dict(checkpoint.part("enhancer"))
            self.guidance_head.load_state_dict(checkpoint.part("guide"))
            if self.average is not None:
                self.average.load_state_dict(checkpoint.part("average"))
        except RuntimeError as error:
            raise checkpoint_files.CheckpointError(
                "the checkpoint holds another network, prior or averaging than the settings name; resume with the "
                f"settings it was trained with ({said(error)})"
            ) from error
        checkpoint_files.restore_optimiser(self.enhancer_adam, checkpoint.part("enhancer_adam"))
        checkpoint_files.restore_optimiser(self.prompt_adam, checkpoint.part("prompt_adam"))
        for index in range(ENHANCED_SETS):
            if weights := checkpoint.part(f"earlier/{index}"):
                frozen = copy.deepcopy(self.enhancer).eval().requires_grad_(False)
                frozen.load_state_dict(weights)
                self.frozen_enhancers.append(frozen)
        self.best = _restored_best(checkpoint.best, checkpoint.part("best"))
        self.round_best = _restored_best(checkpoint.round_best, checkpoint.part("round_best"))
        if self.best and self.progress.reached is None:  # a checkpoint of before tolerance counted in every round
            self.progress.reached = self.best.value
        self.led_to_best = {name: each.to(self.device) for name, each in checkpoint.part("led_to_best").items()}


def _numbers(loss: Tensor, terms: Terms) -> dict[str, Tensor]:
    named = {"loss": loss, **{f"term/{name}": value for name, value in terms.values.items()}}
    return {name: value.detach().float() for name, value in named.items()}


def _value(best: Best | None) -> float | None:
    return best.value if best else None


def _summary(best: Best | None) -> tuple[float, int] | None:
    return (best.value, best.step) if best else None


def _restored_best(summary: tuple[float, int] | None, weights: dict[str, Tensor]) -> Best | None:
    return Best(*summary, weights) if summary else None
