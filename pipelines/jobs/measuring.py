"""Measure a model on photos of any number: Ray Data hands out the photos, workers enhance and measure them.

photo -> uint8 (H, W, 3) -> enhanced (3, H, W) in [0, 1] -> numbers by metric (-> a before/after picture)
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from cluster.connect import ALLOCATOR
from cluster.storage import open_uri
from lle.config import DataSettings
from lle.images import ImageError, encode, from_tensor, to_tensor
from lle.model import enhance
from pipelines.jobs import shards
from pipelines.jobs.ingest import DataError, PhotoSet, list_photos, read_photo, refuse_unpaired
from pipelines.jobs.measures import Measures
from pipelines.jobs.models import NamedModel
from pipelines.jobs.page import view
from pipelines.jobs.report import LABELS, side_by_side

LOW, GOOD = "low", "good"
PICTURE_HEIGHT = 400
PHOTOS_PER_BLOCK = 4


@dataclass(frozen=True)
class Photo:
    """One photo to enhance and measure.

    Attributes:
        group: `low`, or `good` for a photo that should stay as it is.
        uri, path: the folder or prefix that it was listed under, and the path on its file system.
        truth_uri, truth_path: of its ground truth; empty without one.
        shown: whether a before/after picture is wanted.
    """

    group: str
    uri: str
    path: str
    truth_uri: str = ""
    truth_path: str = ""
    shown: bool = False

    @property
    def name(self) -> str:
        """Its path below the folder or prefix; of a prepared set, below what was prepared."""
        return shards.name_at(self.path) or os.path.relpath(self.path, open_uri(self.uri)[1])


@dataclass(frozen=True)
class Measured:
    """What was found on one photo.

    Attributes:
        group, name: of the photo.
        values: numbers by metric.
        refused: why it could not be measured; empty where it could.
        mismatch: how its ground truth differs in size; empty where it does not.
        picture: before, after and ground truth side by side as JPEG; empty unless wanted.
        views: the same, one by one, for a report.
    """

    group: str
    name: str
    values: dict[str, float] = field(default_factory=dict)
    refused: str = ""
    mismatch: str = ""
    picture: bytes = b""
    views: list[bytes] = field(default_factory=list)


def find_evaluated_photos(
    low: str, high: str, good: str, pictures: int, max_pixels: int
) -> tuple[list[Photo], dict[str, str]]:
    """The photos of an evaluation, and those that were set aside with their reason.

    Args:
        low, high, good: folders or prefixes; empty where there are none.
        pictures: before/after pictures of each set.
        max_pixels: pixel budget.

    Raises:
        DataError: an empty or absent folder, or photos without a partner.
    """
    data = DataSettings(max_pixels=max_pixels)
    sets = {name: list_photos(uri, name, data) for name, uri in (("low", low), ("high", high), ("good", good)) if uri}
    photos, refused = list[Photo](), {path: why for each in sets.values() for path, why in each.refused.items()}
    if high:
        bad = {os.path.basename(path) for path in refused}
        lows, highs = (_without(sets[name], bad) for name in ("low", "high"))
        refuse_unpaired(lows, highs, "low and high")
        truths = {os.path.basename(path): path for path in highs.paths}
        photos += [Photo(LOW, low, path, high, truths[os.path.basename(path)]) for path in lows.paths]
    elif low:
        photos += [Photo(LOW, low, path) for path in sets["low"].paths]
    if good:
        photos += [Photo(GOOD, good, path) for path in sets["good"].paths]
    return [*_with_shown(photos, pictures)], refused


def measure_photo(model: NamedModel, measures: Measures, photo: Photo, max_pixels: int) -> Measured:
    """Enhance one photo at full size and measure it; a bad photo gives its reason."""
    try:
        before = read_photo(photo.uri, photo.path, max_pixels)
        truth = read_photo(photo.truth_uri, photo.truth_path, max_pixels) if photo.truth_path else None
    except ImageError as error:
        return Measured(photo.group, photo.name, refused=str(error))
    if truth is not None and truth.shape != before.shape:
        sizes = " and ".join(f"{each.shape[1]}x{each.shape[0]}" for each in (before, truth))
        return Measured(
            photo.group, photo.name, mismatch=f"{photo.name} differs in size, {sizes}; pairs must be aligned"
        )
    image = to_tensor(before)
    enhanced = enhance(model.network, image)
    values = measures(image, enhanced, None if truth is None else to_tensor(truth), photo.group == GOOD)
    row = [before, from_tensor(enhanced), *([] if truth is None else [truth])]
    picture = encode(side_by_side(row, PICTURE_HEIGHT, LABELS[: len(row)]), "jpeg") if photo.shown else b""
    return Measured(photo.group, photo.name, values, picture=picture, views=[view(each) for each in row])


def measure_models(
    models: Mapping[str, NamedModel],
    measures: Measures,
    photos: Sequence[Photo],
    max_pixels: int,
    resources: dict[str, float],
    shown: Collection[str],
) -> Iterator[tuple[str, Measured]]:
    """`measure_photo` with each of some models on a joined Ray cluster, in the order in which photos are done.

    Args:
        models: by the name under which their numbers come back; sent to the workers, as `measures` is.
        photos: of any number; at most a few blocks of results wait at a time.
        max_pixels: pixel budget of one photo.
        resources: of the cluster; a worker for each GPU, else for each CPU but one.
        shown: names of the models whose pictures are wanted, too.

    Raises:
        DataError: a pair differs in size.
    """
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    workers = max(1, min(gpus or cpus - 1, len(photos)))
    rows = ray.data.from_items([asdict(photo) for photo in photos])
    done = rows.repartition(target_num_rows_per_block=PHOTOS_PER_BLOCK).flat_map(
        _Worker,  # type: ignore[arg-type]  # its instances are what is called
        fn_constructor_args=(models, measures, max_pixels, tuple(shown)),
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        num_gpus=1 if gpus else 0,
        runtime_env={"env_vars": ALLOCATOR},
    )
    for row in done.iter_rows():
        name = row.pop("by")
        measured = Measured(**{**row, "values": json.loads(row["values"])})
        if measured.mismatch:
            raise DataError(f"low and high: {measured.mismatch}")
        yield name, measured


class _Worker:
    """Keeps the models on their device from photo to photo."""

    def __init__(
        self, models: Mapping[str, NamedModel], measures: Measures, max_pixels: int, shown: Collection[str]
    ) -> None:
        self._models, self._measures, self._max_pixels, self._shown = models, measures, max_pixels, shown
        if torch.cuda.is_available():
            for model in models.values():
                model.network.cuda()

    def __call__(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        found = []
        for name, model in self._models.items():
            measured = measure_photo(model, self._measures, Photo(**row), self._max_pixels)
            if name not in self._shown:
                measured = replace(measured, picture=b"", views=[])
            found.append({**asdict(measured), "values": json.dumps(measured.values), "by": name})
        return found


def _with_shown(photos: Sequence[Photo], count: int) -> Iterator[Photo]:
    """The photos, some of each set chosen for pictures, spread evenly."""
    for group in (LOW, GOOD):
        members = [photo for photo in photos if photo.group == group]
        chosen = set(np.linspace(0, len(members) - 1, min(count, len(members))).round().astype(int).tolist())
        for index, photo in enumerate(members):
            yield replace(photo, shown=index in chosen)


def _without(photos: PhotoSet, names: set[str]) -> PhotoSet:
    return PhotoSet(photos.uri, tuple(path for path in photos.paths if os.path.basename(path) not in names))
