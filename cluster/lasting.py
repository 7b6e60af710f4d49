"""Places that outlive a submitted job: its working directory does not."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from cluster.redaction import redacted
from cluster.storage import StorageError, open_uri

UNPACKED = ("runtime_resources", "working_dir_files")  # where Ray unpacks the code of submitted jobs, by its hash


def refuse_throwaway(places: dict[str, str]) -> None:
    """See that nothing is to be written into the folder that Ray unpacked a submitted job's code into.

    It is another folder after any edit of the code, and Ray empties it when it needs the room.

    Args:
        places: folder, URI or SQLite URI by the setting that names it; empty for none.

    Raises:
        StorageError: with the setting to change.
    """
    for setting, place in places.items():
        if place and _is_throwaway(place):
            raise StorageError(
                f"{setting}: {redacted(place)} lies in this job's working directory, which is a new one after any edit "
                f"of the code; give a place that stays, such as --{setting} {_example(place)}"
            )


def _example(place: str) -> str:
    name = Path(place.removeprefix("sqlite:///")).name
    return f"sqlite:////FOLDER/{name}" if place.startswith("sqlite:") else f"/FOLDER/{name}"


def _is_throwaway(place: str) -> bool:
    if place.startswith("sqlite:///"):
        path = place.removeprefix("sqlite:///")
    elif "://" in place and not place.startswith("file://"):
        return False
    else:
        filesystem, path = open_uri(place)
        if filesystem.type_name != "local":
            return False
    parts = Path(path).expanduser().resolve().parts
    return any(pair == UNPACKED for pair in pairwise(parts))
