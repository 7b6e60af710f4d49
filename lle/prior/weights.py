"""Where a CLIP's weights come from: a file, a folder, or open_clip's own name for them."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path

from lle.config import PriorSettings

WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
PROBE_SECONDS = 3.0
BUNDLED, UNTRAINED, IMAGENET = "bundled", "untrained", "imagenet"
GRADED, UNGRADED = "graded", "ungraded"
PACKAGED = (BUNDLED, UNTRAINED, IMAGENET, GRADED, UNGRADED)
GUIDANCE_WEIGHTS, IDENTITY_WEIGHTS = "prior.pretrained", "prior.identity_pretrained"


class PriorError(ValueError):
    """The prior cannot be had; the message says what is missing and the ways out."""


def check_prior(settings: PriorSettings) -> None:
    """Find the weights without loading them, so that a missing file is told before anything expensive starts.

    Raises:
        PriorError: within a few seconds.
    """
    for setting, (model, pretrained) in towers(settings).items():
        if model not in PACKAGED:
            find_weights(model, pretrained, setting)
    if settings.features == "vgg16":
        find_vgg16(settings.vgg16_weights)


def towers(settings: PriorSettings) -> dict[str, tuple[str, str]]:
    """Model and weights of each tower, by the setting that names the weights; one where it serves both jobs."""
    guidance = {GUIDANCE_WEIGHTS: (settings.model, settings.pretrained)}
    return guidance | ({IDENTITY_WEIGHTS: settings.identity} if settings.identity_model else {})


def model_setting(setting: str) -> str:
    """The setting that names the model of whose weights another one names."""
    return setting.replace("pretrained", "model")


def find_vgg16(weights: str) -> Path:
    """The file of VGG16's weights.

    Raises:
        PriorError: none named, or not there.
    """
    path = Path(os.path.expanduser(weights))  # noqa: PTH111  # Path's raises where nobody has a home
    if weights and path.is_file():
        return path
    what = f"{weights} is no file" if weights else "say where torchvision's VGG16 weights are"
    raise PriorError(
        f"prior.vgg16_weights: {what}; give a local file with --prior.vgg16_weights FILE, "
        "or take the tower's features with --prior.features tower"
    )


def find_weights(model: str, pretrained: str, setting: str = GUIDANCE_WEIGHTS) -> str | None:
    """What to pass open_clip as `pretrained`.

    Args:
        model: open_clip model name.
        pretrained: a weights file, a folder that holds one, or a name open_clip knows (`openai`, ...). The word
            `random` gives random weights, a control.
        setting: the setting that names them, for what the errors say.

    Returns:
        A path, or the name itself when its weights are in the cache or their host answers; None for `random`.

    Raises:
        PriorError: within a few seconds, when the weights cannot be had.
    """
    if pretrained == "random":
        return None
    if not pretrained:
        raise PriorError(f"{setting}: say which weights {model} should have (a file, a folder, or e.g. openai)")
    path = Path(os.path.expanduser(pretrained))  # noqa: PTH111
    if path.is_file():
        return str(path)
    if path.is_dir():
        return str(_weights_in(path, model, setting))
    if pretrained.endswith(WEIGHT_SUFFIXES) or "/" in pretrained:
        raise PriorError(f"{setting}: {pretrained} does not exist; {_ways_out(model, setting)}")
    return _named_weights(model, pretrained, setting)


def _weights_in(folder: Path, model: str, setting: str) -> Path:
    candidates = sorted(path for path in folder.iterdir() if path.suffix in WEIGHT_SUFFIXES)
    named = [path for path in candidates if path.stem == model]
    if len(named or candidates) == 1:
        return (named or candidates)[0]
    found = "none" if not candidates else ", ".join(path.name for path in candidates)
    raise PriorError(
        f"{setting}: {folder} should hold one weights file for {model}, named {model}.safetensors or "
        f"{model}.pt; found {found}"
    )


def _named_weights(model: str, name: str, setting: str) -> str:
    import open_clip
    from huggingface_hub import constants, try_to_load_from_cache

    if model not in open_clip.list_models():
        raise PriorError(
            f"{model_setting(setting)}: open_clip knows no model {model}; {_nearest(model, open_clip.list_models())}"
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    config = open_clip.get_pretrained_cfg(model, name)
    if not config:
        raise PriorError(f"{setting}: no weights {name!r} for {model}; open_clip names {', '.join(tags) or 'none'}")
    if hub := config.get("hf_hub"):
        repository, _, file = hub.rpartition("/")
        files = [file] if file else ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
        if any(isinstance(try_to_load_from_cache(repository, each), str) for each in files):
            return name
        address = constants.ENDPOINT
    else:
        address = config["url"]
        if Path(os.path.expanduser(f"~/.cache/clip/{address.rsplit('/', 1)[-1]}")).is_file():  # noqa: PTH111
            return name
    if not _answers(address):
        raise PriorError(
            f"{setting}: weights {name!r} of {model} are not on this machine and their host does not answer; "
            f"{_ways_out(model, setting)}"
        )
    return name


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _nearest(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else "see open_clip.list_models()"


def _ways_out(model: str, setting: str) -> str:
    return (
        f"give a local file of {model}'s weights with --{setting} FILE, or take the bundled prior with --prior bundled"
    )
