"""What docs/security.md promises of files, names and text from others, each with somebody who tries."""

from __future__ import annotations

import ast
import asyncio
import gzip
import io
import json
import logging
import os
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
import yaml
from mlflow.pyfunc import PythonModelContext
from PIL import Image
from pydantic import ValidationError
from rich.console import Console
from safetensors.torch import save
from starlette.requests import Request

from cluster.local import stack
from cluster.local.swift import Account, configure
from cluster.redaction import redacted
from cluster.storage import StorageError, inside, list_files, open_uri
from lle import images
from lle.config import DataSettings, EnhancerSettings
from lle.enhancers import build_enhancer
from lle.images import ImageError, encode, most_bytes
from lle.model import DESCRIPTION, WEIGHTS, Model, load
from lle.training import checkpoint as checkpoint_files
from lle.training.checkpoint import STATE, TENSORS, Checkpoint, CheckpointError, Progress
from lle.training.schedule import Phase, ScheduleState
from pipelines import demo
from pipelines.config.demo import DemoSettings
from pipelines.config.enhance import EnhanceSettings
from pipelines.config.evaluate import EvaluationSettings
from pipelines.config.files import SettingsError, read_tree
from pipelines.config.loading import load_settings, to_yaml
from pipelines.config.prepare import PrepareSettings
from pipelines.config.train import RunSettings, TrackingSettings
from pipelines.data.decoding import Decode
from pipelines.data.listing import DataError
from pipelines.data.manifest import begin, done_parts, finish
from pipelines.data.part import pending_parts, prepare_part
from pipelines.data.photo_sets import PhotoSet, list_photos, read_photo
from pipelines.data.pinned import PHOTOS, photos_of_run
from pipelines.data.streams import RayStream
from pipelines.data.training_photos import TrainingPhotos
from pipelines.evaluation.job import write_files
from pipelines.inference.demo import Refusal, listening, uploaded
from pipelines.inference.progress import Done, Entry
from pipelines.inference.work import Photo, find_work
from pipelines.inference.worker import Worker
from pipelines.models.named import NamedModel
from pipelines.models.resolve import find_model
from pipelines.models.served import MAX_PIXELS, PhotoServer
from pipelines.reporting.html_report import render
from pipelines.tracking.address import TrackingError, tracking_uri
from pipelines.tracking.runs import TrackedRun, reachable
from pipelines.training.card import model_card
from pipelines.training.closing import closing_lines
from pipelines.training.job import tell_photos
from pipelines.training.record import tracked_run
from pipelines.training.report import training_report
from pipelines.tuning.search_space import prepared, read_search

SECRET = "hunter2-correct-horse"
ESCAPES = ("../stolen.png", "a/../../stolen.png", "/stolen.png", "a\0/stolen.png")


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.file,)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file that exists once somebody's code was run."""
    file = tmp_path / "code_was_run"
    yield file
    assert not file.exists()


def payloads(canary: Path) -> list[bytes]:
    """Pickles that make the file, as torch, pickle and numpy write them."""
    found = [pickle.dumps(Touch(canary))]
    torch.save({"weight": Touch(canary)}, canary.with_name("payload"))
    found.append(canary.with_name("payload").read_bytes())
    np.save(canary.with_name("payload.npy"), np.array([Touch(canary)], dtype=object), allow_pickle=True)
    return [*found, canary.with_name("payload.npy").read_bytes()]


def sentence(error: object) -> str:
    text = str(error)
    assert text and "\n" not in text and len(text) < 1000
    return text


def test_the_payloads_would_work(tmp_path: Path):
    file = tmp_path / "made"
    for payload in payloads(file):
        (tmp_path / "payload").write_bytes(payload)
        for loader in (
            lambda path: pickle.loads(path.read_bytes()),
            lambda path: torch.load(path, weights_only=False),
            lambda path: np.load(path, allow_pickle=True),
        ):
            try:
                loader(tmp_path / "payload")
            except Exception:
                continue
        assert file.exists()
        file.unlink()
    yaml.unsafe_load(yaml_attacks(file)[0])
    assert file.exists()


# --- code in files ----------------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Model(build_enhancer(SMALL), SMALL).save(tmp_path / "model")


SMALL = EnhancerSettings(arch="compact", thumbnail_size=32, width=4)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("file", [WEIGHTS, DESCRIPTION])
def test_a_pickle_in_a_model_is_refused_and_not_run(model: Path, canary: Path, file: str, number: int):
    (model / file).write_bytes(payloads(canary)[number])
    with pytest.raises(ValueError, match="not a model saved by this project") as refused:
        load(model)
    sentence(refused.value)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("file", [TENSORS, STATE])
