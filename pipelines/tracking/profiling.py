"""A trace of ten steps, which opens in Perfetto (ui.perfetto.dev) and chrome://tracing.

The loop names what it does (`lle.training.loop`): `enhancement step 12`, `wait for pictures`, `validation`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

WARM_UP = 10  # steps, of caches and kernels
STEPS = 10


class Trace:
    """Told in the middle of each step; writes a trace that holds the ten after the tenth as a whole.

    Args:
        keep: takes the trace's file, which is gone afterwards.
    """

    def __init__(self, keep: Callable[[Path], None]) -> None:
        self._keep, self._steps = keep, 0
        devices = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        self._profile = profile(activities=devices, record_shapes=True)

    def step(self) -> None:
        """One more step."""
        self._steps += 1
        if self._steps == WARM_UP:
            self._profile.start()
        elif self._steps == WARM_UP + STEPS + 1:
            self._profile.stop()
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, "trace.json.gz")
                self._profile.export_chrome_trace(str(file))
                self._keep(file)
