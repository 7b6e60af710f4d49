"""Models in MLflow's registry: in with all that serving needs, out as the folder that `lle.load` reads."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import mlflow
import torch
from mlflow.models import Model as LoggedModel
from mlflow.store.artifact.utils.models import get_model_name_and_version
from mlflow.types import DataType, ParamSchema, ParamSpec

import lle
from cluster.redaction import redacted
from lle.dotted import package_of
from lle.enhancers import NETWORKS
from lle.exporting import ExportError, save_pt2
from lle.model import Model
from pipelines.config.train import RunSettings
from pipelines.models.named import ModelError
from pipelines.tracking.address import TrackingError
from pipelines.tracking.runs import TrackedRun, client_of, first_line, quieten, reachable

CARD = "MODEL_CARD.md"
SAVED = "artifacts/model"
"""Where a logged model keeps what `Model.save` writes; MLflow's own name for the artifact `model`."""
TRAINING_ONLY = ("losses", "metrics", "prior", "training")
NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
DESCRIPTION_LENGTH = 5_000  # characters that MLflow takes
PARAMETERS = ParamSchema([ParamSpec("strength", DataType.double, 1.0)])
NEEDS = ("numpy", "pillow", "pydantic", "safetensors")


def register(model: Model, run: TrackedRun, settings: RunSettings, card: str) -> str:
    """Log a model so that it can be served and loaded anywhere, and register it under the settings' name and alias.

    Args:
        model: the trained model, on the CPU.
        run: where it was trained.
        settings: name and alias of the registered model.
        card: what people must know of it, Markdown; kept beside the weights and, up to its
            settings, as the version's description.

    Returns:
        `models:/NAME/VERSION`, or the URI of the logged model where `tracking.register_model` is off.
    """
    quieten()
    mlflow.set_tracking_uri(reachable(run.uri))
    with tempfile.TemporaryDirectory() as name:
        folder = model.save(Path(name, "model"))
        (folder / CARD).write_text(card, encoding="utf-8")
        # Not in `start_run`, which would set a finished run RUNNING again.
        mlflow.set_experiment(experiment_id=run.client.get_run(run.run_id).info.experiment_id)
        info = LoggedModel.log(
            artifact_path=None, name="model", run_id=run.run_id, flavor=_PhotosAndProgram, model=model, folder=folder
        )
    if not settings.tracking.register_model:
        return str(info.model_uri)
    name, client = settings.tracking.model_name, run.client
    version = mlflow.register_model(info.model_uri, name, tags={"run": settings.name}).version
    client.update_model_version(name, version, card.partition("\n## Settings")[0][:DESCRIPTION_LENGTH])
    client.set_registered_model_alias(name, settings.tracking.alias, version)
    return f"models:/{name}/{version}"


def resolve_model(uri: str, tracking: str) -> str:
    """What a name that moves names now, `models:/NAME/VERSION` for an alias or `latest`; any other URI as it is.

    Args:
        uri: as for `fetch_model`.
        tracking: the tracking server or database.

    Raises:
        ModelError: there is no such model.
        TrackingError: nobody answers.
    """
    if not uri.startswith("models:/"):
        return uri
    quieten()
    try:
        found = get_model_name_and_version(client_of(tracking), uri)
    except Exception as error:
        raise _not_found(uri, tracking, error) from error
    return f"models:/{'/'.join(str(each) for each in found)}"


def fetch_model(uri: str, tracking: str, folder: str | Path) -> Path:
    """A registered or logged model as a folder for `lle.load`, its card included.

    Args:
        uri: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `models:/ID` or `runs:/ID/model`.
        tracking: the tracking server or database.
        folder: where the model goes, made if missing.

    Raises:
        ModelError: it is not there.
        TrackingError: nobody answers, or it was logged by others.
    """
    quieten()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as name:
            mlflow.set_tracking_uri(reachable(tracking))  # an argument does not reach the registry (MLflow 3.17)
            found = mlflow.artifacts.download_artifacts(f"{uri}/{SAVED}", dst_path=name)
            shutil.copytree(found, folder, dirs_exist_ok=True)
    except Exception as error:
        raise _not_found(uri, tracking, error) from error
    return folder


def _not_found(uri: str, tracking: str, error: Exception) -> ModelError | TrackingError:
    """What it means that MLflow did not give a model."""
    if getattr(error, "error_code", "") in NOT_THERE:
        return ModelError(f"model: {redacted(tracking)} has no {uri} ({first_line(error)})")
    return TrackingError(f"model: {uri} cannot be loaded from {redacted(tracking)} ({first_line(error)})")


class _PhotosAndProgram:
    """What `mlflow.models.Model.log` asks of a flavour; this one writes two into one model."""

    @staticmethod
    def save_model(path: str, mlflow_model: LoggedModel, model: Model, folder: Path) -> None:
        """Encoded photos in and out for pyfunc and its server (`served`), tensors for `mlflow.pytorch`.

        Args:
            path: folder that MLflow uploads.
            mlflow_model: what MLflow is told of it.
            model: the model.
            folder: the same as `Model.save` writes it, with its card.
        """
        with tempfile.TemporaryDirectory() as source:
            mlflow.pyfunc.save_model(
                path=path,
                mlflow_model=mlflow_model,
                python_model=str(Path(__file__).with_name("served.py")),
                artifacts={"model": str(folder)},
                code_paths=[str(each) for each in _sources(model, Path(source))],
                pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"mlflow=={mlflow.__version__}", *NEEDS],
            )
        assert mlflow_model.signature is not None  # found in the types of `predict`, which name no parameters
        mlflow_model.signature.params = PARAMETERS
        mlflow_model.save(str(Path(path, "MLmodel")))
        program = Path(path, "data")
        program.mkdir()
        with suppress(ExportError):  # an old torch: photos can be served all the same
            save_pt2(model, program / "model.pt2")
            mlflow_model.add_flavor("pytorch", model_data="data", pytorch_version=str(torch.__version__), code=None)
            mlflow_model.save(str(Path(path, "MLmodel")))


def _sources(model: Model, folder: Path) -> Iterator[Path]:
    """Copies of the source that serving needs: of `lle`, and of the package that holds a network from outside."""
    yield _source_of_lle(folder)
    arch = model.settings.arch
    package = None if arch in NETWORKS or arch.startswith("lle.") else package_of(arch)
    if package and package.is_dir():
        yield Path(shutil.copytree(package, folder / package.name, ignore=_all_but_python))
    elif package:
        yield Path(shutil.copy(package, folder))


def _all_but_python(folder: str, names: list[str]) -> list[str]:
    return [
        name
        for name in names
        if name.startswith((".", "__pycache__")) or not (name.endswith(".py") or Path(folder, name).is_dir())
    ]


def _source_of_lle(folder: Path) -> Path:
    """A copy of what `lle.load` needs of the package's source."""
    ignored = shutil.ignore_patterns("__pycache__", "assets", *TRAINING_ONLY)
    return Path(shutil.copytree(Path(lle.__file__).parent, folder / "lle", ignore=ignored))
