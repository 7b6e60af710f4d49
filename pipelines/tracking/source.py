"""Which source ran: the commit, where it can be known, and a hash of the files themselves.

    python -m pipelines.tracking.source        both, of this source

A submitted job has no repository: Ray uploads no folder named `.git`. The link `.revision` beside the packages names
the same folder, and `.rayignore` lets HEAD and the branches' commits through it. They tell the commit that was checked
out, not whether files were changed since; the hash does, compared with that of a clean checkout.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE, MLFLOW_USER

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("lle", "pipelines", "cluster")
SUFFIXES = (".py", ".yaml", ".json", ".html", ".css", ".js")
LINK = ".revision"
GIVEN = "LLE_GIT_REVISION"
UNKNOWN = "unknown"
COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


def git_revision(root: Path = ROOT) -> str:
    """Commit of the source below a folder, with `-dirty` where git sees that it was changed.

    Without a repository: the commit that was checked out where the job was submitted, else what the environment names
    as LLE_GIT_REVISION, else `unknown`.
    """
    tracked = _git(root, "ls-files", "--error-unmatch", Path("pipelines", "tracking", "source.py").as_posix())
    if tracked:  # an installed package may lie in a repository that is not ours
        return _git(root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or head(root / ".git")
    found = head(root / LINK)
    return found if found != UNKNOWN else os.environ.get(GIVEN, "") or UNKNOWN


def head(git: Path) -> str:
    """The commit that is checked out, read from git's folder, or from the part of it that was uploaded."""
    try:
        if git.is_file():  # of a worktree, whose folder lies elsewhere
            git = git.parent / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        text = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not text.startswith("ref: "):
            return text if COMMIT.fullmatch(text) else UNKNOWN
        branch, shared = text.removeprefix("ref: "), git / "commondir"
        common = git / shared.read_text(encoding="utf-8").strip() if shared.exists() else git
        if (common / branch).exists():
            text = (common / branch).read_text(encoding="utf-8").strip()
        else:
            packed = (
                line.split(" ", 1)
                for line in (common / "packed-refs").read_text(encoding="utf-8").splitlines()
                if " " in line
            )
            text = next((commit for commit, name in packed if name == branch), "")
    except (OSError, ValueError):
        return UNKNOWN
    return text if COMMIT.fullmatch(text) else UNKNOWN


def source_hash(root: Path = ROOT) -> str:
    """SHA-256 of the packages' code, settings and templates: the same wherever they lie and however they came there."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        home = next((each for each in (root, *root.parents[:2]) if (each / package).is_dir()), root)  # a wheel has two
        for file in sorted(file for file in (home / package).rglob("*") if file.suffix in SUFFIXES and file.is_file()):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(home).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def source_tags(program: str) -> dict[str, str]:
    """Tags of a run of MLflow: what ran, in its terms and in ours.

    Args:
        program: the entry point, such as pipelines/train.py.
    """
    revision, job = git_revision(), submission()
    tags = {
        MLFLOW_SOURCE_NAME: program,
        MLFLOW_SOURCE_TYPE: "JOB" if job else "LOCAL",
        MLFLOW_USER: user(),
        "git.revision": revision,
        "source.hash": source_hash(),
    }
    if revision != UNKNOWN:
        tags[MLFLOW_GIT_COMMIT] = revision.removesuffix("-dirty")
    return tags | ({"ray.job": job} if job else {})


def program() -> str:
    """The entry point that this process runs, as a path in the repository; in a worker of Ray it is a sweep's trial."""
    script = Path(sys.argv[0])
    if script.name == "default_worker.py":
        return "pipelines/tune.py"
    if script.name.startswith("lle "):
        return f"pipelines/{script.name.removeprefix('lle ')}.py"
    return f"pipelines/{script.name}" if script.parent.name == "pipelines" else script.name or UNKNOWN


def submission() -> str:
    """Ray's name of the submitted job that this process is part of; empty where nothing was submitted."""
    try:
        config = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
        return str(config.get("metadata", {}).get("job_submission_id", ""))
    except (ValueError, AttributeError):
        return ""


def user() -> str:
    """Whose process this is."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user without a name
        return str(os.getuid()) if hasattr(os, "getuid") else UNKNOWN


def _git(root: Path, *arguments: str) -> str:
    """What git says; empty where it refuses or is not there."""
    try:
        found = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


if __name__ == "__main__":
    print(f"revision {git_revision()}\nhash     {source_hash()}")