def test_a_pickle_in_a_checkpoint_is_refused_and_not_run_even_with_the_right_hash(
    tmp_path: Path, canary: Path, file: str, number: int
):
    folder, payload = tmp_path / "step_00000003", payloads(canary)[number]
    checkpoint_files.write(
        Checkpoint(Progress(ScheduleState(Phase.ENHANCEMENT, step=3)), {}, {"a": torch.zeros(1)}), folder
    )
    (folder / file).write_bytes(payload)
    if file == TENSORS:
        description = json.loads((folder / STATE).read_text())
        description["tensors_sha256"] = checkpoint_files._hash(folder / TENSORS)
        description["sha256"] = checkpoint_files._description_hash(description)
        (folder / STATE).write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match="not a readable checkpoint") as refused:
        checkpoint_files.read(folder)
    sentence(refused.value)


def yaml_attacks(canary: Path) -> list[str]:
    run = f"!!python/object/apply:os.mknod ['{canary}']"
    return [
        run,
        f"name: {run}",
        f"{run}: name",
        f"objective.contrast.weight: {run}",
        f"name: !!python/object/apply:os.system 'touch {canary}'",
        "name: !!python/name:os.system ''",
        "name: !local text",
    ]


@pytest.mark.parametrize("number", range(7))
def test_yaml_that_wants_to_run_code_is_refused_by_its_line(tmp_path: Path, canary: Path, number: int):
    file = tmp_path / "mine.yaml"
    file.write_text(f"# a comment\n{yaml_attacks(canary)[number]}\n")
    for reader in (read_tree, read_search):
        with pytest.raises(SettingsError, match=r"mine.yaml: line 2: .* is not read; give the plain value") as refused:
            reader(file)
        sentence(refused.value)


def test_a_search_or_a_sweep_cannot_run_code_either(tmp_path: Path, canary: Path):
    file = tmp_path / "search.yaml"
    file.write_text(f"enhancer.arch: choice(compact, !!python/object/apply:os.system [touch '{canary}'])")
    with pytest.raises(SettingsError, match="!!python/object/apply:os.system is not read"):
        read_search(file)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    sweep = tmp_path / "runs" / "mine" / "sweep.yaml"
    for content, reason in (
        (f"trials: !!python/object/apply:os.system ['touch {canary}']", "is not read"),
        ("- 1", "not as a sweep has written it"),
        ("trials: many", "not as a sweep has written it"),
    ):
        sweep.write_text(content)
        with pytest.raises(SettingsError, match=reason) as refused:
            prepared(["--resume", "--name", "mine", "--runs", str(tmp_path / "runs"), "--data.samples"])
        sentence(refused.value)


def test_yaml_that_unfolds_to_billions_or_nests_without_end_is_refused(tmp_path: Path):
    file = tmp_path / "bomb.yaml"
    doubled = [f"k{n}: &k{n} [*k{n - 1}, *k{n - 1}]" for n in range(1, 60)]
    file.write_text("\n".join(["k0: &k0 [x, x]", *doubled]))
    with pytest.raises(SettingsError, match=r"bomb.yaml: line 2: \*k0: write out what it stands for"):
        read_tree(file)
    file.write_text("seed: " + "[" * 100_000)
    with pytest.raises(SettingsError, match="bomb.yaml: nested too deeply") as refused:
        read_tree(file)
    sentence(refused.value)


def calls(tree: ast.AST) -> Iterator[tuple[str, dict[str, str], int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = {each.arg or "**": ast.unparse(each.value) for each in node.keywords}
            yield ast.unparse(node.func), given, node.lineno


FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "cloudpickle.load", "cloudpickle.loads", "joblib.load", "marshal.loads", "shelve.open", "dill.load",
    "yaml.full_load", "yaml.unsafe_load", "yaml.load_all", "subprocess.getoutput", "pandas.read_pickle",
    "torch.hub.load", "torch.jit.load", "torch.package.PackageImporter",
}  # fmt: skip


def dangers(source: str) -> list[str]:
    """Calls that run or may run what they are given."""
    found = []
    for name, given, line in calls(ast.parse(source)):
        if (
            name in FORBIDDEN
            or name.endswith(".load_model")
            or (name == "torch.load" and given.get("weights_only") != "True")
            or (name == "yaml.load" and "_TextLoader" not in source.splitlines()[line - 1])
            or given.get("shell", "False") != "False"
            or given.get("allow_pickle", "False") != "False"
        ):
            found.append(f"{line}: {name}")
    return found


def test_nothing_of_ours_runs_what_it_reads(repository: Path):
    files = [file for part in ("lle", "pipelines", "cluster") for file in sorted((repository / part).rglob("*.py"))]
    assert len(files) > 100
    assert {str(file): found for file in files if (found := dangers(file.read_text()))} == {}


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(p)", "torch.load(p, weights_only=False)", "torch.load(p, weights_only=flag)", "pickle.loads(x)",
        "np.load(p, allow_pickle=True)", "subprocess.run(x, shell=True)", "yaml.load(x, yaml.Loader)", "eval(x)",
        "os.system(x)", "mlflow.pyfunc.load_model(uri)", "flavour.load_model(uri)",
    ],
)  # fmt: skip
def test_the_guard_sees_what_it_guards_against(line: str):
    assert dangers(line)


