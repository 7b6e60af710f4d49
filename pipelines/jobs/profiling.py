"""A trace of ten steps, which opens in Perfetto (ui.perfetto.dev) and chrome://tracing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

FIRST_STEP = 10  # the ones before warm up caches and kernels
STEPS = 10


class Trace:
    """Told of each step; writes the trace of steps 10 to 20.

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
        if self._steps == FIRST_STEP:
            self._profile.start()
        elif self._steps == FIRST_STEP + STEPS:
            self._profile.stop()
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, "trace.json.gz")
                self._profile.export_chrome_trace(str(file))
                self._keep(file)
