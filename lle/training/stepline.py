"""The step line: where a run stands, at what speed, and how long it still takes.

round 2 enhancement  step 4310/50000  8.6 %  loss 31.42 (guidance .051 identity .083)  412 img/s  wait 1.3 %  eta 52 min
"""

from __future__ import annotations

from lle.config import TrainSettings
from lle.training.schedule import ScheduleState, planned_steps


class StepLine:
    """Collects steps and tells of them; the first step of a process is left out of the speed, it warms up."""

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        self._pictures = self._seconds = self._waited = self._counted = 0.0
        self._steps, self._all_pictures, self._all_seconds, self._all_waited = 0, 0.0, 0.0, 0.0
        self._warm = False

    def count(self, pictures: int, seconds: float, waited: float) -> None:
        """One step of all ranks: pictures, its seconds, and those of them spent waiting for data."""
        if self._warm:
            self._pictures += pictures
            self._seconds += seconds
            self._waited += waited
            self._counted += 1
            self._steps += 1
            self._all_pictures += pictures
            self._all_seconds += seconds
            self._all_waited += waited
        self._warm = True

    @property
    def images_per_second(self) -> float:
        """Pictures of all ranks in a second of steps, since the start of the process."""
        return self._all_pictures / max(self._all_seconds, 1e-9)

    @property
    def data_wait_share(self) -> float:
        """Share of the steps' time spent waiting for data, in [0, 1]."""
        return self._all_waited / max(self._all_seconds, 1e-9)

    def tell(self, done: ScheduleState, now: ScheduleState, metrics: dict[str, float]) -> tuple[str, dict[str, float]]:
        """The line and the metrics of the steps since the last line.

        Args:
            done: schedule state in which the last step was done.
            now: the state after it.
            metrics: numbers of that step, among them `loss` and its terms (`term/NAME`) unless it was skipped.
        """
        seconds = max(self._seconds, 1e-9)
        speed, wait = self._pictures / seconds, self._waited / seconds
        each = self._seconds / max(self._counted, 1)
        remaining = planned_steps(self._settings.phases, now) - now.step
        total = now.step + remaining
        eta = remaining * self._all_seconds / max(self._steps, 1)
        self._pictures = self._seconds = self._waited = self._counted = 0.0
        terms = " ".join(f"{k.removeprefix('term/')} {v:.3f}" for k, v in metrics.items() if k.startswith("term/"))
        loss = f"loss {metrics['loss']:.2f} ({terms})" if "loss" in metrics else "loss not finite, skipped"
        where = f"round {done.round} {done.phase.value}" if done.round else done.phase.value
        line = (
            f"{where}  step {now.step}/{total}  {100 * now.step / max(total, 1):.1f} %  {loss}  {speed:.0f} img/s  "
            f"wait {100 * wait:.1f} %  eta {_duration(eta)}"
        )
        told = {**metrics, "images_per_second": speed, "data_wait_share": wait, "step_seconds": each}
        return line, told | {"round": float(done.round)}


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