@pytest.fixture
def registry(tmp_path: Path) -> str:
    """A database for MLflow with a folder for its files."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("attack", artifact_location=(tmp_path / "artifacts").as_uri())
    mlflow.set_experiment("attack")
    return uri


def test_a_registered_model_with_a_pickle_a_loader_and_code_of_its_own_gives_its_weights_and_runs_nothing(
    registry: str, model: Path, tmp_path: Path, canary: Path
):
    code = tmp_path / "code"
    (code / "evil").mkdir(parents=True)
    touch = f"from pathlib import Path\nPath({str(canary)!r}).touch()\n"
    (code / "evil" / "__init__.py").write_text(touch + "def _load_pyfunc(path):\n    return None\n")
    logged = tmp_path / "logged"
    shutil.copytree(model, logged / "artifacts" / "model")
    shutil.copytree(code, logged / "code")
    (logged / "code" / "sitecustomize.py").write_text(touch)
    (logged / "code" / "lle").mkdir()
    (logged / "code" / "lle" / "__init__.py").write_text(touch)
    (logged / "python_model.pkl").write_bytes(pickle.dumps(Touch(canary)))
    (logged / "artifacts" / "model" / "python_model.pkl").write_bytes(pickle.dumps(Touch(canary)))
    (logged / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: evil\n    code: code\n    python_model: python_model.pkl\n"
        "    python_version: 3.11.0\n"
    )
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(logged), "model")
    client = mlflow.MlflowClient(registry)
    client.create_registered_model("evil")
    client.create_model_version("evil", f"{run.info.artifact_uri}/model", run.info.run_id)
    client.set_registered_model_alias("evil", "champion", "1")
    for uri in ("models:/evil/1", "models:/evil@champion", f"runs:/{run.info.run_id}/model"):
        found = find_model(uri, registry).network
        assert isinstance(found, Model) and found.settings == SMALL


def test_a_registered_model_that_is_only_a_pickle_is_refused_and_not_run(registry: str, tmp_path: Path, canary: Path):
    logged = tmp_path / "logged"
    (logged / "artifacts").mkdir(parents=True)
    (logged / "python_model.pkl").write_bytes(pickle.dumps(Touch(canary)))
    (logged / "artifacts" / "model").write_bytes(pickle.dumps(Touch(canary)))
    (logged / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n    python_model: python_model.pkl\n"
    )
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(logged), "model")
    client = mlflow.MlflowClient(registry)
    client.create_registered_model("pickle")
    client.create_model_version("pickle", f"{run.info.artifact_uri}/model", run.info.run_id)
    with pytest.raises(TrackingError, match="model: models:/pickle/1 cannot be loaded from") as refused:
        find_model("models:/pickle/1", registry)
    sentence(refused.value)


# --- paths ------------------------------------------------------------------------------------------------------------


def picture(folder: Path, name: str = "a.png", level: int = 40, size: tuple[int, int] = (24, 24)) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, len(name))).save(file)
    return file


@pytest.mark.parametrize("name", ESCAPES)
def test_a_name_that_leads_out_of_its_folder_is_no_path(tmp_path: Path, name: str):
    for uri in (str(tmp_path), "s3://photos/dark"):
        filesystem, root = open_uri(uri)
        assert inside(filesystem, root, "a/b..c/..d.png") == f"{root}/a/b..c/..d.png"
        with pytest.raises(StorageError, match="leads out of its folder; rename the file") as refused:
            inside(filesystem, root, name)
        sentence(refused.value)


def test_a_link_that_leads_out_of_its_folder_is_no_path(tmp_path: Path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "out").symlink_to(tmp_path)
    (tmp_path / "set" / "in").symlink_to(tmp_path / "set")
    filesystem, root = open_uri(str(tmp_path / "set"))
    inside(filesystem, root, "in/a.png")
    with pytest.raises(StorageError, match="leads out of its folder"):
        inside(filesystem, root, "out/a.png")


@pytest.mark.parametrize("name", [*ESCAPES, "out/stolen.png"])
def test_no_photo_is_written_outside_the_output_whatever_its_key(tmp_path: Path, name: str):
    """Keys of an object store may hold `..`; so may what a report says."""
    output = tmp_path / "deep" / "output"
    (output).mkdir(parents=True)
    (output / "out").symlink_to(tmp_path)
    given = EnhanceSettings(model="baseline:input", input=str(tmp_path), output=str(output))
    source = picture(tmp_path / "in")
    worker = Worker(NamedModel("", "", torch.nn.Identity()), given)
    [entry] = worker.enhance([Photo(str(source), Entry(name, "1", "", name))])
    assert "leads out of its folder" in sentence(entry.failed)
    assert list(tmp_path.rglob("stolen*")) == [] and not Path("/stolen.png").exists()


@pytest.mark.parametrize("name", [*ESCAPES, "out/stolen.png"])
def test_an_evaluation_writes_nothing_outside_its_folder(tmp_path: Path, name: str):
    output = tmp_path / "deep" / "output"
    output.mkdir(parents=True)
    (output / "out").symlink_to(tmp_path)
    with pytest.raises(DataError, match="leads out of its folder"):
        write_files(str(output), {"metrics.json": b"{}", name: b"stolen"})
    assert not list(tmp_path.rglob("stolen*")) and (output / "metrics.json").exists()


@pytest.fixture
def prepared_set(tmp_path: Path) -> PrepareSettings:
    """Six photos in shards, divided by their light."""
    for index in range(6):
        picture(tmp_path / "input", f"{index}.png", 40 * index)
    given = PrepareSettings(
        input=str(tmp_path / "input"), output=str(tmp_path / "set"), short_side=32, split="statistics",
        dark_below=0.3, well_lit_from=0.5, similar_bits=0,
    )  # fmt: skip
    begin(given)
    for part in pending_parts(given, done_parts(given.output)):
        prepare_part(given, part)
    finish(given)
    return given


def tampered(given: PrepareSettings, group: str, **changes: object) -> str:
    """The set, or a group of it, with other values in every row of its manifest."""
    folder = Path(given.output, group)
    table = parquet.read_table(folder / "manifest.parquet")
    for name, value in changes.items():
        values = pa.array([value] * table.num_rows, table.schema.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), name, values)
    parquet.write_table(table, folder / "manifest.parquet")
    return str(folder)


@pytest.mark.parametrize("group", ["", "dark", "well_lit"])
def test_a_manifest_that_was_not_touched_is_read(prepared_set: PrepareSettings, group: str):
    folder = str(Path(prepared_set.output, group))
    photos = list_photos(folder, "data.dark", DataSettings())
    assert photos.paths
    assert all(read_photo(folder, path, 10**6).shape == (24, 24, 3) for path in photos.paths)


@pytest.mark.parametrize("group", ["", "dark"])
@pytest.mark.parametrize(
    "shard",
    [
        "../../private/shards/ab-0.parquet", "/private/ab-0.parquet", "shards/../../private.parquet", "s3://other/ab-0",
        "shards/ab-0.parquet\0", "file:///private/ab-0.parquet", "shards/../ab-0.parquet", "", None, "shards/ab-0.png",
        "shards/ab-0.parquet\n",
    ],
)  # fmt: skip
def test_a_manifest_cannot_name_a_shard_outside_its_set(prepared_set: PrepareSettings, group: str, shard: str | None):
    folder = tampered(prepared_set, group, shard=shard)
    with pytest.raises(DataError, match="data.dark: .* its manifest names .*, no shard of its own") as refused:
        list_photos(folder, "data.dark", DataSettings())
    sentence(refused.value)


def test_only_a_group_of_a_set_may_name_the_shards_beside_it(prepared_set: PrepareSettings):
    shard = next(Path(prepared_set.output, "shards").iterdir()).name
    folder = tampered(prepared_set, "", shard=f"../shards/{shard}")
    with pytest.raises(DataError, match="no shard of its own"):
        list_photos(folder, "data.dark", DataSettings())


def test_a_shard_that_is_a_link_out_of_its_set_is_refused(prepared_set: PrepareSettings, tmp_path: Path):
    shards = Path(prepared_set.output, "shards")
    shards.rename(tmp_path / "elsewhere")
    shards.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="leads out of its folder"):
        list_photos(prepared_set.output, "data.dark", DataSettings())


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "../../a.png"}, {"path": "/a.png"}, {"path": "a\0.png"}, {"path": ""}, {"path": None},
        {"offset": -1}, {"offset": None}, {"length": -1}, {"length": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_manifest_with_an_impossible_place_is_refused(prepared_set: PrepareSettings, changes: dict):
    folder = tampered(prepared_set, "", **changes)
    with pytest.raises(DataError, match="its manifest has no usable place for") as refused:
        list_photos(folder, "data.dark", DataSettings())
    sentence(refused.value)


def test_a_length_beyond_the_budget_is_refused_before_room_is_made_for_it(prepared_set: PrepareSettings):
    folder = tampered(prepared_set, "", length=2**50)
    path = list_photos(folder, "data.dark", DataSettings()).paths[0]
    with pytest.raises(ImageError, match="is over the limit of 24 MB"):
        read_photo(folder, path, 1_000_000)


def test_a_photo_named_like_a_place_in_a_shard_is_read_from_its_own_place(tmp_path: Path):
    name = "private.parquet@0+99/a.png"
    picture(tmp_path / "input", name, 77)
    given = PrepareSettings(input=str(tmp_path / "input"), output=str(tmp_path / "set"), format="png")
    begin(given)
    for part in pending_parts(given, done_parts(given.output)):
        prepare_part(given, part)
    finish(given)
    [path] = list_photos(given.output, "data.dark", DataSettings()).paths
    assert path.endswith(name) and (read_photo(given.output, path, 10**6)[..., 0] == 77).all()


def test_a_run_does_not_read_photos_elsewhere_that_its_list_was_made_to_name(tmp_path: Path):
    for name in ("dark", "well_lit", "private"):
        for index in range(3):
            picture(tmp_path / name, f"{index}.png", 60 * len(name) % 250 + index)
    data = DataSettings(dark=str(tmp_path / "dark"), well_lit=str(tmp_path / "well_lit"), validation_images=1)
    settings, run = RunSettings(name="run", data=data), tmp_path / "run"
    began, resumed = photos_of_run(settings, str(run)), settings.model_copy(update={"resume": True})
    assert photos_of_run(resumed, str(run)) == began
    content = json.loads(gzip.decompress((run / PHOTOS).read_bytes()))
    for change in (
        {"paths": [str(tmp_path / "private" / "0.png")]},
        {"paths": [str(tmp_path / "dark" / ".." / "private" / "0.png")]},
        {"paths": [str(tmp_path / "darkness" / "0.png")]},
        {"paths": ["relative.png"]},
        {"paths": [7]},
        {"uri": str(tmp_path / "private"), "paths": [str(tmp_path / "private" / "0.png")]},
        {"uri": "s3://elsewhere"},
    ):
        forged = content | {"sets": content["sets"] | {"dark": content["sets"]["dark"] | change}}
        (run / PHOTOS).write_bytes(gzip.compress(json.dumps(forged).encode()))
        with pytest.raises(DataError, match="begin another|begin another run") as refused:
            photos_of_run(resumed, str(run))
        sentence(refused.value)


# --- names that are also something else -------------------------------------------------------------------------------


def test_a_bad_photo_with_lines_and_tabs_in_its_name_is_told_and_stops_nothing(tmp_path: Path):
    good = picture(tmp_path, "a.png")
    bad = tmp_path / "b\nc\td\u2028e.png"
    bad.write_bytes(b"rubbish")
    photos, told = PhotoSet(str(tmp_path), (str(bad), str(good))), list[tuple[str, str]]()
    decode = Decode(photos, 16, 0, 0, 1, 1, 10**6)
    batch = next(decode.batches())
    refused = {tuple(each) for row in batch["refused"] if row for each in json.loads(row)}
    assert {path for path, _ in refused} == {str(bad)}
    stream = object.__new__(RayStream)
    stream._on_refusal = lambda path, reason: told.append((path, reason))
    stream._tell(batch)
    assert set(told) == refused


def test_names_that_look_like_markup_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    name = "[/bold] [link=http://evil.example]photo[/link].jpg"
    photos = PhotoSet("u", ("a",), {name: "bad [/]"})
    console = Console(soft_wrap=True, highlight=False, markup=False)
    tell_photos(TrainingPhotos(photos, photos, photos, photos), console)
    assert f"skipped: {name}: bad [/]" in capsys.readouterr().out


def test_every_console_prints_names_as_they_are(repository: Path):
    made = [
        (file.name, given)
        for file in sorted((repository / "pipelines").rglob("*.py"))
        for name, given, _ in calls(ast.parse(file.read_text()))
        if name == "Console"
    ]
    assert len(made) > 5 and [name for name, given in made if given.get("markup") != "False"] == []


def test_an_enhanced_photo_in_the_folder_of_notes_does_not_break_the_next_run(tmp_path: Path):
    picture(tmp_path / "in", "report.parts/a.png")
    given = EnhanceSettings(model="baseline:input", input=str(tmp_path / "in"), output=str(tmp_path / "out"))
    list(Worker(NamedModel("", "", torch.nn.Identity()), given).enhance(find_work(given, "", Done(given.output))[0]))
    assert (tmp_path / "out" / "report.parts" / "a.png").exists()
    Done(given.output)


# --- budgets ----------------------------------------------------------------------------------------------------------


def bomb(width: int = 50_000, height: int = 50_000) -> bytes:
    """The beginning of a PNG of so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10**6)))


