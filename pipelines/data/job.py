"""A preparation as a job: list, prepare what is new on the cluster, gather the manifest, tell."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, astuple
from typing import Any

from rich.console import Console

from cluster.connect import connect
from cluster.lasting import refuse_throwaway
from cluster.lease import held
from cluster.storage import StorageError, failing_as, from_anywhere, list_files, naming, open_uri, place
from cluster.waiting import told_while_waiting
from pipelines.config.prepare import PrepareSettings
from pipelines.data.listing import DataError
from pipelines.data.manifest import Totals, begin, done_parts, finish
from pipelines.data.part import Judge, Prepared, Source, bundled_judge, pending_parts, prepare_part
from pipelines.job import begun
from pipelines.reporting.closing import there

LEAST_SLOTS = 2
TELL_SECONDS = 5.0


def run(settings: PrepareSettings) -> None:
    """`prepare` with its progress on stdout, where nobody else is at work; raises what that does."""
    with naming("output"), held(settings.output):
        prepare(settings, Console(soft_wrap=True, highlight=False, markup=False))


def prepare(settings: PrepareSettings, console: Console) -> Totals:
    """Bring the output up to date with the input.

    Raises:
        DataError, ManifestError, StorageError, ClusterError: one sentence each.
    """
    refuse_throwaway({"output": settings.output})
    check(settings)
    with begun():
        return _prepared(settings, console)


def _prepared(settings: PrepareSettings, console: Console) -> Totals:
    if _anything_pending(settings):
        with connect(settings.cluster.address, cpus=LEAST_SLOTS):
            progress = Progress(console)
            for prepared in prepare_parts(settings, console.print):
                progress.add(prepared)
        progress.tell()
    else:
        console.print("nothing new to prepare")
    with failing_as(f"output: {settings.output} cannot be read"):
        totals = finish(settings)
    console.print(
        f"{there(settings.output)} holds {totals.kept:,} pictures, of which {totals.exact:,} are exact and "
        f"{totals.similar:,} near copies of another; {totals.refused:,} files are refused, with reasons in "
        "manifest.parquet"
    )
    if totals.left_out:
        console.print(totals.left_out)
    for group, count in totals.groups.items():
        console.print(f"{group}: {count:,}")
    if not totals.kept:
        raise DataError(
            f"input: no usable picture among the {totals.refused:,} files of {settings.input}; check the prefix"
        )
    if totals.unread:
        raise DataError(
            f"input: {totals.unread:,} files could not be read this time, with reasons in manifest.parquet; run again "
            "to try them once more"
        )
    return totals


def check(settings: PrepareSettings) -> None:
    """See that there is something to prepare and where to, and that the output was made in the same way so far.

    Raises:
        DataError, ManifestError, StorageError: one sentence each.
    """
    with naming("input"):
        source = place(settings.input)
        first = next(list_files(settings.input), None)
    with naming("output"):
        target = place(settings.output)
    if target.startswith(source) or source.startswith(target):
        raise DataError("input and output: one lies in the other; choose an output beside the input")
    if first is None:
        raise DataError(f"input: {settings.input} does not exist or holds no file; check the path")
    if first.path == open_uri(settings.input)[1]:
        raise DataError(f"input: {settings.input} is one file; name the folder that holds it")
    with failing_as(f"output: {settings.output} cannot be read"):
        begin(settings)


def prepare_parts(settings: PrepareSettings, tell: Callable[[str], object]) -> Iterator[Prepared]:
    """`prepare_part` for all that is pending, on a joined Ray cluster, as the parts are done.

    Args:
        settings: of the job.
        tell: takes a line about what is waited for.

    Raises:
        DataError: the input cannot be listed, the output not be read or written.
    """
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    settings = settings.model_copy(
        update={name: from_anywhere(getattr(settings, name)) for name in ("input", "output")}
    )
    listed = ray.data.from_items([{"input": settings.input}]).map_batches(
        _Listing(settings),
        num_cpus=0,  # or on a full cluster it would hold what the parts wait for
    )
    listed.context.target_max_block_size = 1  # one part a block, or one task would do several
    done, begun = listed.map(_Task(settings), num_cpus=1), False
    with told_while_waiting(tell, lambda: begun, {"CPU": 1.0}):
        for row in done.iter_rows():
            begun = True
            if row["failed"]:
                raise DataError(row["failed"])
            yield Prepared(**json.loads(row["prepared"]))


def _anything_pending(settings: PrepareSettings) -> bool:
    with failing_as(f"output: {settings.output} cannot be read"):
        return next(pending_parts(settings, done_parts(settings.output)), None) is not None


class Progress:
    """A line every few seconds: files done, rate, and refusals by kind."""

    def __init__(self, console: Console) -> None:
        self._console, self._started = console, time.monotonic()
        self._told = self._started
        self._kept = self._bytes = 0
        self._refused: Counter[str] = Counter()

    def add(self, prepared: Prepared) -> None:
        """Count a part."""
        self._kept += prepared.kept
        self._bytes += prepared.bytes
        self._refused.update(prepared.refused)
        if time.monotonic() - self._told > TELL_SECONDS:
            self.tell()

    def tell(self) -> None:
        """Print the line."""
        self._told = time.monotonic()
        seconds = self._told - self._started
        files = self._kept + self._refused.total()
        kinds = ", ".join(f"{count} {kind}" for kind, count in self._refused.most_common())
        self._console.print(
            f"{files:,} files  {files / seconds:.0f} files/s  {self._bytes / seconds / 1e6:.0f} MB/s  "
            f"refused {self._refused.total():,}{f' ({kinds})' if kinds else ''}",
        )


class _Listing:
    """The pending parts, one a batch; the same ones should Ray begin anew after some were done.

    A failure is a row as well: Ray Data would print a page about an exception, and lose what caused it.
    """

    def __init__(self, settings: PrepareSettings) -> None:
        self._settings, self._done = settings, done_parts(settings.output)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        try:
            with failing_as(f"output: {self._settings.output} cannot be read"):
                for part in pending_parts(self._settings, self._done):
                    yield {"part": [json.dumps([astuple(source) for source in part])], "failed": [""]}
        except StorageError as error:
            yield {"part": [""], "failed": [str(error)]}


class _Task:
    """`prepare_part` on a row of the listing."""

    def __init__(self, settings: PrepareSettings) -> None:
        self._settings = settings

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["failed"]:
            return {"prepared": "", "failed": row["failed"]}
        part = [Source(*fields) for fields in json.loads(row["part"])]
        judge: Judge | None = bundled_judge() if self._settings.split == "prior" else None
        try:
            prepared = prepare_part(self._settings, part, judge)
        except (DataError, StorageError) as error:
            return {"prepared": "", "failed": str(error)}
        return {"prepared": json.dumps(asdict(prepared)), "failed": ""}
