"""Measure a model on photos of any number: Ray Data hands out the photos, workers enhance and measure them.

photo -> uint8 (H, W, 3) -> enhanced (3, H, W) in [0, 1] -> numbers by metric (-> a before/after picture)
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from cluster.allocator import ALLOCATOR
from cluster.storage import explain, from_anywhere
from cluster.waiting import told_while_waiting
from lle.config import DataSettings
from lle.images import ImageError, encode, from_tensor, to_tensor
from lle.model import enhance
from pipelines.data.listing import DataError
from pipelines.data.pairing import aligned
from pipelines.data.photo_sets import list_photos, photo_names, read_photo, refuse_nested
from pipelines.evaluation.metrics import MetricSuite
from pipelines.models.named import NamedModel
from pipelines.reporting.html_report import view
from pipelines.reporting.pictures import LABELS, side_by_side, without_learning

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
        source: name of the set that it comes from, where there are several of one group.
    """

    group: str
    uri: str
    path: str
    truth_uri: str = ""
    truth_path: str = ""
    shown: bool = False
    source: str = ""

    @property
    def name(self) -> str:
        """Its path below the folder or prefix; of a prepared set, below what was prepared."""
        return photo_names(self.uri, [self.path])[0]


@dataclass(frozen=True)
class Measured:
    """What was found on one photo.

    Attributes:
        group, name, source: of the photo.
        values: numbers by metric.
        refused: why it could not be measured; empty where it could.
        mismatch: how its ground truth differs in size; empty where it does not.
        picture: before, one exposure without learning, after and ground truth side by side as JPEG; empty unless
            wanted.
        views: the same, one by one, for a report; empty unless wanted.
    """

    group: str
    name: str
    values: dict[str, float] = field(default_factory=dict)
    refused: str = ""
    mismatch: str = ""
    picture: bytes = b""
    views: list[bytes] = field(default_factory=list)
    source: str = ""


def find_evaluated_photos(
    dark: str, truth: str, good: str, pictures: int, max_pixels: int, tell: Callable[[str], None] = lambda line: None
) -> tuple[list[Photo], dict[str, str]]:
    """The photos of an evaluation, and those that were skipped with their reason.

    Args:
        dark, truth, good: folders or prefixes; empty where there are none.
        pictures: before/after pictures of each set.
        max_pixels: pixel budget.
        tell: told what is no photo in each folder.

    Raises:
        DataError: an empty or absent folder, photos without a partner, or one folder inside another.
    """
    given = {"data.dark": dark, "data.truth": truth, "data.good": good}
    refuse_nested([("data.dark", dark), ("data.truth", truth)])
    data = DataSettings(max_pixels=max_pixels)
    sets = {name: list_photos(uri, name, data) for name, uri in given.items() if uri}
    for name, each in sets.items():
        if each.left_out:
            tell(f"{name}: {each.left_out}")
    dark, truth, good = (from_anywhere(uri) if uri else "" for uri in given.values())
    photos, refused = list[Photo](), {path: why for each in sets.values() for path, why in each.refused.items()}
    if truth:
        lows, highs = aligned(sets["data.dark"], sets["data.truth"], "data.dark and data.truth")
        photos += [Photo(LOW, dark, path, truth, true) for path, true in zip(lows.paths, highs.paths, strict=True)]
    elif dark:
        photos += [Photo(LOW, dark, path) for path in sets["data.dark"].paths]
    if good:
        photos += [Photo(GOOD, good, path) for path in sets["data.good"].paths]
    return [*_with_shown(photos, pictures)], refused


