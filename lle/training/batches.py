"""From two endless streams to the batches of each step: this rank's share, augmented, on its device."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn
from torch.autograd.profiler import record_function

from lle.config import TrainSettings
from lle.losses.objective import DARK, REGIONS, WELL_LIT, needed
from lle.training.augment import augmentation
from lle.training.checkpoint import Progress
from lle.training.distributed import world_size
from lle.training.phase_steps import Batch
from lle.training.schedule import Phase
from lle.training.streams import OpenStream

PIXELS = torch.channels_last  # convolutions are faster so, by a tenth on CPUs and more in bf16


class Batches:
    """Takes this rank's pictures of each step, and counts the rows that all ranks take.

    Args:
        settings: the whole tree.
        open_stream: gives the streams, at the rows where the training stands.
        progress: where that is; moved on here.
        device: where the batches go.
        uneven: what is left of a batch that the number of ranks does not divide is left out.

    Attributes:
        rows: rows of each stream taken since this was last emptied, of all ranks together.

    Raises:
        ValueError: a batch that the ranks cannot share equally.
    """

    def __init__(
        self, settings: TrainSettings, open_stream: OpenStream, progress: Progress, device: torch.device, uneven: bool
    ) -> None:
        self.settings, self.progress, self.device, self.uneven = settings, progress, device, uneven
        self.rows: dict[str, list[int]] = {}
        for name in ("enhancement", "prompts"):
            self._share(name)
        self.augment = augmentation(settings.augment)
        self.streams = {
            "dark": open_stream("dark", progress.dark_row),
            "well_lit": open_stream("well_lit", progress.well_lit_row),
        }

    def take(self, phase: Phase) -> tuple[Batch, float]:
        """Pictures for a micro-batch of a step of a phase, and the seconds spent waiting for them."""
        name = _batch_of(phase)
        size = self.settings.data.prompt_size if phase.trains_prompts else self.settings.data.image_size
        with_regions = REGIONS in needed(self.settings.objective, phase)
        started = time.perf_counter()
        with record_function("wait for pictures"):
            dark, regions = self._take("dark", name, with_regions) if self._takes_dark(phase) else (None, None)
            well_lit, _ = self._take("well_lit", name) if self._takes_well_lit(phase) else (None, None)
        waited = time.perf_counter() - started
        nothing = torch.empty(0, 3, size, size, device=self.device)
        image, regions = (nothing, None) if dark is None else self._prepare(dark, size, regions)
        return Batch(image, None if well_lit is None else self._prepare(well_lit, size)[0], regions), waited

    def pictures(self, phase: Phase) -> int:
        """Pictures in a step of a phase, of all ranks together."""
        size: int = getattr(self.settings.batch, _batch_of(phase))
        return size * (self._takes_dark(phase) + self._takes_well_lit(phase))

    def close(self) -> None:
        """No more pictures are wanted."""
        for stream in self.streams.values():
            stream.close()

    def _takes_dark(self, phase: Phase) -> bool:
        return phase.trains_prompts or DARK in needed(self.settings.objective, phase)

    def _takes_well_lit(self, phase: Phase) -> bool:
        return phase.trains_prompts or WELL_LIT in needed(self.settings.objective, phase)

    def _take(self, photos: str, batch: str, with_regions: bool = False) -> tuple[Tensor, Tensor | None]:
        share = self._share(batch)
        row = f"{photos}_row"
        first = getattr(self.progress, row)
        setattr(self.progress, row, first + share * world_size())
        self.rows.setdefault(photos, []).extend(range(first, first + share * world_size()))
        stream = self.streams[photos]
        return stream.take_with_regions(share) if with_regions else (stream.take(share), None)

    def _prepare(self, pictures: Tensor, size: int, regions: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Augmented RGB in [0, 1], (B, 3, S, S), on the device, and regions of the same geometry."""
        image = self._on_device(pictures).permute(0, 3, 1, 2).float() / 255
        resized = image.shape[-1] != size
        if resized:
            image = nn.functional.interpolate(image, size=(size, size), mode="bilinear", antialias=True)
        if regions is None:
            return self.augment(image).contiguous(memory_format=PIXELS), None
        regions = self._on_device(regions)
        if resized:
            nearest = nn.functional.interpolate(regions[:, None].float(), size=(size, size), mode="nearest-exact")
            regions = nearest[:, 0].to(regions.dtype)
        image, regions = self.augment.with_regions(image, regions)
        return image.contiguous(memory_format=PIXELS), regions

    def _on_device(self, values: Tensor) -> Tensor:
        if self.device.type == "cuda":
            values = values.pin_memory()  # so that the copy runs beside the last step
        return values.to(self.device, non_blocking=True)

    def _share(self, name: str) -> int:
        """Pictures of a batch that fall to this rank in one micro-batch."""
        size, parts = getattr(self.settings.batch, name), world_size() * self.settings.optimiser.accumulate
        if size % parts and not self.uneven:
            raise ValueError(f"batch.{name}: {size} pictures cannot be shared equally by {parts}; choose a multiple")
        return size // parts


def _batch_of(phase: Phase) -> str:
    return "prompts" if phase.trains_prompts else "enhancement"
