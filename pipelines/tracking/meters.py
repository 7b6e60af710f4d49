"""What Prometheus sees of a training: meters of `ray.util.metrics`, which Ray exports as `ray_lle_...`.

cluster/monitoring/ holds the dashboard that shows them; a test compares its names with those here.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from ray.util.metrics import Counter, Gauge

from lle.training.hooks import Step
from lle.training.schedule import Phase

TAGS = ("run", "rank")
GAUGES = {
    "lle_step_seconds": ("Seconds of a step, the wait for photos included; mean since the last line.", ()),
    "lle_data_wait_share": ("Share of the steps' time spent waiting for photos, 0 to 1.", ()),
    "lle_images_per_second": ("Pictures of all ranks in a second of steps.", ()),
    "lle_loss_term": ("Loss by term, before its weight; `total` is what is minimised.", ("term",)),
    "lle_phase": ("1 for the phase of the last step, 0 for the others.", ("phase",)),
    "lle_gpu_memory_bytes": ("Most memory of its GPU that the worker's tensors have held so far.", ()),
}
REFUSED = "lle_refused_files"
COUNTERS = {REFUSED: "Photos the worker has skipped because they cannot be read."}


class Meters:
    """The meters of one worker.

    Args:
        run: name of the run.
        rank: of the worker.
    """

    def __init__(self, run: str, rank: int) -> None:
        tags = dict(zip(TAGS, (run, str(rank)), strict=True))
        self._gauges = {
            name: Gauge(name, about, TAGS + extra).set_default_tags(tags) for name, (about, extra) in GAUGES.items()
        }
        self._counters = {name: Counter(name, about, TAGS).set_default_tags(tags) for name, about in COUNTERS.items()}

    def step(self, step: Step) -> None:
        """What a step has told."""
        for name, value, tags in readings(step):
            self._gauges[name].set(value, tags)

    def refused(self) -> None:
        """One more photo skipped."""
        self._counters[REFUSED].inc()

    def memory(self, device: torch.device) -> None:
        """The GPU's memory; nothing on a CPU."""
        if device.type == "cuda":
            self._gauges["lle_gpu_memory_bytes"].set(torch.cuda.max_memory_allocated(device))


def readings(step: Step) -> Iterator[tuple[str, float, dict[str, str]]]:
    """Name, value and tags of what a step tells; a skipped step has no loss."""
    for name in ("step_seconds", "data_wait_share", "images_per_second"):
        yield f"lle_{name}", step.metrics[name], {}
    for name, value in step.metrics.items():
        if name == "loss" or name.startswith("term/"):
            yield "lle_loss_term", value, {"term": "total" if name == "loss" else name.removeprefix("term/")}
    for phase in Phase:
        yield "lle_phase", float(phase is step.phase), {"phase": phase.value}
