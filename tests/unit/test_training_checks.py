"""Mistakes that are told before anything expensive starts; no Ray here."""

from __future__ import annotations

import os
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import mlflow
import pytest
import torch
from PIL import Image
from rich.console import Console

from cluster.lease import held
from lle.config import DataSettings, EnhancerSettings
from lle.enhancers import build_enhancer
from lle.images import decode_picture, encode_picture
from lle.model import Model, load
from pipelines.config.loading import Loaded
from pipelines.config.train import RunSettings, ScalingSettings
from pipelines.job import run_job
from pipelines.models.registry import register
from pipelines.tracking.runs import TrackedRun, client_of, created_experiment
from pipelines.train import main
from pipelines.training import job as training


def ended(settings: RunSettings) -> int:
    """The exit status of a training."""
    return run_job(training.run, Loaded(settings, "none", {}), training.how_to_go_on)


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*args, **kwargs):
        pytest.fail("the cluster was started in spite of the mistake")

    monkeypatch.setattr(training, "connect", connect)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    for name, level in (("dark", 20), ("well_lit", 150)):
        (tmp_path / name).mkdir()
        for index in range(3):
            Image.new("RGB", (20 + index, 20), (level, level, level)).save(tmp_path / name / f"{index}.png")
    return {"dark": str(tmp_path / "dark"), "well_lit": str(tmp_path / "well_lit")}


def settings(tmp_path: Path, folders: dict[str, str], **others) -> RunSettings:
    data = DataSettings(**folders, validation_images=1)
    return RunSettings(name="run", runs=str(tmp_path / "runs"), data=data, **others)


def run_and_read(chosen: RunSettings, capsys: pytest.CaptureFixture[str], status: int = 2) -> str:
    assert ended(chosen) == status
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1
    return message


def test_a_missing_folder_ends_with_one_sentence_and_leaves_nothing(tmp_path: Path, folders, capsys):
    folders["dark"] += "-nowhere"
    assert "data.dark: " in run_and_read(settings(tmp_path, folders), capsys)
    assert not (tmp_path / "runs" / "run").exists()


def test_absent_weights_end_with_one_sentence_and_leave_nothing(tmp_path: Path, folders, capsys):
    prior = ["--prior.model", "ViT-B-32-quickgelu", "--prior.pretrained", str(tmp_path / "nowhere.pt")]
    photos = ["--data.dark", folders["dark"], "--data.well_lit", folders["well_lit"]]
    assert main([*photos, *prior, "--runs", str(tmp_path / "runs"), "--name", "run"]) == 2
    message = capsys.readouterr().err
    assert "nowhere.pt does not exist" in message and "--prior bundled" in message and message.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_run_that_exists_is_not_overwritten(tmp_path: Path, folders, capsys):
    (tmp_path / "runs" / "run").mkdir(parents=True)
    assert "choose another --name, or continue it with --resume" in run_and_read(settings(tmp_path, folders), capsys)


def test_resuming_what_is_not_there_is_refused(tmp_path: Path, folders, capsys):
    assert "holds no checkpoint" in run_and_read(settings(tmp_path, folders, resume=True), capsys)
    assert not (tmp_path / "runs").exists()


def test_a_run_that_another_driver_trains_is_resumed_by_nobody_else(tmp_path: Path, folders, capsys):
    run = tmp_path / "runs" / "run"
    (run / "checkpoints" / "step_00000001").mkdir(parents=True)
    (run / "settings.yaml").write_text("as it was")
    with held(str(run)):
        before = sorted(run.rglob("*"))
        said = run_and_read(settings(tmp_path, folders, resume=True), capsys, status=1)
        assert f"{run} is in use by process {os.getpid()} of " in said and sorted(run.rglob("*")) == before
    assert (run / "settings.yaml").read_text() == "as it was"


def test_drivers_that_share_only_their_checkpoints_know_of_each_other(tmp_path: Path, folders, capsys):
    store = str(tmp_path / "store")
    with held(f"{store}/run"):
        said = run_and_read(settings(tmp_path, folders, checkpoints=store), capsys, status=1)
    assert f"{store}/run is in use by process" in said
    assert not (tmp_path / "runs" / "run").exists() and not (tmp_path / "store").exists()


def test_a_full_disk_is_told_before_the_start(tmp_path: Path, folders, capsys, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**40, 2**40 - 2**20, 2**20))
    assert "has 1 MiB free" in run_and_read(settings(tmp_path, folders), capsys)
    assert not (tmp_path / "runs" / "run").exists()


