"""Which source ran, told where git is, where only its uploaded part is, and where nothing is."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

from pipelines.tracking import source
from pipelines.tracking.source import GIVEN, LINK, git_revision, head, source_hash


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, repository: Path) -> Path:
    """A small repository that looks like ours."""
    root = tmp_path / "checkout"
    (root / "pipelines" / "tracking").mkdir(parents=True)
    for name in (".rayignore", ".gitignore"):
        shutil.copy(repository / name, root)
    shutil.copy(source.__file__, root / "pipelines" / "tracking")
    (root / LINK).symlink_to(".git")
    git(root, "init", "-q", "-b", "feature/one")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "one")
    git(root, "tag", "-a", "v1", "-m", "a tag is no commit")
    return root


def submitted(checkout: Path, folder: Path) -> Path:
    """What Ray makes of a working directory on another machine."""
    package = folder / "package.zip"
    create_package(str(checkout), package, include_gitignore=True, excludes=get_runtime_env_default_excludes())
    with zipfile.ZipFile(package) as uploaded:
        uploaded.extractall(folder / "job")
    return folder / "job"


@pytest.mark.parametrize("how", ["branch", "packed", "detached"])
def test_a_submitted_job_knows_the_commit_that_was_checked_out(checkout: Path, tmp_path: Path, how: str):
    if how == "packed":
        git(checkout, "pack-refs", "--all")
    elif how == "detached":
        git(checkout, "checkout", "-q", "--detach")
    job = submitted(checkout, tmp_path)
    assert git_revision(job) == git(checkout, "rev-parse", "HEAD") == git_revision(checkout)
    assert not (job / ".git").exists() and not [*job.rglob("objects")] and not [*job.rglob("config")]


def test_a_worktree_is_read_where_it_lies(checkout: Path, tmp_path: Path):
    git(checkout, "worktree", "add", "-q", "-b", "two", str(tmp_path / "tree"))
    git(tmp_path / "tree", "commit", "-q", "--allow-empty", "-m", "two")
    commit = git(tmp_path / "tree", "rev-parse", "HEAD")
    assert commit != git(checkout, "rev-parse", "HEAD")
    assert head(tmp_path / "tree" / ".git") == commit == git_revision(submitted(tmp_path / "tree", tmp_path))


def test_a_change_shows_in_the_revision_here_and_in_the_hash_of_the_job(checkout: Path, tmp_path: Path):
    clean = source_hash(checkout)
    with (checkout / "pipelines" / "tracking" / "source.py").open("a") as file:
        file.write("# changed\n")
    job = submitted(checkout, tmp_path)
    assert git_revision(checkout) == git(checkout, "rev-parse", "HEAD") + "-dirty"
    assert source_hash(job) == source_hash(checkout) != clean


def test_somebody_elses_repository_around_an_installed_package_is_not_ours(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
):
    packages = checkout / "venv" / "site-packages"
    (packages / "pipelines" / "tracking").mkdir(parents=True)
    shutil.copy(source.__file__, packages / "pipelines" / "tracking")
    monkeypatch.delenv(GIVEN, raising=False)
    assert git_revision(packages) == "unknown"
    monkeypatch.setenv(GIVEN, "given")
    assert git_revision(packages) == "given"


def test_a_source_without_git_and_a_damaged_upload_are_unknown_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv(GIVEN, raising=False)
    (tmp_path / LINK).symlink_to(".git")  # as an archive holds it: it leads nowhere
    assert git_revision(tmp_path) == "unknown"
    for content in (b"", b"\xff\xfe", b"ref: refs/heads/none", b"ref: ../../etc/passwd", b"0" * 39):
        (tmp_path / "part").mkdir(exist_ok=True)
        (tmp_path / "part" / "HEAD").write_bytes(content)
        assert head(tmp_path / "part") == "unknown"


def test_the_link_is_in_the_repository(repository: Path):
    assert (repository / LINK).is_symlink() and str((repository / LINK).readlink()) == ".git"
