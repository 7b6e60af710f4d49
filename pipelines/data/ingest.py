"""Photos from folders or buckets into a training: two endless streams, one photo a row, any number of workers.

    row -> uri -> bytes -> image (uint8, S x S x 3) -> regions (int32, S x S), where a term asks for them

Row r of a stream is a photo that follows from (seed, r), see `lle.training.order`; so a position is one number, each
worker computes which rows are its own, and nobody waits for anybody. A training that is resumed on another number of
workers goes on at the same row: within an epoch no photo is shown twice and none left out. The exception: a photo that
turns out bad is replaced by the next good one, which is so shown once more.

Each stream is one endless Ray Data task that reads and decodes ahead of the training, held back when a few blocks wait:
no epoch has a start-up pause, for there is only one start.
"""

from __future__ import annotations

import json
import time
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np
from pyarrow import fs

from cluster.storage import StorageError, explain, name_below, open_file, open_uri, place, told
from lle import images
from lle.config import DataSettings, RegionSettings
from lle.regions import find_regions
from lle.training.order import photo_at
from pipelines.config.train import RunSettings
from pipelines.data import shards
from pipelines.data.listing import LeftOut, not_a_photo, photos_in
from pipelines.data.manifest import ManifestError, read_places
from pipelines.data.pairing import PairingError, paired, stem
from pipelines.job import UserError

ROWS_PER_BLOCK = 16
BLOCKS_AHEAD = 8
REST_SECONDS = 0.02
READERS = 8
ROWS_AHEAD = 2 * ROWS_PER_BLOCK
MOST_KNOWN_REGIONS = 200_000_000
CHECKED_HEADERS = 2_000
HEADER_BYTES = 65_536
COMPARED_FILES = 8
PAIRS = "data.pairs_dark and data.pairs_truth"


FindRegions = Callable[[str, np.ndarray], np.ndarray]


class DataError(UserError):
    """The photos cannot be trained on; the message names the setting and says what to change."""


@dataclass(frozen=True)
class PhotoSet:
    """Photos of a folder or prefix, by path on its file system, sorted; or of a prepared set, by place in its shards.

    Attributes:
        uri: what was listed.
        paths: for `shards.read`: the photos that were found good, or not looked at (beyond the first 2,000).
        refused: what was set aside, with its reason.
        left_out: what was listed beside them and is no photo, in a line.
    """

    uri: str
    paths: tuple[str, ...]
    refused: dict[str, str] = field(default_factory=dict)
    left_out: str = ""

    @property
    def names(self) -> list[str]:
        """Of each path, the photo's below the root: no two are the same."""
        return photo_names(self.uri, self.paths)

    def without(self, held_out: PhotoSet) -> PhotoSet:
        """The rest of the set."""
        out = set(held_out.paths)
        return replace(self, paths=tuple(path for path in self.paths if path not in out))