def test_runs_that_cannot_be_made_are_told(tmp_path: Path, folders, capsys):
    (tmp_path / "runs").write_text("a file where the folder should be")
    assert "cannot be made" in run_and_read(settings(tmp_path, folders), capsys)


def test_workers_share_the_cluster_and_leave_room_for_decoding(tmp_path: Path, folders):
    chosen = settings(tmp_path, folders, scaling=ScalingSettings(workers=2))
    assert training.scaling_config(chosen, {"CPU": 2.0}).resources_per_worker == {"CPU": 0.5}
    assert training.scaling_config(chosen, {"CPU": 64.0}).resources_per_worker == {"CPU": 1.0}
    on_gpus = training.scaling_config(chosen, {"CPU": 64.0, "GPU": 2.0})
    assert on_gpus.use_gpu and not training.scaling_config(chosen, {"CPU": 64.0, "GPU": 1.0}).use_gpu


def test_workers_and_room_for_decoding_are_what_an_autoscaler_is_asked_for(tmp_path: Path, folders):
    chosen = settings(tmp_path, folders, scaling={"workers": 2, "gpu": "true", "cpus_per_worker": 3})
    assert training.wanted(chosen) == [{"CPU": 3, "GPU": 1}, {"CPU": 3, "GPU": 1}, {"CPU": 1}]
    plain = settings(tmp_path, folders, scaling={"workers": 1})
    assert training.wanted(plain) == [{"CPU": 1}, {"CPU": 1}]


def test_workers_that_do_not_fit_are_refused(tmp_path: Path, folders):
    scaling = ScalingSettings(workers=4, cpus_per_worker=1)
    with pytest.raises(training.TrainingError, match="4 workers do not fit the cluster's 4 CPUs"):
        training.scaling_config(settings(tmp_path, folders, scaling=scaling), {"CPU": 4.0})
    with pytest.raises(training.TrainingError, match=r"scaling\.gpu: 4 workers want a GPU each, the cluster has 1"):
        training.scaling_config(
            settings(tmp_path, folders, scaling=ScalingSettings(workers=4, gpu="true")), {"CPU": 9.0, "GPU": 1.0}
        )


def test_workers_that_are_too_large_for_each_machine_are_refused(tmp_path: Path, folders):
    two = training.scaling_config(settings(tmp_path, folders, scaling={"workers": 2, "cpus_per_worker": 3}), {"CPU": 8})
    training.refuse_too_large(two, [{"CPU": 4}, {"CPU": 4}])
    with pytest.raises(training.TrainingError, match=r"2 workers with 3 CPU each do not fit .* 2 CPU, 2 CPU, 4 CPU"):
        training.refuse_too_large(two, [{"CPU": 2}, {"CPU": 2}, {"memory": 9}, {"CPU": 4}])


def test_a_training_that_may_grow_begins_with_the_fewest_workers(tmp_path: Path, folders):
    scaling = {"workers": 4, "min_workers": 1, "cpus_per_worker": 1.5}
    begun = training.scaling_config(settings(tmp_path, folders, scaling=scaling), {"CPU": 2.0, "GPU": 1.0})
    assert begun.num_workers == (1, 4) and begun.use_gpu
    with pytest.raises(training.TrainingError, match=r"scaling\.min_workers: 2 workers do not fit"):
        training.scaling_config(settings(tmp_path, folders, scaling=scaling | {"min_workers": 2}), {"CPU": 2.0})


def test_sample_photos_are_written_into_the_run_where_no_folders_are_named(tmp_path: Path):
    chosen = RunSettings(name="run", runs=str(tmp_path), data=DataSettings(samples=True))
    with training.run_folder(chosen) as folder:
        filled = training.with_sample_photos(chosen, folder, Console(quiet=True))
        assert (
            Path(filled.data.dark[0]).is_relative_to(folder) and len(list(Path(filled.data.pairs_dark).iterdir())) >= 4
        )


def test_a_model_to_begin_with_must_be_there_and_of_the_same_network(tmp_path: Path, folders, capsys):
    message = run_and_read(settings(tmp_path, folders, init_from=str(tmp_path / "nowhere")), capsys)
    assert message.startswith("error: init_from: ") and "nowhere" in message
    message = run_and_read(settings(tmp_path, folders, init_from="bundled"), capsys)
    assert "init_from: bundled is another network than enhancer.arch" in message
    assert not (tmp_path / "runs" / "run").exists()


def test_the_weights_to_begin_with_are_the_models(tmp_path: Path, folders):
    chosen = settings(tmp_path, folders, init_from="bundled", enhancer={"arch": "scene"})
    found, expected = training.starting_weights(chosen), load("bundled").enhancer.state_dict()
    assert found is not None and found.keys() == expected.keys()
    assert all(torch.equal(found[name], each) for name, each in expected.items())