@pytest.fixture
def nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test in which Pillow begins to decode."""

    def load(self: Image.Image, *given: object) -> None:
        pytest.fail("pixels were decoded before their number was looked at")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)


def test_the_watch_over_decoding_works(nothing_is_decoded: None):
    with pytest.raises(pytest.fail.Exception, match="pixels were decoded"):
        Image.open(io.BytesIO(encode(np.zeros((4, 4, 3), np.uint8)))).load()


OVER = "50000 x 50000 pixels are over the limit"


def test_a_bomb_is_refused_from_its_header_by_every_reader(tmp_path: Path, nothing_is_decoded: None):
    (tmp_path / "bomb.png").write_bytes(bomb())
    readers: list[Callable[[], object]] = [
        lambda: images.decode(bomb()),
        lambda: images.decode_picture(bomb()),
        lambda: images.read(tmp_path / "bomb.png"),
        lambda: read_photo(str(tmp_path), str(tmp_path / "bomb.png"), 80_000_000),
        lambda: Model(build_enhancer(SMALL), SMALL).enhance(tmp_path / "bomb.png"),
    ]
    for reader in readers:
        with pytest.raises(ImageError, match=OVER):
            reader()


def test_a_bomb_that_pillow_was_told_to_open_is_refused_too(tmp_path: Path, monkeypatch, nothing_is_decoded: None):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (tmp_path / "bomb.png").write_bytes(bomb())
    with (
        Image.open(tmp_path / "bomb.png") as opened,
        pytest.raises(ImageError, match=rf"bomb.png: {OVER} of 80000000"),
    ):
        Model(build_enhancer(SMALL), SMALL).enhance(opened)


def test_training_enhancing_and_preparing_set_a_bomb_aside(tmp_path: Path, nothing_is_decoded: None):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bomb.png").write_bytes(bomb())
    with pytest.raises(DataError, match=OVER):
        list_photos(str(tmp_path / "in"), "data.dark", DataSettings())
    given = EnhanceSettings(model="baseline:input", input=str(tmp_path / "in"), output=str(tmp_path / "out"))
    worker = Worker(NamedModel("", "", torch.nn.Identity()), given)
    [entry] = worker.enhance(find_work(given, "", Done(given.output))[0])
    assert OVER in entry.failed
    settings = PrepareSettings(input=given.input[0], output=str(tmp_path / "set"))
    begin(settings)
    [part] = pending_parts(settings, [])
    assert prepare_part(settings, part).kept == 0


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A file called a picture, of 1 TB that take no room on the disk."""
    file = tmp_path / "endless" / "endless.jpg"
    file.parent.mkdir()
    file.write_bytes(b"\xff\xd8\xff")
    os.truncate(file, 10**12)
    return file