@dataclass(frozen=True)
class TrainingPhotos:
    """Everything a training reads: the two sets, what is kept out of them, the pairs; and what the validation photos
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
        """All that was set aside, path to reason."""
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


def list_photos(uri: str, setting: str, data: DataSettings) -> PhotoSet:
    """The photos under a folder or prefix; those whose header is bad are set aside with their reason.

    Args:
        uri: where they are, searched with all its folders; or a prepared set, which was checked when it was made.
        setting: name of the setting, for messages.
        data: gives the pixel budget.

    Raises:
        DataError: nothing there, or nothing readable.
    """
    try:
        if prepared := read_places(uri):
            return _prepared_set(uri, setting, *prepared)
        left_out = LeftOut()
        sizes = dict(sorted((file.path, file.size) for file in photos_in(uri, left_out)))
        filesystem, root = open_uri(uri)
        exists = sizes or left_out or filesystem.get_file_info(root).type != fs.FileType.NotFound
    except (ManifestError, StorageError) as error:
        raise DataError(f"{setting}: {error}") from None
    except OSError as error:
        raise DataError(f"{setting}: {told(uri)} cannot be listed ({explain(error)})") from error
    if not exists:
        raise DataError(f"{setting}: {uri} does not exist; check the path")
    if not sizes:
        raise DataError(no_picture(setting, uri, left_out))
    limit = images.most_bytes(data.max_pixels)
    refused = {path: f"is over the limit of {limit / 1e6:.0f} MB" for path, size in sizes.items() if size > limit}
    looked_at = [path for path in sizes if path not in refused][:CHECKED_HEADERS]
    with ThreadPoolExecutor(8) as pool:
        reasons = list(pool.map(lambda path: _bad_header(filesystem, path, data.max_pixels), looked_at))
    refused |= {path: reason for path, reason in zip(looked_at, reasons, strict=True) if reason}
    good = tuple(path for path in sizes if path not in refused)
    if not good:
        path, reason = next(iter(refused.items()))
        raise DataError(f"{setting}: none of the {len(sizes)} pictures in {uri} is readable; {path}: {reason}")
    return PhotoSet(uri, good, refused, str(left_out))


def no_picture(setting: str, uri: str, left_out: LeftOut) -> str:
    """The sentence for a place without pictures."""
    suffixes = ", ".join(images.SUFFIXES[:4])
    return f"{setting}: {uri} holds no picture ({left_out.count} files, none named {suffixes} ...)" + (
        f"; {left_out}" if left_out else ""
    )


def photo_names(uri: str, paths: Iterable[str]) -> list[str]:
    """The names of photos of a set, below its root or, of a prepared set, below what was prepared."""
    _, root = open_uri(uri)
    return [shards.name_at(path) or name_below(root, path) for path in paths]


def refuse_nested(places: Mapping[str, str]) -> None:
    """See that of some folders, by setting, none is or holds another, wherever links lead.

    Raises:
        DataError: one does.
    """
    found = list[tuple[str, str, str]]()
    for setting, uri in places.items():
        try:
            found += [(setting, uri, place(uri))] if uri else []
        except StorageError as error:
            raise DataError(f"{setting}: {error}") from None
    for setting, uri, inner in found:
        for other, other_uri, outer in found:
            if setting == other or not inner.startswith(outer):
                continue
            if inner == outer:
                raise DataError(
                    f"{setting} and {other}: {uri} and {other_uri} hold the same files: they are one folder; name two"
                )
            raise DataError(f"{setting} and {other}: {uri} lies in {other_uri}; name two folders beside each other")


def aligned(low: PhotoSet, high: PhotoSet, settings: str) -> tuple[PhotoSet, PhotoSet]:
    """Two sets as pairs: what stands at the same place of both belongs together (`pairing.paired`).

    With a photo that was refused, its partner goes too.

    Raises:
        DataError: missing or ambiguous partners, in the name of the two `settings`.
    """
    sides = [dict(zip(each.names, each.paths, strict=True)) for each in (low, high)]
    bad = [_refused_names(each) for each in (low, high)]
    stems = [{stem(name) for name in (*side, *names)} for side, names in zip(sides, bad, strict=True)]
    listed = [
        [*side, *(name for name in names if stem(name) in others and name not in side)]
        for side, names, others in zip(sides, bad, reversed(stems), strict=True)
    ]
    try:
        partners = paired(*listed)
    except PairingError as error:
        raise DataError(f"{settings}: {error}") from None
    good = [(name, other) for name, other in partners.items() if name in sides[0] and other in sides[1]]
    if not good:
        raise DataError(f"{settings}: no pair is left whose two photos are readable; check the folders")
    return (
        replace(low, paths=tuple(sides[0][name] for name, _ in good)),
        replace(high, paths=tuple(sides[1][other] for _, other in good)),
    )


def _refused_names(photos: PhotoSet) -> list[str]:
    """Of what was set aside, the photos' names; a prepared set tells names, another paths."""
    _, root = open_uri(photos.uri)
    names = [name_below(root, path) if path.startswith(root) else path for path in photos.refused]
    return [name for name in names if not not_a_photo(name)]


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


def load_photo(photos: PhotoSet, path: str, max_pixels: int, longest_side: int = 0) -> np.ndarray:
    """One photo, RGB uint8, (H, W, 3), shrunk to `longest_side` where that is given and smaller.

    Raises:
        ImageError: it cannot be decoded.
    """
    picture = read_photo(photos.uri, path, max_pixels)
    longest = max(picture.shape[:2])
    if longest_side and longest > longest_side:
        height, width = (max(1, round(side * longest_side / longest)) for side in picture.shape[:2])
        picture = images.resize(picture, (height, width))
    return picture


def read_photo(uri: str, path: str, max_pixels: int) -> np.ndarray:
    """One photo at full size, RGB uint8, (H, W, 3).

    Args:
        uri: folder or prefix that it was listed under; tells the file system.
        path: on that file system.
        max_pixels: pixel budget.

    Raises:
        ImageError: it cannot be decoded.
    """
    filesystem, _ = open_uri(uri)
    return images.decode(shards.read(filesystem, path, max_pixels), path, max_pixels=max_pixels)


