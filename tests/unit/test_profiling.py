"""The trace of `--profile`, of a real loop."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path

from tiny import Told, tiny_settings, tiny_train

from lle.training.hooks import ControlSignal
from pipelines.tracking.profiling import Trace


@dataclass
class Traced(Told):
    """Tells a trace of the steps, as a worker does."""

    trace: Trace | None = None

    def _control_signal(self) -> ControlSignal:
        assert self.trace
        self.trace.step()
        return super()._control_signal()


def test_it_holds_ten_whole_steps_by_phase_and_number_and_what_was_done_in_them(tmp_path: Path):
    def keep(file: Path) -> None:
        assert file.name == "trace.json.gz"
        (tmp_path / file.name).write_bytes(file.read_bytes())

    tiny_train(tiny_settings(), told=Traced(trace=Trace(keep)))
    events = json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes()))["traceEvents"]
    spans = {each["name"]: each["dur"] for each in events if each.get("ph") == "X"}
    steps = {name: spans[name] for name in spans if re.fullmatch(r"[a-z_]+ step \d+", name)}
    phases = ["refinement"] * 2 + ["enhancement"] * 3 + ["refinement"] * 3 + ["enhancement"] * 2
    assert set(steps) >= {f"{phase} step {step}" for step, phase in enumerate(phases, 11)}
    assert all(duration > 0 for duration in steps.values())
    assert {"wait for pictures", "validation", "aten::convolution"} <= set(spans)
