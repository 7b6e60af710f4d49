"""Stopping trials that are worse than others were at their age."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler

HEARD = "asha.jsonl"
ENOUGH = "stop"  # the file that ends a trial


class GentleASHA(ASHAScheduler):
    """ASHA whose verdict is a file in the trial's folder, at which the trial ends by itself.

    Tune would kill the trial's process, and what Ray Train holds for its workers would be given back late or never
    (Ray 2.60). It also notes what it hears, a line for each result, and hears it again after an interruption: Tune
    brings trials and searcher back then, but no scheduler.

    Args:
        folder: the sweep's.
        options: of ASHA.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(**options)
        self.folder, self.recalled = folder, False

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        if not self.recalled:
            self.recalled = True
            self._recall(tune_controller)
        super().on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if super().on_trial_result(tune_controller, trial, result) == ASHAScheduler.STOP:
            (self.folder / str(trial) / ENOUGH).touch()
        age, value = (result.get(str(name)) for name in (self._time_attr, self._metric))
        if age is not None and value is not None:
            with (self.folder / HEARD).open("a", encoding="utf-8") as file:  # a new line first: the last may be half
                file.write("\n" + json.dumps([trial.trial_id, age, value]))
        return str(ASHAScheduler.CONTINUE)

    def _recall(self, tune_controller: Any) -> None:
        for name, age, value in heard(self.folder / HEARD):
            known = cast(Trial, SimpleNamespace(trial_id=name))
            super().on_trial_add(tune_controller, known)
            super().on_trial_result(tune_controller, known, {self._time_attr: age, str(self._metric): value})


def heard(file: Path) -> Iterator[tuple[str, int, float]]:
    """Trial, age and value of each result that was noted; lines that are none are told of and left out."""
    damaged = 0
    for line in filter(None, file.read_bytes().split(b"\n") if file.exists() else []):
        try:
            name, age, value = json.loads(line)
            result = str(name), int(age), float(value)
        except (ValueError, TypeError, RecursionError):
            damaged += 1
        else:
            yield result
    if damaged:
        print(f"{file}: damaged lines are left out ({damaged}); trials are compared with the others", flush=True)