CURVES = EnhancerSettings(arch="curves")


def curves(seed: int = 5) -> Model:
    torch.manual_seed(seed)
    return Model(build_enhancer(CURVES), CURVES)


def begins_with(chosen: RunSettings, model: Model) -> bool:
    found = training.starting_weights(chosen) or {}
    expected = model.enhancer.state_dict()
    return found.keys() == expected.keys() and all(torch.equal(found[name], each) for name, each in expected.items())


def test_a_training_begins_with_the_model_of_a_folder(tmp_path: Path, folders):
    curves().save(tmp_path / "saved")
    for place in (str(tmp_path / "saved"), (tmp_path / "saved").as_uri()):
        assert begins_with(settings(tmp_path, folders, init_from=place, enhancer=CURVES), curves())
    assert not begins_with(settings(tmp_path, folders, init_from=place, enhancer=CURVES), curves(seed=6))


def test_a_training_begins_with_a_published_checkpoint(tmp_path: Path, folders):
    model, published = curves(), {}
    for name, weight in model.enhancer.state_dict().items():
        part, layer, rest = name.removeprefix("network.").split(".", 2)
        published[f"e_conv{int(layer) + (1 if part == 'ahead' else 5)}.{rest}"] = weight
    torch.save(published, tmp_path / "theirs.pth")
    place = f"published:pie={tmp_path / 'theirs.pth'}"
    assert begins_with(settings(tmp_path, folders, init_from=place, enhancer=CURVES), model)


def test_a_training_begins_with_the_champion_whichever_version_that_is(tmp_path: Path, folders, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path / "outside"))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "nets_of_a_user.py").write_text(
        "from lle.enhancers.curve_maps import CurveEnhancer\nclass Net(CurveEnhancer): ...\n"
    )
    own = EnhancerSettings(arch="nets_of_a_user:Net")
    torch.manual_seed(7)
    models = [curves(), Model(build_enhancer(own), own)]
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = client_of(uri)
    experiment = client.create_experiment("any", artifact_location=(tmp_path / "artifacts").as_uri())
    chosen = settings(tmp_path, folders, init_from="models:/warm@champion", tracking={"uri": uri, "model_name": "warm"})
    for number, model in enumerate(models, start=1):
        run = TrackedRun(uri, client.create_run(experiment).info.run_id)
        assert register(model, run, chosen, "# Card\n") == f"models:/warm/{number}"
    for number, model in enumerate(models, start=1):
        client.set_registered_model_alias("warm", "champion", str(number))
        assert begins_with(chosen.model_copy(update={"enhancer": model.settings}), model)
        assert not begins_with(chosen.model_copy(update={"enhancer": model.settings}), curves(seed=8))
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(sys, "path", [each for each in sys.path if each != str(tmp_path / "outside")])
        elsewhere.delitem(sys.modules, "nets_of_a_user")
        reason = "^init_from: models:/warm@champion: its network is not ours: enhancer.arch: nets_of_a_user cannot be"
        with pytest.raises(training.TrainingError, match=reason):
            training.starting_weights(chosen)
    served = mlflow.pyfunc.load_model("models:/warm/2")
    (png,) = served.predict([encode_picture(decode_picture(Path(folders["dark"], "0.png").read_bytes()))])
    assert decode_picture(png).pixels.shape == (20, 20, 3)
    assert (Path(served.unwrap_python_model()._model.enhancer.__class__.__module__).name) == "nets_of_a_user"


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ({"enhancer": {"arch": "not_there:Net"}}, "enhancer.arch: not_there cannot be imported (No module named"),
        ({"objective": {"own": ("not_there:term=1",)}}, "objective.own: not_there cannot be imported"),
        ({"optimiser": {"name": "torch.optim:LBFGS"}}, "optimiser.name: torch.optim:LBFGS cannot be used"),
    ],
)
def test_code_from_outside_that_cannot_be_used_is_told_before_anything_starts(
    tmp_path: Path, folders, capsys, others: dict[str, object], reason: str
):
    assert run_and_read(settings(tmp_path, folders, **others), capsys).startswith(f"error: {reason}")
    assert not (tmp_path / "runs").exists()


def test_two_jobs_that_begin_an_experiment_at_once_share_it(tmp_path: Path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    first, second = (created_experiment(client_of(uri), "lle", uri) for _ in range(2))
    assert first.experiment_id == second.experiment_id
    assert first.artifact_location == (tmp_path / "mlartifacts").as_uri()
