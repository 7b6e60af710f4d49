"""A model by its URI: registered, logged, saved, published by others, or a baseline that learns nothing.

| URI | what it names |
|---|---|
| `models:/NAME@ALIAS`, `models:/NAME/VERSION` | a registered model of MLflow |
| `runs:/ID` | the model that a run of MLflow has logged |
| a folder; `bundled`, `dehaze`, `derain` | what `Model.save` has written; the models that ship with the package |
| `published:NAME=FILE` | a checkpoint of `lle.enhancers.published`; `zero-dce++/12` looks at a copy 12 times smaller |
| `baseline:NAME`, `baseline:NAME=TARGET`, each also with `+denoise` | a function of `lle.baselines`, or `input` |
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from tempfile import TemporaryDirectory

from torch import Tensor, nn

from cluster.storage import StorageError, local_path
from lle.baselines import (
    auto_exposure,
    auto_gain,
    auto_gamma,
    dark_channel,
    denoise,
    exposure_shoulder,
    exposure_shoulder_lift,
)
from lle.enhancers import Enhancer
from lle.enhancers.published import load_published
from lle.model import SHIPPED, load
from pipelines.config.text import warn
from pipelines.models.named import ModelError, NamedModel

BASELINES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "auto-gain": auto_gain,
    "auto-gamma": auto_gamma,
    "auto-exposure": auto_exposure,
    "exposure-shoulder": exposure_shoulder,
    "exposure-shoulder-lift": exposure_shoulder_lift,
    "dark-channel": dark_channel,
}
DENOISE = "+denoise"


def find_model(uri: str, tracking: str) -> NamedModel:
    """The model of a URI, in evaluation mode on the CPU.

    Args:
        uri: one of the forms above.
        tracking: the MLflow server or database for `models:/` and `runs:/`.

    Raises:
        ModelError: nothing like it is there.
        TrackingError: MLflow does not have it.
    """
    kind, colon, rest = uri.partition(":")
    if kind in ("models", "runs") and rest.startswith("/"):
        from pipelines.models.registry import fetch_model, resolve_model

        logged = f"{uri}/model" if kind == "runs" and "/" not in rest.removeprefix("/") else uri
        found_at = resolve_model(logged, tracking)
        with TemporaryDirectory() as folder:
            fetched = fetch_model(found_at, tracking, folder)
            try:
                return NamedModel(uri, uri, load(fetched), found_at)
            except ValueError as error:
                raise ModelError(f"model: {str(error).replace(folder, uri)}") from error
    if kind == "published":
        return _published(uri, rest)
    if kind == "control":
        warn(f"model: {uri} is called baseline:{rest} now; the next version knows only that")
    if kind in ("baseline", "control"):
        return _baseline(uri, rest)
    if colon and "/" not in kind and kind != "file" and len(kind) > 1 and not _exists(uri):
        raise ModelError(
            f"model: {uri} is of no known kind; give models:/NAME@ALIAS, runs:/ID, published:NAME=FILE, baseline:NAME, "
            "or the folder of a saved model"
        )
    try:
        if uri in SHIPPED:
            return NamedModel(uri, uri, load(uri))
        folder = local_path(uri)
        return NamedModel(uri, os.path.basename(os.path.realpath(folder)), load(folder))
    except ValueError as error:
        raise ModelError(f"model: {error}") from error


def find_models(given: Sequence[str], tracking: str) -> dict[str, NamedModel]:
    """Several models by what they are called: `NAME=URI` names one, others have their own name, or where two have the
    same, their URI.

    Raises:
        ModelError, TrackingError: one is not there, or two are called or are the same.
    """
    named = [_named(each) for each in given]
    try:
        models = [find_model(uri, tracking) for _, uri in named]
    except ModelError as error:
        raise ModelError(f"models: {str(error).removeprefix('model: ')}") from error
    alike = Counter(model.name for model in models)
    found, whose = dict[str, NamedModel](), dict[str, str]()
    for (name, uri), model in zip(named, models, strict=True):
        label = name or (model.name if alike[model.name] == 1 else uri)
        if label in found:
            raise ModelError(f"models: two are called {label}; name them, as in first={uri}")
        if same := whose.get(model.version):
            raise ModelError(f"models: {same} and {label} are the same model; leave one out")
        found[label], whose[model.version] = model, label
    return found


def _named(given: str) -> tuple[str, str]:
    """Name and URI of `NAME=URI`; a URI alone has no name."""
    name, equals, uri = given.partition("=")
    return (name, uri) if equals and name and uri and not re.search("[:/@]", name) else ("", given)


def _exists(path: str) -> bool:
    """Whether a folder is called so, such as `a:b`; a name that none can have names none."""
    try:
        return os.path.exists(local_path(path))  # noqa: PTH110  # Path.exists raises for a name that is too long
    except StorageError:
        return False


class EnhancerPictures(nn.Module):
    """An enhancer's pictures without its maps."""

    def __init__(self, enhancer: Enhancer) -> None:
        super().__init__()
        self.enhancer = enhancer

    def forward(self, image: Tensor) -> Tensor:
        return self.enhancer.picture(image)


class Baseline(nn.Module):
    """A baseline as a module without weights.

    Args:
        name: `input` or one of `BASELINES`.
        target: mean it aims at, or the share of haze it takes away; None: its own default.
        denoised: whether `denoise` follows.
    """

    def __init__(self, name: str, target: float | None, denoised: bool) -> None:
        super().__init__()
        self.name, self.target, self.denoised = name, target, denoised

    def forward(self, image: Tensor) -> Tensor:
        if self.name != "input":
            image = BASELINES[self.name](image, *([] if self.target is None else [self.target]))
        return denoise(image) if self.denoised else image


def _published(uri: str, rest: str) -> NamedModel:
    name, equals, path = rest.partition("=")
    network, _, scale = name.partition("/")
    if not (equals and path) or (scale and not (network == "zero-dce++" and re.fullmatch("[1-9][0-9]?", scale))):
        raise ModelError(
            f"model: {uri} is not of the form published:NAME=FILE (only zero-dce++ takes a scale, NAME/12)"
        )
    try:
        file = local_path(path)
        return NamedModel(uri, name, EnhancerPictures(load_published(network, file, scale=int(scale or 1))).eval())
    except ValueError as error:
        raise ModelError(f"model: {error}") from error


def _baseline(uri: str, rest: str) -> NamedModel:
    name, equals, target = rest.removesuffix(DENOISE).partition("=")
    if name not in ("input", *BASELINES):
        raise ModelError(f"model: {uri} is no baseline; choose from {', '.join(('input', *BASELINES))}")
    if equals and (name == "input" or not re.fullmatch(r"0?\.[0-9]*[1-9][0-9]*", target)):
        raise ModelError(
            f"model: {uri}: a target is a mean, or a share of haze, between 0 and 1, for {', '.join(BASELINES)}"
        )
    network = Baseline(name, float(target) if equals else None, rest.endswith(DENOISE))
    return NamedModel(uri, rest, network.eval())
