"""Photos from folders or buckets into a training: two endless streams, one photo a row, any number of workers.

    row -> uri -> bytes -> image (uint8, S x S x 3) -> regions (int32, S x S), where a term asks for them

Row r of a stream is a photo that follows from (seed, r), see `lle.training.order`; so a position is one number, each
worker computes which rows are its own, and nobody waits for anybody. A training that is resumed on another number of
workers goes on at the same row: within an epoch no photo is shown twice and none left out. The exception: a photo that
turns out bad is replaced by the next good one of its set, which is so shown once more. Several sets are one stream, in
the same way; mixed by weights, each has epochs of its own.

Each stream is one endless Ray Data task that reads and decodes ahead of the training, held back when a few blocks wait:
no epoch has a start-up pause, for there is only one start.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from lle.training.order import rows_of_all
from pipelines.data.decoding import ROWS_PER_BLOCK, Decode

BLOCKS_AHEAD = 8
REST_SECONDS = 0.02


class RayStream:
    """A stream of `lle.training.streams`, decoded by Ray Data tasks.

    Args:
        decode: the rows that this worker takes, row + worker + k * workers, and how to decode them.
        on_refusal: told path and reason when a photo turns out bad; the next good one takes its row.
    """

    def __init__(self, decode: Decode, on_refusal: Callable[[str, str], None]) -> None:
        self._decode, self._on_refusal = decode, on_refusal
        self._blocks = self._run()
        self._pending: dict[str, np.ndarray] = {}

    @property
    def photos(self) -> int:
        """Rows that show the whole set, as `lle.training.streams` wants them."""
        return rows_of_all([len(each.paths) for each in self._decode.photos.sets], self._decode.weights)

    def take(self, count: int) -> Any:
        """The next pictures, uint8 tensor, (count, S, S, 3)."""
        import torch

        return torch.from_numpy(self._take(count)["image"])

    def take_with_regions(self, count: int) -> tuple[Any, Any]:
        """The next pictures and the regions of each, int32 tensor, (count, S, S); only where `regions` was given."""
        import torch

        taken = self._take(count)
        return torch.from_numpy(taken["image"]), torch.from_numpy(taken["regions"])

    def _take(self, count: int) -> dict[str, np.ndarray]:
        parts: list[dict[str, np.ndarray]] = []
        while count:
            if not self._pending or not len(self._pending["image"]):
                self._pending = next(self._blocks)
            parts.append({name: values[:count] for name, values in self._pending.items()})
            self._pending = {name: values[count:] for name, values in self._pending.items()}
            count -= len(parts[-1]["image"])
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def close(self) -> None:
        """Stop the tasks that read ahead; without this they outlive the training."""
        self._blocks.close()

    def _run(self) -> Generator[dict[str, np.ndarray]]:
        import ray.data
        from ray.data._internal.execution.execution_callback import ExecutionCallback

        class Rest(ExecutionCallback):
            """Ray Data's loop spins while blocks wait to be taken, in this process, and takes Python's lock from the
            training: a step of 65 ms took 450 ms.
            """

            def on_execution_step(self, executor: Any) -> None:
                time.sleep(REST_SECONDS)

        endless = ray.data.from_items([{"row": self._decode.start}]).map_batches(
            self._decode.batches,
            batch_format="numpy",
            num_cpus=0,  # it works on the cores that its worker has reserved, so it never waits for others to be free
            label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},
        )
        block_bytes = ROWS_PER_BLOCK * self._decode.size**2 * (3 + (4 if self._decode.regions else 0))
        options = endless.context.execution_options
        options.preserve_order = True  # or the threads that prepare batches pass each other
        endless.context.target_max_block_size = block_bytes
        endless.context.custom_execution_callback_classes = [Rest]
        options.resource_limits = options.resource_limits.copy(object_store_memory=BLOCKS_AHEAD * block_bytes)
        for batch in endless.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=2):
            self._tell(batch)
            yield {name: values for name, values in batch.items() if name != "refused"}

    def _tell(self, batch: dict[str, Any]) -> None:
        for path, reason in (each for row in batch["refused"] if row for each in json.loads(row)):
            self._on_refusal(path, reason)
