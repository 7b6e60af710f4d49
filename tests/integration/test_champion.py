"""Aliases in a real MLflow data base: moved, moved back, and fought over by two processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from cluster.lease import Holder
from pipelines.models import champion
from pipelines.models.champion import DECISION, EVALUATION_SET, HOLDER, LOCK, PromotionError, Registry
from pipelines.promote import main
from pipelines.promotion.job import find_champion
from pipelines.tracking.address import TrackingError
from tests.integration.conftest import free_port, mlflow_server
from tests.integration.unreliable import Request, Trouble, UnreliableServer, unreliable

NAME = "lle-enhancer"
RIVAL = """
import sys, time
from pathlib import Path
from pipelines.models.champion import PromotionError, Registry

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


def left_behind(registry: Registry, **changes: object) -> None:
    """A lock that nobody gives back; changed from one of this very process."""
    holder = replace(Holder.here(), **changes)
    MlflowClient(registry.uri).create_registered_model(NAME + LOCK, tags={HOLDER: json.dumps(asdict(holder))})


def test_a_lock_whose_process_is_dead_or_has_given_it_up_is_no_lock(registry: Registry):
    left_behind(registry, started=1)
    registry.promote("1", "", "photos", "run")
    left_behind(registry)  # as where the request for it was carried out after nobody waited any more
    registry.promote("2", "1", "photos", "run")
    assert registry.champion == "2" and names(registry) == [NAME]


@pytest.mark.parametrize("tags", [{}, {HOLDER: "{"}, {HOLDER: json.dumps({"token": "7", "machine": "another"})}])
def test_a_lock_that_is_never_given_back_ends(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tags: dict[str, str]
):
    MlflowClient(registry.uri).create_registered_model(NAME + LOCK, tags=tags, description="process 7 on box")
    monkeypatch.setattr(champion, "LOCK_SECONDS", 0.5)
    registry.promote("1", "", "photos", "run")
    assert registry.champion == "1" and names(registry) == [NAME]


def test_a_lock_of_the_living_is_waited_for_and_its_holder_named(registry: Registry, monkeypatch: pytest.MonkeyPatch):
    left_behind(registry, machine="another", process=7, host="box")
    monkeypatch.setattr(champion, "PATIENCE_SECONDS", 0.5)
    with pytest.raises(PromotionError, match="other promotions do not end .process 7 of .* on box since"):
        registry.promote("1", "", "photos", "run")
    assert registry.champion == "" and names(registry) == [NAME, NAME + LOCK]


def test_a_lock_that_was_taken_over_moves_nothing(registry: Registry, monkeypatch: pytest.MonkeyPatch):
    def slow(self: Registry, version: str) -> bool:
        MlflowClient(registry.uri).delete_registered_model(NAME + LOCK)
        left_behind(registry, machine="another")
        return True

    monkeypatch.setattr(Registry, "_exists", slow)
    with pytest.raises(PromotionError, match="the lock of lle-enhancer was taken over, for MLflow was too slow"):
        registry.promote("1", "", "photos", "run")
    assert registry.champion == "" and names(registry) == [NAME, NAME + LOCK]


@pytest.fixture(scope="module")
def server(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnreliableServer]:
    """A server with the same three versions, behind a proxy that can make trouble."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    shutil.copy(database, folder / "server.db")
    with mlflow_server(folder, port), unreliable(port) as proxy:
        yield proxy


def lost(*ends: str) -> Callable[[Request], Trouble | None]:
    """The server does what such requests ask, and the first answer to each is lost."""
    left = dict.fromkeys(ends, 1)

    def trouble(request: Request) -> Trouble | None:
        for end in left:
            if request.path.endswith(end) and request.method != "GET" and left[end]:
                left[end] -= 1
                return Trouble(unheard=True)
        return None

    return trouble


def test_lost_answers_neither_lock_anybody_out_nor_promote_unheard(
    server: UnreliableServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # each one is felt
    monkeypatch.setattr(champion, "RELEASE_SECONDS", 3.0)
    registry = Registry(server.url, NAME, "champion")
    server.trouble = lost("registered-models/alias", "registered-models/delete")
    registry.promote("1", "", "photos", "run")
    assert registry.champion == "1" and names(registry) == [NAME]

    server.trouble = lost("registered-models/create")
    with pytest.raises(TrackingError, match="refuses or is gone"):
        registry.promote("2", "1", "photos", "run")
    assert registry.champion == "1" and names(registry) == [NAME]  # given back, though nobody said it was had

    server.trouble = lambda request: Trouble(unheard=True) if "registered-models" in request.path else None
    with pytest.raises(MlflowException):
        champion.Lock(MlflowClient(server.url), NAME + LOCK).take()
    server.calm()
    assert names(registry) == [NAME, NAME + LOCK]
    monkeypatch.setattr(champion, "_held", set())  # as its `finally` does, after a while
    registry.promote("2", "1", "photos", "run")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    server.trouble = lost("registered-models/create", "registered-models/alias", "registered-models/delete")
    assert registry.roll_back() == ("2", "1") and names(registry) == [NAME]
    server.calm()


def test_after_a_deletion_it_is_said_what_is_gone_and_the_pinned_photos_stay(
    registry: Registry, capsys: pytest.CaptureFixture[str]
):
    client, rollback = MlflowClient(registry.uri), ["--tracking.uri", registry.uri, "--rollback"]

    def told(arguments: list[str]) -> str:
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1 and names(registry)[1:] == []
        return said

    registry.promote("1", "", "photos", "run")
    registry.promote("2", "1", "photos", "run")
    assert "rollback: version 1, which version 2 had replaced, cannot be used any more (" in told(rollback)
    client.delete_model_version(NAME, "1")
    assert "version 1 of lle-enhancer, which version 2 had replaced, was deleted; version 2 stays" in told(rollback)
    with pytest.raises(PromotionError, match="candidate: version 1 of lle-enhancer was deleted"):
        registry.promote("1", "2", "photos", "run")
    with pytest.raises(PromotionError, match="champion: version 2 of lle-enhancer cannot be compared with .model: "):
        find_champion(registry, "2")

    client.delete_model_version(NAME, "2")
    assert "the champion of lle-enhancer, version 2, was deleted; what it replaced is not known" in told(rollback)
    assert registry.champion == "" and registry.deleted_champion == "2" and registry.evaluation_set == "photos"
    with pytest.raises(PromotionError, match="version 2 was deleted or is no longer champion while version 3"):
        registry.promote("3", "2", "photos", "run")
    registry.promote("3", "", "photos", "run")
    assert registry.champion == "3" and registry.deleted_champion == ""

    client.delete_registered_model(NAME)
    assert "has no registered model lle-enhancer; check the name and --tracking.uri, or register one" in told(rollback)
    with pytest.raises(PromotionError, match="has no registered model lle-enhancer"):
        registry.promote("3", "3", "photos", "run")
    assert names(registry) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rollback"], "rollback: lle-enhancer has no champion yet; promote a version first"),
        (["--candidate", "9"], "candidate: lle-enhancer has no version or alias 9 (its aliases: none); name one, or"),
        (["--candidate", "nobody"], "candidate: lle-enhancer has no version or alias nobody"),
        (
            ["--model", "lle-enhacner"],
            "has no registered model lle-enhacner; check the name and --tracking.uri, or register",
        ),
    ],
)
def test_what_is_not_in_the_registry_is_told_in_one_sentence(
    registry: Registry, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["--tracking.uri", registry.uri, "--data.dark", "DIR", "--data.truth", "DIR", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told and told.startswith("error: ") and told.count("\n") == 1
