"""What a fuzzer of file names and settings tries: each answer is a result or one sentence, never another exception.

`try_one(data)` turns bytes into one try; `fuzz_names_and_settings` gives it bytes without end, a unit test some.
"""

# Names are bytes here, which pathlib does not take.
# ruff: noqa: PTH102, PTH103, PTH118, PTH120, PTH123, PTH211

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from cluster.storage import (
    LONGEST_NAME,
    StorageError,
    fitting,
    inside,
    local_path,
    open_uri,
    place,
    sqlite_path,
    sqlite_uri,
    told,
)
from lle.config import DataSettings
from pipelines.config.enhance import EnhanceSettings
from pipelines.config.jobs import JOBS
from pipelines.config.loading import load, load_settings, of_a_run
from pipelines.config.prepare import PrepareSettings
from pipelines.config.text import SETTINGS, tree_of
from pipelines.data.manifest import begin, finish
from pipelines.data.pairing import paired
from pipelines.data.part import pending_parts, prepare_part
from pipelines.data.photo_sets import list_photos
from pipelines.evaluation.job import picture_name
from pipelines.evaluation.worker import find_evaluated_photos
from pipelines.inference.progress import Done
from pipelines.inference.work import find_work, result_name
from pipelines.job import UserError
from pipelines.models.resolve import find_model
from pipelines.tracking.address import tracking_uri
from pipelines.tuning.search_space import prepared

Choice = TypeVar("Choice")

SENTENCES = (StorageError, UserError)
"""What a job tells in one line."""

WORDS = (
    "", " ", "~", "~nobody", "~/x", ".", "..", "/", "//", "a", "photos", "runs", "0", "1", "-1", "1e999", "nan", "inf",
    "9" * 5000, "0.5", "true", "no", "null", "[1, 2]", "[1, 2", "{a: b}", "!!python/name:os.system", "&a [*a]", "*a",
    "[" * 3000, "? a", "- a", "a: 1\na: 2", "%", "%s", "%(x)s", "#", "?", "a?b=c", "file:", "file://x", "file:///x%2Fy",
    "file:///%ff", "file:////x", "s3://", "s3://b", "s3://b//k", "s3://b/ k+?#%20ä", "s3://u:p@b/k", "gs://b/k",
    "ftp://x", "http://h:99999", "http://[::1", "sqlite:///", "sqlite:///~/a?b", "sqlite:///x%41.db", "models:",
    "models/x", "runs:", "published:", "published:zero-dce=~", "published:zero-dce++/0=x", "baseline:input",
    "baseline:auto-gain=.",
    "bundled",
    "--", "-", "-h", "--help", "--dry-run", "--preset", "quickstart", "clip_lit", "--config", "light", "psnr", "jpeg",
    "\0", "\n", "\r", "\x1b[31m", "\ufeff", "\u202e", "\udcff", "é", "e\u0301", "日本" * 60, "🌙" * 80, "a" * 300,
    "\\", "'", '"',     "$(id)", "a/../../b", "COM1", "a:b", "a.JPG", "b.dng", "@eaDir", ".Trash-1000", "x.jpg.", "...",
)  # fmt: skip