class RayStream:
    """A stream of `lle.training.loop`, decoded by Ray Data tasks.

    Args:
        photos: the set.
        size: side of the square pictures; photos are resized whole, as CLIP sees them.
        seed: of the order.
        row: first row of the stream to take, counted over all workers.
        worker, workers: this worker's index and their number; it takes the rows row + worker + k * workers.
        decoders: pictures decoded at once.
        max_pixels: pixel budget of one photo.
        on_refusal: told path and reason when a photo turns out bad; the next good one takes its row.
        regions: how to find the regions of each photo; None: nobody asks for them.
        crop_share: share of pictures that are a random square of the photo instead of the whole.
        crop_side: bounds of its side, as part of the photo's shorter side.
    """

    def __init__(
        self,
        photos: PhotoSet,
        *,
        size: int,
        seed: int,
        row: int,
        worker: int,
        workers: int,
        decoders: int,
        max_pixels: int,
        on_refusal: Callable[[str, str], None],
        regions: RegionSettings | None = None,
        crop_share: float = 0.0,
        crop_side: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        start = row + worker
        self._decode = Decode(photos, size, seed, start, workers, decoders, max_pixels, regions, crop_share, crop_side)
        self._on_refusal = on_refusal
        self._blocks = self._run()
        self._pending: dict[str, np.ndarray] = {}

    @property
    def photos(self) -> int:
        """Pictures in the set."""
        return len(self._decode.photos.paths)

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


@dataclass(frozen=True)
class Decode:
    """Rows of one worker's share into pictures, batch after batch.

    Attributes:
        photos: the set.
        size: side of the square pictures.
        seed: of the order.
        start: the first row.
        stride: from one row to the next.
        threads: pictures decoded at once.
        max_pixels: pixel budget of one photo.
        regions: how to find the regions of each photo; None: not at all.
        crop_share: share of pictures that are a random square of the photo instead of the whole.
        crop_side: bounds of its side, as part of the photo's shorter side.
    """

    photos: PhotoSet
    size: int
    seed: int
    start: int
    stride: int
    threads: int
    max_pixels: int
    regions: RegionSettings | None = None
    crop_share: float = 0.0
    crop_side: tuple[float, float] = (1.0, 1.0)

    def batches(self, first: dict[str, np.ndarray] | None = None) -> Iterator[dict[str, Any]]:
        """Without end: `image` (16, S, S, 3) and `refused`, for each row what was set aside to fill it; `regions`
        (16, S, S) where they are wanted.

        Args:
            first: ignored; Ray Data passes the block that the task was made for.
        """
        filesystem, _ = open_uri(self.photos.uri)
        regions_of = self._regions_finder()
        readers, decoders = ThreadPoolExecutor(READERS), ThreadPoolExecutor(self.threads)
        # Reading waits for the network and decoding for a core: many read ahead of the few that decode.
        decoding = deque[Future[dict[str, Any]]]()
        block = list[dict[str, Any]]()
        try:
            for row in count(self.start, self.stride):
                data = readers.submit(shards.read, filesystem, self._path(row), self.max_pixels)
                decoding.append(decoders.submit(self._picture, filesystem, row, data, regions_of))
                if len(decoding) > ROWS_AHEAD:
                    block.append(decoding.popleft().result())
                if len(block) == ROWS_PER_BLOCK:
                    refused = [each.pop("refused") for each in block]
                    yield {name: np.stack([each[name] for each in block]) for name in block[0]} | {"refused": refused}
                    block = []
        finally:
            for pool in (readers, decoders):
                pool.shutdown(wait=False, cancel_futures=True)

    def _path(self, row: int, offset: int = 0) -> str:
        """Where the photo of a row lies, or one `offset` places behind it in the set."""
        paths = self.photos.paths
        return paths[(photo_at(row, len(paths), self.seed) + offset) % len(paths)]

    def _picture(
        self, filesystem: fs.FileSystem, row: int, data: Future[bytes], regions_of: FindRegions | None
    ) -> dict[str, Any]:
        """The photo of a row, its regions, and `refused`: where it is bad, it is the next good one that is given, and
        path and reason of each bad one, as JSON: names hold whatever their owners like.
        """
        refused = list[tuple[str, str]]()
        for offset in range(len(self.photos.paths)):
            path = self._path(row, offset)
            try:
                picture = self._square(
                    shards.read(filesystem, path, self.max_pixels) if offset else data.result(), path, row
                )
            except images.ImageError as error:
                refused.append((path, error.reason))
            except OSError as error:
                refused.append((path, explain(error)))
            else:
                regions = {"regions": regions_of(path, picture)} if regions_of else {}
                return {"image": picture, "refused": json.dumps(refused) if refused else "", **regions}
        raise DataError(
            f"{self.photos.uri}: none of its {len(self.photos.paths)} pictures can be decoded; {': '.join(refused[0])}"
        )

    def _regions_finder(self) -> FindRegions | None:
        """From a path and its picture to regions; whole photos are searched once, squares every time anew."""
        if not self.regions:
            return None
        settings = self.regions
        if self.crop_share:
            return lambda path, picture: find_regions(picture, settings)
        return KnownRegions(settings).of

    def _square(self, data: bytes, path: str, row: int) -> np.ndarray:
        """The whole photo or a square of it, (S, S, 3); which follows from the seed and the row."""
        chance = np.random.default_rng((self.seed, row))
        if chance.random() >= self.crop_share:
            whole = images.decode(data, path, max_pixels=self.max_pixels, short_side=self.size)
            return resized(whole, self.size)
        smallest, largest = self.crop_side
        share = smallest * (largest / smallest) ** chance.random()
        enough = round(self.size / share)
        photo = images.decode(data, path, max_pixels=self.max_pixels, short_side=enough)
        side = max(1, round(min(photo.shape[:2]) * share))
        top, left = (int(chance.integers(length - side + 1)) for length in photo.shape[:2])
        return resized(photo[top : top + side, left : left + side], self.size)


def resized(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture squeezed to a square, antialiased bicubic: what `lle.images.resize` gives, but for rounding, in a
    seventh of its time and after seconds of importing torch.

    Args:
        picture: RGB, uint8, (H, W, 3).
        side: wanted height and width.
    """
    import torch

    # As (1, 3, H, W) whose channels lie side by side, which is how the picture lies in memory: twice as fast.
    pixels = torch.from_numpy(picture)[None].permute(0, 3, 1, 2)
    square = torch.nn.functional.interpolate(pixels, size=(side, side), mode="bicubic", antialias=True)
    return square[0].permute(1, 2, 0).contiguous().numpy()


class KnownRegions:
    """Regions found once for each photo and kept, compressed to a few KB, as long as 200 MB hold them; for pictures of
    one size.
    """

    def __init__(self, settings: RegionSettings) -> None:
        self._settings = settings
        self._found: dict[str, bytes] = {}
        self._bytes = 0

    def of(self, path: str, picture: np.ndarray) -> np.ndarray:
        """Regions (S, S), int32, of a photo, uint8, (S, S, 3)."""
        if known := self._found.get(path):
            return np.frombuffer(zlib.decompress(known), np.int32).reshape(picture.shape[:2])
        regions = find_regions(picture, self._settings)
        if self._bytes < MOST_KNOWN_REGIONS:
            self._found[path] = zlib.compress(regions.tobytes(), level=1)
            self._bytes += len(self._found[path])
        return regions


def _prepared_set(uri: str, setting: str, places: tuple[str, ...], refused: dict[str, str]) -> PhotoSet:
    if not places:
        raise DataError(f"{setting}: {uri} was prepared, but holds no picture; choose another set")
    return PhotoSet(uri, places, refused)


def _bad_header(filesystem: fs.FileSystem, path: str, max_pixels: int) -> str:
    """Why a file cannot be a photo, from its first bytes; empty where nothing speaks against it."""
    try:
        with open_file(filesystem, path) as file:
            head = file.read(HEADER_BYTES)
            try:
                images.read_header(head, path, max_pixels)
            except images.ImageError:  # some formats keep their header at the end
                rest = images.read_bounded(file, images.most_bytes(max_pixels), path)
                images.read_header(head + rest, path, max_pixels)
    except images.ImageError as error:
        return error.reason
    except OSError as error:
        return explain(error)
    return ""


def _refuse_equal(dark: PhotoSet, well_lit: PhotoSet) -> None:
    """Names tell most sets apart; where they are the same, as in paired sets, the bytes of a few files decide."""
    if dark.names != well_lit.names:
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
