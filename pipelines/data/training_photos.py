"""What a training reads: its two sets, what is held out of them, its pairs; checked before it starts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cluster.storage import explain, open_uri
from lle import images
from lle.config import DataSettings
from pipelines.config.train import RunSettings
from pipelines.data import shards
from pipelines.data.listing import DataError
from pipelines.data.pairing import aligned
from pipelines.data.photo_sets import PhotoSet, list_photos, load_photo, photo_names, refuse_nested

COMPARED_FILES = 8
PAIRS = "data.pairs_dark and data.pairs_truth"


@dataclass(frozen=True)
class TrainingPhotos:
    """Everything a training reads: the two sets, what is held out of them, the pairs; and what the validation photos
    hold, as `pipelines.data.pinned.validation_hash` tells it, empty where nobody has looked.
    """

    dark: PhotoSet
    well_lit: PhotoSet
    held_out_dark: PhotoSet
    held_out_well_lit: PhotoSet
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
        return [f"data.{name}: {each.left_out}" for name, each in named.items() if each and each.left_out]


def find_photos(settings: RunSettings) -> TrainingPhotos:
    """List and check the photos of a training, before anything expensive starts.

    Raises:
        DataError: missing, empty, unreadable or equal sets, or pairs that do not match.
    """
    data = settings.data
    refuse_nested({"data.dark": data.dark, "data.well_lit": data.well_lit})
    dark, well_lit = list_photos(data.dark, "data.dark", data), list_photos(data.well_lit, "data.well_lit", data)
    _refuse_equal(dark, well_lit)
    held_out_dark = held_out(dark, "data.dark", data, settings.seed)
    held_out_well_lit = held_out(well_lit, "data.well_lit", data, settings.seed)
    low = high = None
    if data.pairs_dark:
        refuse_nested({"data.pairs_dark": data.pairs_dark, "data.pairs_truth": data.pairs_truth})
        low = list_photos(data.pairs_dark, "data.pairs_dark", data)
        high = list_photos(data.pairs_truth, "data.pairs_truth", data)
        low, high = _matched(*aligned(low, high, PAIRS), data)
    return TrainingPhotos(
        dark.without(held_out_dark), well_lit.without(held_out_well_lit), held_out_dark, held_out_well_lit, low, high
    )


def held_out(photos: PhotoSet, setting: str, data: DataSettings, seed: int) -> PhotoSet:
    """`data.validation_images` photos of a set, chosen by the seed, for validation only.

    Raises:
        DataError: too few photos to train on the rest.
    """
    count = data.validation_images
    if len(photos.paths) <= count:
        raise DataError(
            f"{setting}: {len(photos.paths)} readable pictures, of which data.validation_images keeps {count} out of "
            "training; give more pictures or a smaller data.validation_images"
        )
    chosen = np.random.default_rng(seed).permutation(len(photos.paths))[:count]
    return PhotoSet(photos.uri, tuple(photos.paths[index] for index in sorted(chosen)))


def _refuse_equal(dark: PhotoSet, well_lit: PhotoSet) -> None:
    """Names tell most sets apart; where they are the same, as in paired sets, the bytes of a few files decide."""
    if len(dark.paths) != len(well_lit.paths) or dark.names != well_lit.names:
        return
    try:
        samples = [
            [shards.read(open_uri(photos.uri)[0], path) for path in photos.paths[:COMPARED_FILES]]
            for photos in (dark, well_lit)
        ]
    except (OSError, images.ImageError) as error:
        raise DataError(f"data.dark and data.well_lit: cannot be compared ({explain(error)})") from error
    if samples[0] == samples[1]:
        raise DataError(
            f"data.dark and data.well_lit: {dark.uri} and {well_lit.uri} hold the same files; the two sets must differ"
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
