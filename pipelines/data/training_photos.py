"""What a training reads: its two sets, what is held out of them, its pairs; checked before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from cluster.storage import explain, open_uri
from lle import images
from lle.config import DataSettings
from pipelines.config.train import RunSettings
from pipelines.data import shards
from pipelines.data.listing import DataError
from pipelines.data.pairing import aligned
from pipelines.data.photo_sets import (
    Photos,
    PhotoSet,
    both,
    joined,
    list_photos,
    load_photo,
    photo_names,
    refuse_nested,
)

COMPARED_FILES = 8
PAIRS = "data.pairs_dark and data.pairs_truth"


@dataclass(frozen=True)
class TrainingPhotos:
    """Everything a training reads: the two sets, what is held out of them, the pairs; and what the validation photos
    hold, as `pipelines.data.pinned.validation_hash` tells it, empty where nobody has looked.
    """

    dark: Photos
    well_lit: Photos
    held_out_dark: Photos
    held_out_well_lit: Photos
    pairs_dark: PhotoSet | None = None
    pairs_truth: PhotoSet | None = None
    validation_hash: str = ""

    @property
    def refused(self) -> dict[str, str]:
        """All that was skipped, path to reason."""
        sets = (self.dark, self.well_lit, self.pairs_dark, self.pairs_truth)
        return {path: reason for each in sets if each for path, reason in each.refused.items()}

    @property
    def left_out(self) -> list[str]:
        """What is no photo in the folders, a line for each."""
        named = {
            "dark": self.dark,
            "well_lit": self.well_lit,
            "pairs_dark": self.pairs_dark,
            "pairs_truth": self.pairs_truth,
        }
        return [
            f"data.{name}: {f'{each.uri}: ' if len(photos.sets) > 1 else ''}{each.left_out}"
            for name, photos in named.items()
            if photos
            for each in photos.sets
            if each.left_out
        ]


def find_photos(settings: RunSettings) -> TrainingPhotos:
    """List and check the photos of a training, before anything expensive starts.

    Raises:
        DataError: missing, empty, unreadable or equal sets, or pairs that do not match.
    """
    data = settings.data
    named = [("data.dark", uri) for uri in data.dark] + [("data.well_lit", uri) for uri in data.well_lit]
    refuse_nested(named)
    found = [(setting, list_photos(uri, setting, data)) for setting, uri in named]
    _refuse_equal(found)
    dark, held_out_dark = _parted(found[: len(data.dark)], data.validation_images, settings.seed)
    well_lit, held_out_well_lit = _parted(found[len(data.dark) :], data.validation_images, settings.seed)
    low = high = None
    if data.pairs_dark:
        refuse_nested([("data.pairs_dark", data.pairs_dark), ("data.pairs_truth", data.pairs_truth)])
        low = list_photos(data.pairs_dark, "data.pairs_dark", data)
        high = list_photos(data.pairs_truth, "data.pairs_truth", data)
        low, high = _matched(*aligned(low, high, PAIRS), data)
    return TrainingPhotos(dark, well_lit, held_out_dark, held_out_well_lit, low, high)


def _parted(named: Sequence[tuple[str, PhotoSet]], count: int, seed: int) -> tuple[Photos, Photos]:
    """The sets of a setting to train on, and `count` photos of them, chosen by the seed, for validation only: of each
    set as many as of the others, or one more of the first ones, so that weights and sizes do not change what is judged.

    Raises:
        DataError: too few photos to train on the rest.
    """
    rest, held_out = list[PhotoSet](), list[PhotoSet]()
    for index, (setting, photos) in enumerate(named):
        share = count // len(named) + (index < count % len(named))
        if len(photos.paths) <= share:
            raise DataError(
                f"{setting}: {photos.uri} holds {len(photos.paths)} readable pictures, of which data.validation_images "
                f"keeps {share} out of training; give more pictures or a smaller data.validation_images"
            )
        chosen = set(np.random.default_rng(seed).permutation(len(photos.paths))[:share].tolist())
        held_out.append(PhotoSet(photos.uri, tuple(path for at, path in enumerate(photos.paths) if at in chosen)))
        rest.append(replace(photos, paths=tuple(path for at, path in enumerate(photos.paths) if at not in chosen)))
    return joined(rest), joined(held_out)


def _refuse_equal(named: Sequence[tuple[str, PhotoSet]]) -> None:
    """Names tell most sets apart; where they are the same, as in paired sets, the bytes of a few files decide."""
    for (setting, photos), (other, others) in combinations(named, 2):
        if len(photos.paths) != len(others.paths) or photos.names != others.names:
            continue
        try:
            samples = [
                [shards.read(open_uri(each.uri)[0], path) for path in each.paths[:COMPARED_FILES]]
                for each in (photos, others)
            ]
        except (OSError, images.ImageError) as error:
            raise DataError(f"{both(setting, other)}: cannot be compared ({explain(error)})") from error
        if samples[0] == samples[1]:
            raise DataError(
                f"{both(setting, other)}: {photos.uri} and {others.uri} hold the same files; the two sets must differ"
            )


def _matched(low: PhotoSet, high: PhotoSet, data: DataSettings) -> tuple[PhotoSet, PhotoSet]:
    """The pairs of which both photos can be decoded; the others are refused. They must be of one size."""
    refused = (dict(low.refused), dict(high.refused))
    good = list[tuple[str, str]]()
    for paths in zip(low.paths, high.paths, strict=True):
        sizes = list[tuple[int, ...]]()
        for photos, path, reasons in zip((low, high), paths, refused, strict=True):
            try:
                sizes.append(load_photo(photos, path, data.max_pixels).shape)
            except images.ImageError as error:
                reasons[path] = error.reason
            except OSError as error:
                reasons[path] = explain(error)
        if len(sizes) < 2:
            continue
        if sizes[0] != sizes[1]:
            raise DataError(
                f"{PAIRS}: {photo_names(low.uri, paths[:1])[0]} differs in size, "
                f"{sizes[0][1]}x{sizes[0][0]} and {sizes[1][1]}x{sizes[1][0]}; pairs must be aligned"
            )
        good.append(paths)
    if not good:
        raise DataError(f"{PAIRS}: no pair is left whose two photos are readable; check the folders")
    return (
        replace(low, paths=tuple(path for path, _ in good), refused=refused[0]),
        replace(high, paths=tuple(path for _, path in good), refused=refused[1]),
    )
