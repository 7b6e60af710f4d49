"""A training from several sets: a folder of one's own beside prepared shards, stopped and resumed on other workers."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipelines.config.prepare import PrepareSettings
from pipelines.data.manifest import begin, finish
from pipelines.data.part import pending_parts, prepare_part
from pipelines.data.samples import QuickstartData, write_quickstart_data
from tests.integration.conftest import Trainings


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> QuickstartData:
    """Photos of installed packages; half of the dark ones in another folder, the others also in shards."""
    folder = tmp_path_factory.mktemp("photos")
    data = write_quickstart_data(folder / "photos", well_lit=12, dark=20, pairs=2)
    (folder / "mine").mkdir()
    for file in sorted(data.dark.iterdir())[:6]:
        file.rename(folder / "mine" / file.name)
    settings = PrepareSettings(input=str(data.dark), output=str(folder / "prepared"), similar_bits=0)
    begin(settings)
    for part in pending_parts(settings, []):
        prepare_part(settings, part)
    finish(settings)
    return data


@pytest.mark.drill
def test_a_training_from_a_folder_and_shards_goes_on_with_other_workers(
    trainings: Trainings, photos: QuickstartData, tmp_path: Path
):
    mine, prepared = (str(photos.dark.parent.parent / name) for name in ("mine", "prepared"))
    sets = ["--data.dark", mine, prepared, "--data.dark_weights", "3", "1", "--data.well_lit", str(photos.well_lit)]
    longer = ["--schedule.enhancement.steps", "40", "--loop.log_every", "1"]
    first = trainings.start("several", *sets, *longer)
    first.wait_until("enhancement  step")
    first.process.send_signal(signal.SIGINT)
    assert first.wait() == 130, first.output[-3000:]
    assert f"data.dark: 4 in {mine}, 12 in {prepared}" in first.output

    refused = trainings.start("several", *longer, "--resume", "--data.dark", prepared, mine)
    assert refused.wait() == 2 and "data.dark was [" in refused.output and "and cannot become [" in refused.output
    second = trainings.start("several", *sets, *longer, "--resume", "--scaling.workers", "1")
    assert second.wait() == 0, second.output[-3000:]
    assert "continuing from step" in second.output and "with 1 workers" in second.output
    assert second.summary["steps"]["enhancement"] == 80

    record = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").get_run(second.summary["mlflow_run_id"])
    names = {each.dataset.name for each in record.inputs.dataset_inputs}
    assert {"dark_1", "dark_2", "well_lit", "held_out_dark_1"} <= names
    assert record.data.tags["data.dark.count"] == "16" and record.data.params["data.dark_weights"] == "(3, 1)"
    assert record.data.params["data.well_lit"] == str(photos.well_lit)

    missing = trainings.start("gone", "--data.dark", mine, f"{mine}-gone", "--data.well_lit", str(photos.well_lit))
    assert missing.wait() == 2
    assert missing.output.strip().endswith(f"error: data.dark: {mine}-gone does not exist; check the path")