class Chooser:
    """Choices that follow from bytes; the first of all where no bytes are left."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def number(self, below: int) -> int:
        """One of 0, 1, ... below - 1."""
        taken, self._data = self._data[:2], self._data[2:]
        return int.from_bytes(taken, "little") % below

    def one_of(self, choices: Sequence[Choice]) -> Choice:
        return choices[self.number(len(choices))]

    def text(self) -> str:
        """A word, raw bytes as the command line gives them, or both behind one another."""
        kind = self.number(4)
        if kind == 0:
            return self.one_of(WORDS)
        if kind == 1:
            return self.one_of(WORDS) + self.one_of(WORDS)
        length = self.number(40)
        taken, self._data = self._data[:length], self._data[length:]
        return os.fsdecode(taken) if kind == 2 else f"{self.one_of(WORDS)}/{os.fsdecode(taken)}"


def try_one(data: bytes) -> None:
    """One try, in an empty folder that is gone afterwards."""
    chooser = Chooser(data)
    act = chooser.one_of(ACTS)
    silent = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        quiet = contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent)
        with contextlib.chdir(folder), quiet[0], quiet[1], contextlib.suppress(*SENTENCES):
            act(chooser)


def job_settings(chooser: Chooser) -> None:
    """The command line of a job."""
    tree = tree_of(JOBS[chooser.one_of(list(JOBS))])
    words = list[str]()
    for path in tree.settings:
        if path not in tree.defaults or chooser.number(6) == 1:
            words.append(f"--{path.replace('_', '-')}={chooser.text()}")
    words += [chooser.text() for _ in range(chooser.number(3))]
    with exits():
        load(tree.model, "", words)


def training_settings(chooser: Chooser) -> None:
    """The command line and the YAML file of a training, read, written and read again."""
    words = [chooser.text() for _ in range(chooser.number(3))]
    paths = list(SETTINGS)
    for _ in range(chooser.number(5)):
        words += [f"--{chooser.one_of(paths)}", chooser.text()]
    if chooser.number(2):
        lines = [f"{chooser.one_of((*paths, 'data', 'x'))}: {chooser.text()}" for _ in range(chooser.number(6))]
        Path("given.yaml").write_bytes(os.fsencode("\n".join(lines)))
        words += ["--config", "given.yaml"]
    with exits():
        loaded = load_settings(words)
        Path("again.yaml").write_text(of_a_run(loaded.settings, loaded), encoding="utf-8")
        without = loaded.settings.model_copy(update={"name": "", "resume": False})
        assert load_settings(["--config", "again.yaml"]).settings == without


def sweep_settings(chooser: Chooser) -> None:
    """The command line of a sweep, its search space from a file now and then."""
    words = [chooser.text() for _ in range(chooser.number(4))]
    if chooser.number(2):
        lines = [f"{chooser.one_of(list(SETTINGS))}: {chooser.text()}" for _ in range(chooser.number(4))]
        Path("space.yaml").write_bytes(os.fsencode("\n".join(lines)))
        words += ["--search", "space.yaml"]
    with exits():
        prepared(words)


def places(chooser: Chooser) -> None:
    """What a path or URI means."""
    text = chooser.text()
    for resolve in (open_uri, place, local_path, tracked, model_at):
        with contextlib.suppress(*SENTENCES):
            resolve(text)
    with contextlib.suppress(StorageError):
        path = local_path(text)
        assert local_path(path) == path == sqlite_path(sqlite_uri(path))
        assert local_path(Path(path).as_uri()) == path
    assert told(text).isprintable() and len(told(text)) < 1000
    told(text).encode()


def tracked(text: str) -> None:
    assert tracking_uri(tracking_uri(text, "runs"), "runs") == tracking_uri(text, "runs")
    tracking_uri("", text)


def model_at(text: str) -> None:
    if not text.startswith(("models:/", "runs:/", "bundled")):  # those ask a server, and this one loads
        find_model(text, "")


def names(chooser: Chooser) -> None:
    """The names of results and pictures: fit for every file system, one for each."""
    name, suffix = chooser.text(), chooser.one_of((".png", ".jpg.webp", ""))
    for fit in (fitting(name, suffix), result_name(name + ".jpg", "png"), picture_name(name + ".tif", alone=False)):
        assert all(len(os.fsencode(part)) <= LONGEST_NAME for part in fit.split("/"))
    assert fitting(fitting(name)) == fitting(name)
    with contextlib.suppress(StorageError):
        found = inside(open_uri("out")[0], str(Path("out").absolute()), result_name(name, "png"))
        assert found.startswith(str(Path("out").absolute()))


def pairs(chooser: Chooser) -> None:
    """Names of two sets."""
    low = [chooser.text() for _ in range(chooser.number(5))]
    high = [chooser.text() if chooser.number(3) == 1 else name for name in low]
    found = paired(low, high)
    assert list(found) == low and sorted(found.values()) == sorted(high)


def trees(chooser: Chooser) -> None:
    """Folders of whatever names, listed, paired, prepared and enhanced but for the pixels."""
    for root in ("low", "high"):
        grow(Path(root), chooser)
    with contextlib.suppress(*SENTENCES):
        list_photos("low", "data.dark", DataSettings())
    with contextlib.suppress(*SENTENCES):
        photos, _ = find_evaluated_photos("low", "high", "", 1, 10**6)
        assert len({photo.name for photo in photos}) == len(photos)
    settings = EnhanceSettings(
        model="baseline:input", input="low", output="out", format=chooser.one_of(("same", "png", "webp"))
    )
    with contextlib.suppress(*SENTENCES):
        enhanced(settings)
    prepare = PrepareSettings(input="low", output="prepared", decoders=1)
    with contextlib.suppress(*SENTENCES):
        begin(prepare)
        for part in pending_parts(prepare, []):
            prepare_part(prepare, part)
        finish(prepare)
        list_photos("prepared", "data.dark", DataSettings())


def enhanced(settings: EnhanceSettings) -> None:
    """The notes of an enhancement, written and read again."""
    done = Done(settings.output)
    work, _ = find_work(settings, "1", done)
    for photo in work:
        path = Path(settings.output, photo.entry.result)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        done.note(photo.entry)
    done.write_report()
    assert find_work(settings, "1", Done(settings.output)) == ([], len(work))


def grow(root: Path, chooser: Chooser) -> None:
    """A folder with files, folders and links of whatever names that the file system takes."""
    root.mkdir()
    folder = os.fsencode(root)
    for _ in range(chooser.number(6)):
        kind = chooser.number(8)
        name = os.fsencode(chooser.text()).replace(b"\0", b"") + chooser.one_of((b"", b".png", b".jpg", b".JPG"))
        if kind < 7:
            name = name.replace(b"/", b"_")
        path = os.path.join(folder, name.lstrip(b"/"))
        with contextlib.suppress(OSError):  # too long, there already, leading out of the folder
            if not os.path.realpath(path).startswith(os.path.realpath(b".")):
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if kind == 0:
                os.mkdir(path)
            elif kind == 1:
                os.symlink(chooser.one_of((b".", b"..", b"nowhere", b"../high", name)), path)
            elif kind == 2:
                os.mkfifo(path)
            else:
                with open(path, "xb") as file:
                    file.write(PICTURE if kind > 3 else b"none")


@contextlib.contextmanager
def exits() -> Any:
    """The end of a program that has told why, or shown its help."""
    try:
        yield
    except SystemExit as end:
        assert end.code in (0, 2), end.code


def _picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (9, 8, 7)).save(stream, "png")
    return stream.getvalue()


PICTURE = _picture()
ACTS: tuple[Callable[[Chooser], None], ...] = (
    job_settings, training_settings, sweep_settings, places, places, names, pairs, trees,
)  # fmt: skip

if __name__ == "__main__":
    import random
    import traceback

    tries, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    source, failures = random.Random(seed), dict[str, bytes]()
    for _ in range(tries):
        data = source.randbytes(source.choice((8, 30, 120, 400)))
        try:
            try_one(data)
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            key = f"{type(error).__name__} {where.filename.rpartition('/')[2]}:{where.lineno}"
            if key not in failures:
                failures[key] = data
                traceback.print_exc()
    print(f"{tries} tries, {len(failures)} kinds of failure")
    for key, data in failures.items():
        print(key, data.hex())
    sys.exit(bool(failures))
