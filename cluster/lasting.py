"""Places that outlive a submitted job, and that all its machines see: its working directory is neither."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

from cluster.redaction import redacted
from cluster.storage import StorageError, open_files

ANSWER_SECONDS = 60.0
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


def refuse_unshared(setting: str, place: str, seconds: float = ANSWER_SECONDS) -> None:
    """See that every machine of the connected cluster that may get work sees a folder; a store is seen by all.

    Args:
        setting: that names the place.
        place: folder or URI.
        seconds: to wait for the machines; one that does not answer by then is not counted.

    Raises:
        StorageError: a machine does not see it, and what it writes there would be lost.
    """
    import ray

    filesystem, path = open_files(place)
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here and node["Resources"].get("CPU")]
    if filesystem.type_name != "local" or not others:
        return
    marker = Path(path) / f".seen-by-all-{uuid4().hex}"
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        sees = ray.remote(num_cpus=0, max_retries=0)(_exists)
        asked = {
            sees.options(label_selector={"ray.io/node-id": node["NodeID"]}).remote(str(marker)): node for node in others
        }
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=seconds)
        blind = sorted(asked[answer]["NodeManagerAddress"] for answer in answered if _says_no(answer))
    except OSError as error:
        raise StorageError(f"{setting}: {place} cannot be written ({error.strerror}); choose another place") from error
    finally:
        marker.unlink(missing_ok=True)
    if blind:
        raise StorageError(
            f"{setting}: {place} is not seen by {len(blind)} of the cluster's machines ({', '.join(blind[:3])}), and "
            "what they write would be lost; give a folder that all share with --runs, or for the checkpoints an object "
            "store with --checkpoints s3://BUCKET/PREFIX"
        )


def _exists(path: str) -> bool:
    return Path(path).exists()


def _says_no(answer: Any) -> bool:
    """Whether a machine does not see it; a machine that has gone meanwhile does not matter."""
    import ray

    try:
        return not ray.get(answer)
    except ray.exceptions.RayError:
        return False


def _example(place: str) -> str:
    name = Path(place.removeprefix("sqlite:///")).name
    return f"sqlite:////FOLDER/{name}" if place.startswith("sqlite:") else f"/FOLDER/{name}"


def _is_throwaway(place: str) -> bool:
    if place.startswith("sqlite:///"):
        path = place.removeprefix("sqlite:///")
    elif "://" in place and not place.startswith("file://"):
        return False
    else:
        filesystem, path = open_files(place)
        if filesystem.type_name != "local":
            return False
    parts = Path(path).expanduser().resolve().parts
    return any(pair == UNPACKED for pair in pairwise(parts))
