"""Runs that go on, runs that are repeated, and runs of the same name: none takes or touches what is another's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from PIL import Image
from rich.console import Console
from test_checkpoints import report

from lle.config import DataSettings, PhaseLength, ScheduleSettings
from pipelines.config.loading import Loaded, load_settings, of_a_run, to_yaml
from pipelines.config.train import RunSettings, TrackingSettings
from pipelines.data.photo_sets import PhotoSet
from pipelines.data.training_photos import TrainingPhotos
from pipelines.job import run_job
from pipelines.training import TrainingError
from pipelines.training import job as training
from pipelines.training.checkpoints import MARK, Checkpoints, begin
from pipelines.training.publishing import best_model
from pipelines.training.record import RUN_ID, tracked_run
from pipelines.training.resuming import RUN_SETTINGS
from pipelines.training.run_folder import SUMMARY, checkpoints_uri, run_folder


def ended(settings: RunSettings) -> int:
    """The exit status of a training."""
    return run_job(training.run, Loaded(settings, "none", {}), training.how_to_go_on)


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "connect", lambda *args, **kwargs: pytest.fail("the cluster was started"))


@pytest.fixture
def night(tmp_path: Path) -> RunSettings:
    """Settings of a run on six photos."""
    for name, level in (("dark", 20), ("well_lit", 150)):
        (tmp_path / name).mkdir()
        for index in range(3):
            Image.new("RGB", (20 + index, 20), (level, level, level)).save(tmp_path / name / f"{index}.png")
    data = DataSettings(dark=str(tmp_path / "dark"), well_lit=str(tmp_path / "well_lit"), validation_images=1)
    return RunSettings(name="night", runs=str(tmp_path / "runs"), data=data)


def cut_off(settings: RunSettings, step: int = 5) -> Path:
    """The folder of a run that was killed after a checkpoint."""
    folder = Path(settings.runs) / settings.name
    with run_folder(settings):
        (folder / RUN_SETTINGS).write_text(of_a_run(settings))
        checkpoints = Checkpoints.of_run(checkpoints_uri(settings), keep=2)
        checkpoints.save(report(step))
        checkpoints.flush()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def resumed(settings: RunSettings, *arguments: str) -> RunSettings:
    return load_settings(["--resume", "--name", settings.name, "--runs", settings.runs, *arguments]).settings


def refused(capsys: pytest.CaptureFixture[str], settings: RunSettings, *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        resumed(settings, *arguments)
    told = capsys.readouterr().err
    assert end.value.code == 2 and told.count("\n") == 1
    return told


# --- what is there stays ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings_file", ["there", "missing", "damaged"])
def test_a_resume_that_fails_deletes_and_changes_nothing(night: RunSettings, settings_file: str, capsys):
    folder = cut_off(night)
    (folder / "history.jsonl").write_text('{"step": 5}\n')
    if settings_file == "missing":
        (folder / RUN_SETTINGS).unlink()
    if settings_file == "damaged":
        (folder / RUN_SETTINGS).write_text("data: {")
    before = contents(folder)
    Path(night.data.dark[0]).rename(f"{night.data.dark[0]}-elsewhere")
    assert ended(night.model_copy(update={"resume": True})) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: data.dark: ") and told.count("\n") == 1
    assert contents(folder) == before


def test_a_new_run_never_takes_the_checkpoints_of_one_of_the_same_name(night: RunSettings, tmp_path: Path, capsys):
    there = night.model_copy(update={"checkpoints": str(tmp_path / "store")})
    cut_off(there)
    elsewhere = there.model_copy(update={"runs": str(tmp_path / "other")})  # as on another machine
    before = contents(tmp_path / "store")
    assert ended(elsewhere) == 2
    told = capsys.readouterr().err
    assert "holds the run night, which began on " in told
    assert "choose another --name, or continue it with --resume" in told and told.count("\n") == 1
    assert contents(tmp_path / "store") == before and not (tmp_path / "other" / "night").exists()


def test_a_folder_that_is_no_run_is_not_to_be_resumed(night: RunSettings, capsys):
    folder = Path(night.runs) / "night"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("mine")
    assert ended(night) == 2
    assert capsys.readouterr().err == f"error: name: {folder} exists; choose another --name\n"
    assert ended(night.model_copy(update={"resume": True})) == 2
    assert "holds no checkpoint" in capsys.readouterr().err and contents(folder) == {"thesis.txt": b"mine"}


@pytest.mark.parametrize("place", ["", "store"])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_run_stopped_before_its_first_checkpoint_leaves_its_name_free(
    night: RunSettings, tmp_path: Path, place: str, stop: type[BaseException], monkeypatch, capsys
):
    night = night.model_copy(update={"checkpoints": place and str(tmp_path / place)})

    def stopped(console: Console, *args: object) -> None:
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(training, "tell_photos", lambda photos, console: stopped(console))
        assert ended(night) == (130 if stop is KeyboardInterrupt else 143)
    told = capsys.readouterr().err
    assert told == "stopped; there was no checkpoint yet, and nothing is kept: the same command begins anew\n"
    assert not (Path(night.runs) / "night").exists() and not [*tmp_path.glob("store/*")]
    with run_folder(night) as folder:
        assert folder.is_dir()


def test_a_run_killed_before_its_first_checkpoint_can_be_resumed_from_the_beginning(night: RunSettings):
    folder = Path(night.runs) / "night"
    folder.mkdir(parents=True)
    begin(checkpoints_uri(night), "night")  # and then the power went
    with run_folder(night.model_copy(update={"resume": True})) as found:
        assert found == folder
    with pytest.raises(TrainingError, match="or continue it with --resume"), run_folder(night):
        pass


def test_sample_photos_of_a_run_that_goes_on_are_not_written_again(tmp_path: Path):
    samples = RunSettings(name="run", runs=str(tmp_path), data=DataSettings(samples=True))
    with run_folder(samples) as folder:
        first = training.with_sample_photos(samples, folder, Console(quiet=True))
        one = next(Path(first.data.dark[0]).iterdir())
        one.write_bytes(b"looked at and changed")
        assert training.with_sample_photos(samples, folder, Console(quiet=True)) == first
        assert one.read_bytes() == b"looked at and changed"


def test_a_model_whose_last_checkpoint_was_lost_is_not_taken_from_an_older_one(night: RunSettings):
    cut_off(night, step=5)
    with pytest.raises(TrainingError, match=r"the last step, 20, did not reach .*from 5 on again with .*--resume"):
        best_model(night, last_step=20)
    with pytest.raises(TrainingError, match="the last step, 20, did not reach"):
        best_model(night.model_copy(update={"name": "none"}), last_step=20)


# --- settings ---------------------------------------------------------------------------------------------------------


def test_a_resumed_run_has_the_settings_it_began_with(night: RunSettings):
    began = night.model_copy(update={"seed": 7, "batch": night.batch.model_copy(update={"enhancement": 12})})
    folder = cut_off(began)
    assert resumed(night) == began.model_copy(update={"resume": True})
    elsewhere = resumed(night, "--cluster.address", "10.0.0.7:6379", "--scaling.workers", "4", "--seed", "7")
    assert elsewhere.cluster.address == "10.0.0.7:6379" and elsewhere.scaling.workers == 4
    assert elsewhere.batch.enhancement == 12
    assert (folder / RUN_SETTINGS).read_text() == of_a_run(began)


def test_a_resumed_run_says_nothing_more_of_settings_without_effect(night: RunSettings):
    night = night.model_copy(update={"schedule": ScheduleSettings(rounds=1, refinement=PhaseLength(steps=7))})
    cut_off(night)
    arguments = ["--resume", "--name", night.name, "--runs", night.runs]
    assert load_settings(arguments).warnings == []
    given = load_settings([*arguments, "--schedule.refinement.steps", "7"]).warnings
    assert len(given) == 1 and "no effect while schedule.rounds is 1" in given[0]


def test_without_its_folder_a_resumed_run_has_the_settings_of_its_checkpoint(night: RunSettings, tmp_path: Path):
    folder = cut_off(night)
    (folder / RUN_SETTINGS).unlink()
    with pytest.raises(SystemExit):  # what `report` wrote holds none
        resumed(night)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--seed", "4"], "--resume: seed was 0 when the run night began, and cannot become 4; leave that out, or"),
        (["--enhancer.arch", "curves"], "enhancer.arch was retinex when the run night began"),
        (["--schedule.enhancement.steps", "9"], "schedule.enhancement.steps was"),
        (["--preset", "quickstart"], "when the run night began, and cannot become"),
        (["--scaling.workers", "3"], "cannot be shared equally by 3 workers"),
    ],
)
def test_a_resumed_run_refuses_what_would_make_another_of_it(night: RunSettings, arguments, told: str, capsys):
    folder = cut_off(night)
    before = contents(folder)
    assert told in refused(capsys, night, *arguments) and contents(folder) == before


def test_a_resumed_run_goes_on_with_its_list_of_sets_and_no_other(night: RunSettings, capsys):
    sets = (*night.data.dark, f"{night.runs}/dusk=2")
    weighted = night.data.model_copy(update={"dark": sets, "dark_weights": (3, 1), "validation_images": 3})
    night = night.model_copy(update={"data": weighted})
    cut_off(night)
    assert resumed(night, "--data.dark", *sets).data == weighted
    for changed in (sets[::-1], (sets[0], "dawn"), (*sets, "dawn", "--data.dark_weights", "3", "1", "1")):
        assert "data.dark was [" in refused(capsys, night, "--data.dark", *changed)
    told = refused(capsys, night, "--data.dark_weights", "1", "3")
    assert "data.dark_weights was [3, 1] when the run night began, and cannot become [1, 3]" in told


def test_damaged_settings_of_a_run_are_told_with_what_to_do(night: RunSettings, capsys):
    folder = cut_off(night)
    whole = (folder / RUN_SETTINGS).read_text()
    for damaged in (whole[: len(whole) // 2], "", "data: {", "\0"):
        (folder / RUN_SETTINGS).write_text(damaged)
        told = refused(capsys, night)
        assert str(folder / RUN_SETTINGS) in told and "mend it, or remove it: the checkpoints know" in told


def test_the_settings_of_a_run_repeat_it_under_another_name(night: RunSettings, tmp_path: Path, capsys):
    (tmp_path / "new.yaml").write_text(of_a_run(night))
    (tmp_path / "old.yaml").write_text("resume: true\n" + to_yaml(night))  # as a resumed run wrote it once
    for file, warned in (("new.yaml", False), ("old.yaml", True)):
        again = load_settings(["--config", str(tmp_path / file)]).settings
        assert again == night.model_copy(update={"name": ""})
        assert ("its name and resume are those of the run that wrote it" in capsys.readouterr().err) == warned
        named = load_settings(["--config", str(tmp_path / file), "--name", "day"]).settings
        assert named.name == "day" and not named.resume


# --- the record -------------------------------------------------------------------------------------------------------


def test_a_finished_record_stays_finished_and_one_that_is_gone_is_replaced(night: RunSettings, tmp_path: Path):
    tracking = TrackingSettings(uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    night = night.model_copy(update={"tracking": tracking})
    again, photos, said = night.model_copy(update={"resume": True}), PhotoSet("u", ("a",)), list[str]()
    sets, client = TrainingPhotos(photos, photos, photos, photos), MlflowClient(tracking.uri)

    def status(run_id: str) -> str:
        return client.get_run(run_id).info.status

    with pytest.raises(KeyboardInterrupt), tracked_run(night, sets, tmp_path) as first:
        raise KeyboardInterrupt
    assert status(first.run_id) == "KILLED"
    with tracked_run(again, sets, tmp_path, tell=said.append) as second:
        assert second == first and status(first.run_id) == "RUNNING"
    for end in (None, KeyboardInterrupt):
        try:
            with tracked_run(again, sets, tmp_path, tell=said.append) as third:
                assert third == first and status(first.run_id) == "FINISHED"
                if end:
                    raise end
        except KeyboardInterrupt:
            pass
        assert status(first.run_id) == "FINISHED"
    assert said == []
    for lost in ("deleted", "of another database", "nonsense", ""):
        if lost == "deleted":
            client.delete_run(first.run_id)
        else:
            (tmp_path / RUN_ID).write_text("0" * 32 if lost == "of another database" else lost)
        with tracked_run(again, sets, tmp_path, tell=said.append) as new:
            assert new.run_id != first.run_id and (tmp_path / RUN_ID).read_text().strip() == new.run_id
    assert len(said) == 4 and all("has no run of night to go on in; going on in a new one" in each for each in said)


def test_a_finished_run_is_left_alone(night: RunSettings, capsys):
    folder = cut_off(night)
    numbers = {"model": "models:/lle-enhancer/3", "mlflow_run_id": "0123", "seconds": 1.0, "images_per_second": 2.0}
    (folder / SUMMARY).write_text(json.dumps(numbers | {"data_wait_share": 0.1}))
    before = contents(folder)
    assert ended(night.model_copy(update={"resume": True})) == 0
    assert "night is finished, and stays as it is" in capsys.readouterr().out
    assert contents(folder) == before and MARK in "".join(before)