def test_a_file_without_end_is_not_read_into_memory(endless: Path):
    budget = 100_000
    uri, limit = str(endless.parent), f"{most_bytes(budget) / 1e6:.0f}"
    with pytest.raises(ImageError, match=f"is over the limit of {limit} MB"):
        read_photo(uri, str(endless), budget)
    with pytest.raises(DataError, match=f"is over the limit of {limit} MB"):
        list_photos(uri, "data.dark", DataSettings(max_pixels=budget))
    given = EnhanceSettings(model="baseline:input", input=uri, output=f"{uri}-out", max_pixels=budget)
    worker = Worker(NamedModel("", "", torch.nn.Identity()), given)
    [entry] = worker.enhance(find_work(given, "", Done(given.output))[0])
    assert f"is over the limit of {limit} MB" in entry.failed


def test_a_file_that_grows_after_it_was_listed_is_not_read_into_memory(endless: Path, tmp_path: Path):
    settings = PrepareSettings(input=str(endless.parent), output=str(tmp_path / "set"), max_megabytes=2)
    begin(settings)
    [[listed]] = pending_parts(settings, [])
    prepared = prepare_part(settings, [replace(listed, size=3)])
    assert list(prepared.refused) == ["is over the limit of N MB"]


def test_a_file_on_this_machine_is_read_up_to_the_budget_only(endless: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(import_module("lle.images.decode"), "MAX_PIXELS", 100_000)  # not the function of its name
    with pytest.raises(ImageError, match="endless.jpg: is over the limit of 17 MB"):
        Model(build_enhancer(SMALL), SMALL).enhance(endless)


def served(model: Path):
    server = PhotoServer()
    server.load_context(PythonModelContext({"model": str(model)}, {}))
    return server


def test_a_served_model_looks_at_all_headers_before_it_decodes_one(model: Path, nothing_is_decoded: None):
    server, half = served(model), bomb(10_000, 8_000)
    for photos, reason in (
        ([bomb()], f"photo 1: {OVER}"),
        ([half, bomb()], f"photo 2: {OVER}"),
        ([half, half], "photos: 160000000 pixels in all are over the limit of 150000000; send fewer at once"),
        ([bytes(most_bytes(MAX_PIXELS) + 1)], "photos: are over the limit of 1216 MB; send fewer at once"),
    ):
        with pytest.raises(mlflow.exceptions.MlflowException) as refused:
            server.predict(photos)
        assert sentence(refused.value).startswith(reason) and refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_served_model_enhances_what_fits(model: Path):
    photo = encode(np.full((20, 30, 3), 40, np.uint8))
    assert [images.decode(each).shape for each in served(model).predict([photo, photo])] == [(20, 30, 3)] * 2


def test_the_page_holds_no_more_of_an_upload_than_its_limit():
    sent = 0

    async def receive() -> dict[str, object]:
        nonlocal sent
        sent += 100_000
        return {"type": "http.request", "body": bytes(100_000), "more_body": True}

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    with pytest.raises(Refusal, match="is over the limit of 1 MB"):
        asyncio.run(uploaded(request, 1))
    assert sent <= 1_100_000


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        f"http://me:{SECRET}@mlflow.example", f"https://{SECRET}@mlflow.example:5000/path",
        f"postgresql://me:{SECRET}@db/mlflow", f"mysql+pymysql://db/mlflow?user=me&password={SECRET}",
        f"http://me:with@{SECRET}@mlflow.example",
    ],
)  # fmt: skip
def test_a_password_cannot_become_a_setting_and_is_not_shown(uri: str, capsys: pytest.CaptureFixture[str]):
    for make in (
        lambda: TrackingSettings(uri=uri),
        lambda: DemoSettings(tracking={"uri": uri}),
        lambda: EvaluationSettings(model="bundled", output="o", data={"good": "g"}, tracking={"uri": uri}),
    ):
        with pytest.raises(ValidationError, match="holds a password, which every record of the run would repeat"):
            make()
    for command in (lambda: load_settings(["--tracking.uri", uri]), lambda: demo.main(["--tracking.uri", uri])):
        with pytest.raises(SystemExit):
            command()
        said = capsys.readouterr().err
        assert "export MLFLOW_TRACKING_USERNAME" in sentence(said.strip()) and SECRET not in said
    assert SECRET not in redacted(f"MLflow at {uri} is gone")