def measure_photo(model: NamedModel, suite: MetricSuite, photo: Photo, max_pixels: int, shown: bool = True) -> Measured:
    """Enhance one photo at full size and measure it; a bad photo gives its reason.

    Args:
        model, suite, photo: what is measured, how, and on what.
        max_pixels: pixel budget.
        shown: whether the model's views are wanted, and its picture where the photo's is.
    """
    found = partial(Measured, photo.group, photo.name, source=photo.source)
    try:
        before = read_photo(photo.uri, photo.path, max_pixels)
        truth = read_photo(photo.truth_uri, photo.truth_path, max_pixels) if photo.truth_path else None
    except ImageError as error:
        return found(refused=str(error))
    except OSError as error:
        return found(refused=f"{photo.name} cannot be read ({explain(error)})")
    if truth is not None and truth.shape != before.shape:
        sizes = " and ".join(f"{each.shape[1]}x{each.shape[0]}" for each in (before, truth))
        return found(mismatch=f"{photo.name} differs in size, {sizes}; pairs must be aligned")
    image = to_tensor(before)
    enhanced = enhance(model.network, image)
    values = suite(image, enhanced, None if truth is None else to_tensor(truth), photo.group == GOOD)
    if not shown:
        return found(values)
    row = [before, without_learning(image), from_tensor(enhanced), *([] if truth is None else [truth])]
    picture = encode(side_by_side(row, PICTURE_HEIGHT, LABELS[: len(row)]), "jpeg") if photo.shown else b""
    return found(values, picture=picture, views=[view(each) for each in row])


def measure_models(
    models: Mapping[str, NamedModel],
    suite: MetricSuite,
    photos: Sequence[Photo],
    max_pixels: int,
    resources: dict[str, float],
    shown: Collection[str],
    tell: Callable[[str], object],
) -> Iterator[tuple[str, Measured]]:
    """`measure_photo` with each of some models on a joined Ray cluster, in the order in which photos are done.

    Args:
        models: by the name under which their numbers come back; sent to the workers, as `measures` is.
        photos: of any number; at most a few blocks of results wait at a time.
        max_pixels: pixel budget of one photo.
        resources: of the cluster; a worker for each GPU, else for each CPU but one, as long as each has a block of
            photos to do; those begin for which there is room.
        shown: names of the models whose pictures are wanted, too.
        tell: takes a line about what is waited for.

    Raises:
        DataError: a pair differs in size.
    """
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    # Blocks from the start: cutting them up on the cluster would be a task that waits for a CPU of its own.
    blocks = math.ceil(len(photos) / PHOTOS_PER_BLOCK)
    workers = max(1, min(gpus or cpus - 1, blocks))
    done = ray.data.from_items([asdict(photo) for photo in photos], override_num_blocks=blocks).flat_map(
        _Worker,
        fn_constructor_args=(models, suite, max_pixels, tuple(shown)),
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        num_gpus=1 if gpus else 0,
        runtime_env={"env_vars": ALLOCATOR},
    )
    begun = False
    with told_while_waiting(tell, lambda: begun):
        for row in done.iter_rows():
            begun = True
            name = row.pop("by")
            measured = Measured(**{**row, "values": json.loads(row["values"])})
            if measured.mismatch:
                raise DataError(f"data.dark and data.truth: {measured.mismatch}")
            yield name, measured


class _Worker:
    """Keeps the models on their device from photo to photo."""

    def __init__(
        self, models: Mapping[str, NamedModel], suite: MetricSuite, max_pixels: int, shown: Collection[str]
    ) -> None:
        self._models, self._suite, self._max_pixels, self._shown = models, suite, max_pixels, shown
        if torch.cuda.is_available():
            for model in models.values():
                model.network.cuda()

    def __call__(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        found = []
        for name, model in self._models.items():
            measured = measure_photo(model, self._suite, Photo(**row), self._max_pixels, name in self._shown)
            found.append({**asdict(measured), "values": json.dumps(measured.values), "by": name})
        return found


def _with_shown(photos: Sequence[Photo], count: int) -> Iterator[Photo]:
    """The photos, some of each set chosen for pictures, spread evenly."""
    for group in (LOW, GOOD):
        members = [photo for photo in photos if photo.group == group]
        chosen = set(np.linspace(0, len(members) - 1, min(count, len(members))).round().astype(int).tolist())
        for index, photo in enumerate(members):
            yield replace(photo, shown=index in chosen)
