"""`lle JOB ...` is `python pipelines/JOB.py ...`, from anywhere: the same arguments, the same exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

import lle

JOBS = {
    "enhance": "brighten photos: lle enhance photo.jpg",
    "demo": "a page on this machine: drop a photo, see before and after",
    "serve": "an endpoint on a Ray cluster: post a photo, get it back enhanced",
    "train": "train an enhancer from unpaired photos",
    "tune": "search settings of a training",
    "evaluate": "measure a model",
    "compare": "measure several models side by side",
    "vote": "a page on this machine that asks people which of two pictures is better",
    "prepare": "any prefix of pictures into shards and a manifest",
    "promote": "make a registered version the champion, if it is better",
    "export": "a model for other runtimes",
}
OURS = ("lle", "lle_platform", "pipelines", "cluster")
EXTRAS = {
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "pi_heif": "heic",
    "rawpy": "raw",
    "av": "video",
}  # others: pipeline


def main(argv: Sequence[str] | None = None) -> int:
    """Run a job; its exit status, 2 where there is no such job or a package for it is missing."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"lle {lle.__version__}")
        return 0
    job, *rest = words
    if job not in JOBS:
        print(_no_such_job(job), file=sys.stderr)
        return 2
    add_to_path(home())
    sys.argv = [str(Path(sys.argv[0]).with_name(f"lle {job}")), *rest]  # what help, records and printed commands say
    try:
        entry = import_module(f"pipelines.{job}")
        entry.__doc__ = str(entry.__doc__).replace(f"python pipelines/{job}.py", f"lle {job}")  # shown by --help
        status: int = entry.main(rest)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package in OURS:
            raise
        extra = EXTRAS.get(package, "pipeline")
        print(f"lle {job} needs the package {package} here; pip install 'lle[{extra}]' brings it", file=sys.stderr)
        return 2
    return status


def home() -> Path:
    """The folder that holds `pipelines` and `cluster`: below this package in a wheel, beside it in a checkout."""
    here = Path(__file__).resolve().parent
    return here / "path" if (here / "path").is_dir() else here.parent


def add_to_path(folder: Path) -> None:
    """Let this process and those that it starts import from a folder, before any other of the same names."""
    sys.path.insert(0, str(folder))
    above = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{above}" if above else str(folder)


def _help() -> str:
    width = max(map(len, JOBS))
    jobs = "\n".join(f"  {job:<{width}}  {about}" for job, about in JOBS.items())
    return f"Low-light and backlit photos, enhanced; trained without pairs.\n\nlle JOB --help tells of each:\n\n{jobs}"


def _no_such_job(word: str) -> str:
    if Path(word).exists():
        return f"{word}: is no job; did you mean lle enhance {word}?"
    near = get_close_matches(word, JOBS, n=1)
    advice = f"did you mean lle {near[0]}?" if near else f"choose from {', '.join(JOBS)}"
    return f"{word}: no such job; {advice}"