@pytest.mark.parametrize(
    "uri", ["sqlite:////data/a@b/mlflow.db", "http://mlflow.example:5000", "postgresql://me@db/mlflow", "runs", ""]
)
def test_an_address_without_a_password_is_a_setting_and_is_shown_whole(uri: str):
    assert TrackingSettings(uri=uri).uri == uri
    assert redacted(uri) == uri.replace("me@", "...@")


def test_a_password_of_the_environment_is_in_no_error_no_log_and_no_closing_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog
):
    uri = f"http://me:{SECRET}@127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    photos = PhotoSet("u", ("a",))
    settings = RunSettings(name="run", data=DataSettings(samples=True))
    said = list[str]()
    with caplog.at_level(logging.DEBUG):
        with (
            pytest.raises(TrackingError) as refused,
            tracked_run(settings, TrainingPhotos(photos, photos, photos, photos), tmp_path),
        ):
            pass
        said.append(sentence(refused.value))
        with pytest.raises(TrackingError) as refused:
            find_model("models:/a@champion", uri)
        said.append(sentence(refused.value))
    summary = {"model": "models:/a/1", "seconds": 1.0, "images_per_second": 1.0, "data_wait_share": 0.0}
    said.append(closing_lines(settings, TrackedRun(uri, "1"), tmp_path, summary))
    assert all("127.0.0.1:9" in each for each in said)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("pipelines", "cluster", "lle"))]
    assert SECRET not in "".join([*said, *ours, *capsys.readouterr()])


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        (f"http://me:{SECRET}@host:5000/path", "http://host:5000/path"),
        (f"https://{SECRET}@host", "https://host"),
        (f"postgresql+psycopg2://me:{SECRET}@db:5432/mlflow?sslmode=require", "postgresql+psycopg2://me@db:5432/mlflow?sslmode=require"),
        (f"mysql://db/mlflow?user=me&password={SECRET}&charset=utf8", "mysql://db/mlflow?user=me&charset=utf8"),
        ("sqlite:////data/a@b:c@d/mlflow.db", "sqlite:////data/a@b:c@d/mlflow.db"),
    ],
)  # fmt: skip
def test_a_password_of_the_environment_is_used_and_not_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, kept: str
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", told)
    run = TrackedRun(tracking_uri("", "runs"), "1")
    assert run.uri == kept and SECRET not in repr(run) + pickle.dumps(run).decode("latin-1")
    assert reachable(run.uri) == told and reachable("http://another:5000") == "http://another:5000"
    assert TrackingSettings(uri=run.uri).uri == kept  # as the settings of a trial name it


