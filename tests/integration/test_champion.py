"""Aliases in a real MLflow data base: moved, moved back, and fought over by two processes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipelines.jobs import champion
from pipelines.jobs.champion import DECISION, EVALUATION_SET, LOCK, PromotionError, Registry
from pipelines.promote import main

NAME = "lle-enhancer"
RIVAL = """
import sys, time
from pathlib import Path
from pipelines.jobs.champion import PromotionError, Registry

uri, version, gate = sys.argv[1:]
registry = Registry(uri, "lle-enhancer", "champion")
over = registry.champion
Path(gate + version).touch()
while len(list(Path(gate).parent.glob("gate*"))) < 2:
    time.sleep(0.01)
try:
    registry.promote(version, over, "photos", "run" + version)
except PromotionError as error:
    sys.exit(str(error))
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions, no champion; to be copied, for the tables take seconds to make."""
    folder = tmp_path_factory.mktemp("registry")
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    client.create_registered_model(NAME)
    for _ in range(3):
        client.create_model_version(NAME, (folder / "model").as_uri())
    return folder / "mlflow.db"


@pytest.fixture
def registry(database: Path, tmp_path: Path) -> Registry:
    return Registry(f"sqlite:///{shutil.copy(database, tmp_path)}", NAME, "champion")


def names(registry: Registry) -> list[str]:
    return [each.name for each in MlflowClient(registry.uri).search_registered_models()]


def test_the_first_champion_the_next_and_the_way_back(registry: Registry):
    assert registry.champion == registry.evaluation_set == ""
    registry.promote("1", "", "photos", "run1")
    registry.promote("3", "1", "other photos", "run3")
    assert registry.champion == "3" == registry.version("champion")
    client = MlflowClient(registry.uri)
    assert client.get_model_version(NAME, "3").tags[DECISION] == "run3"
    assert client.get_registered_model(NAME).tags[EVALUATION_SET] == registry.evaluation_set == "other photos"
    assert registry.roll_back() == ("3", "1") and registry.champion == "1"
    with pytest.raises(PromotionError, match="rollback: version 1 of lle-enhancer replaced nobody as champion"):
        registry.roll_back()
    assert registry.champion == "1" and names(registry) == [NAME]


def test_a_champion_that_changed_during_the_comparison_stays(registry: Registry):
    registry.promote("1", "", "photos", "run")
    with pytest.raises(PromotionError, match="version 1 became champion while version 2 was compared with the input"):
        registry.promote("2", "", "photos", "run")
    assert registry.champion == "1" and names(registry) == [NAME]


def test_of_two_promotions_at_once_one_wins_and_one_is_told(registry: Registry, tmp_path: Path, repository: Path):
    registry.promote("1", "", "photos", "run1")
    rivals = {
        version: subprocess.Popen(
            [sys.executable, "-c", RIVAL, registry.uri, version, str(tmp_path / "gate")],
            cwd=repository, stderr=subprocess.PIPE, text=True,
        )
        for version in ("2", "3")
    }  # fmt: skip
    told = {version: process.communicate(timeout=120)[1].strip() for version, process in rivals.items()}
    winner, loser = sorted(rivals, key=lambda version: rivals[version].returncode)
    assert (rivals[winner].returncode, rivals[loser].returncode) == (0, 1), told
    assert f"version {winner} became champion while version {loser} was compared with 1" in told[loser]
    assert registry.champion == winner and names(registry) == [NAME]
    assert registry.roll_back() == (winner, "1")


def test_a_lock_that_is_never_given_back_is_named(registry: Registry, monkeypatch: pytest.MonkeyPatch):
    MlflowClient(registry.uri).create_registered_model(NAME + LOCK, description="process 7 on box")
    monkeypatch.setattr(champion, "LOCK_SECONDS", 0.5)
    with pytest.raises(
        PromotionError, match="does not end .process 7 on box.; if it died, delete the registered model"
    ):
        registry.promote("1", "", "photos", "run")
    assert registry.champion == "" and names(registry) == [NAME, NAME + LOCK]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rollback"], "rollback: lle-enhancer has no champion yet; promote a version first"),
        (["--candidate", "9"], "candidate: lle-enhancer has no version or alias 9 (its aliases: none); name one, or"),
        (["--candidate", "nobody"], "candidate: lle-enhancer has no version or alias nobody"),
        (
            ["--model", "lle-enhacner"],
            "has no registered model lle-enhacner; check the name and --tracking, or register",
        ),
    ],
)
def test_what_is_not_in_the_registry_is_told_in_one_sentence(
    registry: Registry, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["--tracking", registry.uri, "--low", "DIR", "--high", "DIR", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told and told.startswith("error: ") and told.count("\n") == 1
