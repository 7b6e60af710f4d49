"""The life of a run as users see it: what is printed at its end works when pasted, and no run touches another."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipelines.tracking.history import HISTORY, read_history
from tests.integration.conftest import Training, Trainings, run, wait_for

pytestmark = pytest.mark.drill

SMALL = (
    *("--scaling.workers", "1", "--schedule.rounds", "1", "--schedule.prompt_init.steps", "4"),
    *("--schedule.reconstruction.steps", "2", "--data.validation_images", "2"),
)


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    return {
        str(file.relative_to(folder)): sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def pasted(trainings: Trainings, line: str) -> tuple[int, str]:
    """Exit status and output of a printed command, in the folder and environment it was printed in."""
    environment = trainings.cluster.environment | {"RAY_ADDRESS": trainings.cluster.address}
    done = run(["sh", "-c", f"cd {shlex.quote(str(trainings.runs))} && {line}"], environment)
    return done.returncode, done.stdout + done.stderr


def commands(output: str) -> list[str]:
    """Commands in an output, each as far as its line goes."""
    return re.findall(rf"{re.escape(sys.executable)} .*", output)


def fingerprint(training: Training) -> tuple[str, float]:
    return training.summary["hash"], training.summary["best_value"]


def test_a_finished_run_repeats_is_left_alone_and_its_next_commands_work(trainings: Trainings):
    first = trainings.start("first", *SMALL)
    assert first.wait() == 0, first.output[-4000:]
    record = commands(first.output)
    assert [re.search(r"(\w+)\.py|mlflow ui", each)[0] for each in record] == [
        "mlflow ui", "enhance.py", "evaluate.py", "promote.py",
    ]  # fmt: skip
    saved, report = re.findall(r"(?:saved in|report +) *(\S+)", first.output)[:2]
    assert (trainings.runs / saved / "model.safetensors").exists() and (trainings.runs / report).exists()
    for command in record[1:]:
        status, said = pasted(trainings, command)
        promoted = "promote.py" in command and re.search("not promoted|is champion", said)
        assert status == 0 or promoted, said[-3000:]
        assert "error:" not in said
    assert len([*(first.folder / "enhanced").glob("*.jpg")]) == len([*(first.folder / "photos" / "dark").iterdir()])

    settings = (first.folder / "settings.yaml").read_text()
    assert not re.search("^(name|resume):", settings, re.MULTILINE)
    repeat = [sys.executable, str(trainings.repository / "pipelines" / "train.py"), "--config"]
    status, said = pasted(trainings, shlex.join([*repeat, str(first.folder / "settings.yaml"), "--name", "second"]))
    assert status == 0, said[-4000:]
    second = Training(first.process, first.log, trainings.runs / "second")
    assert fingerprint(second) == fingerprint(first)

    before = contents(first.folder)
    client = MlflowClient(f"sqlite:///{trainings.runs / 'mlflow.db'}")
    again = trainings.start("first", "--resume", *SMALL)
    assert again.wait() == 0 and "first is finished, and stays as it is" in again.output
    changed = trainings.start("first", "--resume", *SMALL, "--optimiser.enhancer_lr", "1e-2")
    assert changed.wait() == 2 and "optimiser.enhancer_lr was 0.001 when the run first began" in changed.output
    taken = trainings.start("first", *SMALL)
    assert taken.wait() == 2 and "choose another --name, or continue it with --resume" in taken.output
    assert contents(first.folder) == before
    assert client.get_run(first.summary["mlflow_run_id"]).info.status == "FINISHED"


def test_a_run_that_hangs_up_goes_on_in_a_new_record_by_the_printed_command_and_loses_nothing(trainings: Trainings):
    early = trainings.start("night", *SMALL)
    early.wait_until("starting 1 workers")
    early.process.send_signal(signal.SIGINT)
    early.process.send_signal(signal.SIGTERM)  # who does not wait for a checkpoint has none
    assert early.wait() == 128 + signal.SIGINT
    assert "there was no checkpoint yet, and nothing is kept: the same command begins anew" in early.output
    assert not early.folder.exists() and "--resume" not in early.output

    night = trainings.start("night", *SMALL, "--schedule.enhancement.steps", "60")
    wait_for(lambda: len(read_history(night.folder / HISTORY)) > 8, 300, f"some steps; see {night.log}")
    night.process.send_signal(signal.SIGHUP)
    assert night.wait() == 128 + signal.SIGHUP, night.output[-3000:]
    [command] = commands(night.output)
    assert "stopped; continue with --resume --name night: " in night.output
    client = MlflowClient(f"sqlite:///{trainings.runs / 'mlflow.db'}")
    first_id = (night.folder / "mlflow_run_id").read_text().strip()
    assert client.get_run(first_id).info.status == "KILLED"

    checkpoints = contents(night.folder / "checkpoints")
    status, said = pasted(trainings, f"{command} --data.dark nowhere --data.well_lit day")
    assert status == 2 and "data.dark was '' when the run night began, and cannot become nowhere" in said
    (night.folder / "settings.yaml").write_text("data: {")
    status, said = pasted(trainings, command)
    assert status == 2 and "settings.yaml: not valid YAML" in said and said.count("\n") == 1
    (night.folder / "settings.yaml").unlink()  # as that sentence said
    assert contents(night.folder / "checkpoints") == checkpoints
    client.delete_run(first_id)

    status, said = pasted(trainings, command)
    assert status == 0, said[-4000:]
    assert "has no run of night to go on in; going on in a new one" in said and "continuing from step" in said
    summary = json.loads((night.folder / "summary.json").read_text())
    assert summary["steps"] == {"prompt_init": 4, "reconstruction": 2, "enhancement": 60}
    assert summary["mlflow_run_id"] != first_id
    assert client.get_run(summary["mlflow_run_id"]).info.status == "FINISHED"
    assert (night.folder / "settings.yaml").exists()