def test_keys_in_the_address_of_a_bucket_are_refused_and_not_repeated():
    for key in ("AKIDEXAMPLE:abc/def", "AKIDEXAMPLE:abcdef"):
        with pytest.raises(StorageError, match="keys do not belong into a URI") as refused:
            list(list_files(f"s3://{key}@photos/dark"))
        assert "abc" not in sentence(refused.value)
        with pytest.raises(DataError) as told:
            list_photos(f"s3://{key}@photos/dark", "data.dark", DataSettings())
        assert "abc" not in sentence(told.value)


def test_no_key_of_the_environment_is_in_what_a_run_leaves_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Settings, card, checkpoint, report and MLflow's record are made from the settings alone."""
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", SECRET)
    for index in range(3):
        for name in ("dark", "well_lit"):
            picture(tmp_path / name, f"{index}.png", 30 + 90 * (name == "dark") + index)
    data = DataSettings(dark=str(tmp_path / "dark"), well_lit=str(tmp_path / "well_lit"), validation_images=1)
    tracking = TrackingSettings(uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    settings = RunSettings(name="run", data=data, enhancer=SMALL, tracking=tracking)
    run = tmp_path / "run"
    run.mkdir()
    photos = photos_of_run(settings, str(run))
    with tracked_run(settings, photos, run) as tracked:
        (run / "settings.yaml").write_text(to_yaml(settings))
        checkpoint = Checkpoint(Progress(ScheduleState(Phase.ENHANCEMENT, step=3)), settings.model_dump(), {})
        checkpoint_files.write(checkpoint, run / "checkpoint")
        enhancer = Model(build_enhancer(SMALL), SMALL)
        (run / "card.md").write_text(model_card(settings, photos, enhancer, [], tracked.run_id))
        summary = {"seconds": 1.0, "best_step": 1, "best_value": 0.5, "metric": "feature_gap", "finished": True,
                   "steps": {"enhancement": 3}, "images_per_second": 2.0, "data_wait_share": 0.1, "model": "m",
                   "mlflow_run_id": "1", "worker_restarts": 0, "steps_lost": 0, "skipped": 0}  # fmt: skip
        (run / "report.html").write_bytes(render(training_report(settings, summary, [], [], [])))
    left = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {"mlflow.db", "card.md", "report.html", STATE, PHOTOS} <= {file.name for file in left}
    assert [file for file in left if SECRET.encode() in file.read_bytes()] == []


# --- servers ----------------------------------------------------------------------------------------------------------


def test_the_page_listens_on_loopback_only():
    with listening(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_the_servers_of_the_stack_are_told_to_listen_on_loopback_only(tmp_path: Path):
    state = stack.State(ports={name: 20_000 + number for number, name in enumerate(sorted(stack.NAMES))})
    command = list(stack._mlflow(state))
    assert command[command.index("--host") + 1] == "127.0.0.1"
    configure(tmp_path / "swift", Account("a", "b", {"lle:writer": ("key", ".admin")}), state.ports)
    told = [
        line.strip()
        for file in (tmp_path / "swift").rglob("*.conf")
        for line in file.read_text().splitlines()
        if line.startswith("bind_ip")
    ]
    assert len(told) == 4 and {line.partition("=")[2].strip() for line in told} == {"127.0.0.1"}


def test_a_manifest_of_bytes_that_are_none_is_refused(tmp_path: Path, canary: Path):
    for payload in [*payloads(canary), b"", b"PAR1", b"PAR1" * 100, save({"a": torch.zeros(2)})]:
        (tmp_path / "manifest.parquet").write_bytes(payload)
        with pytest.raises(DataError, match="data.dark: ") as refused:
            list_photos(str(tmp_path), "data.dark", DataSettings())
        sentence(refused.value)
