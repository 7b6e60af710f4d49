"""The bundled prior: a small CLIP that knows only light, in the package itself (see assets/MODEL_CARD.md).

It has the layout of any open_clip model, so whatever works on the OpenAI weights works on it: `encode_image`,
`encode_text`, prompts as parameters, intermediate features.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from open_clip.model import CLIP

ASSETS = Path(__file__).parent / "assets"
CONFIG_FILE = ASSETS / "light_prior.json"
WEIGHTS_FILE = ASSETS / "light_prior.safetensors"


def load_bundled(trained: bool = True) -> tuple[CLIP, dict[str, Any]]:
    """The bundled prior, ready for use: eval mode, float32, on the CPU, gradients switched off for its parameters.

    Args:
        trained: False: the same network with random weights, always the same ones; the control that shows what a term
            owes to what the prior has learned.

    Returns:
        The model, and how its images are prepared: `size` (112, pixels a side), `mean` and `std` (three each, of RGB
        in [0, 1]), `interpolation` ("bilinear", antialiased).

    Raises:
        FileNotFoundError: the package lacks its assets.
    """
    import torch
    from safetensors.torch import load_file

    for path in (CONFIG_FILE, WEIGHTS_FILE):
        if not path.is_file():
            raise FileNotFoundError(
                f"the bundled prior's {path.name} is missing from lle/prior/assets; reinstall the package, or rebuild "
                "it with python pipelines/pretrain_prior.py"
            )
    config = read_config()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(config)
    if trained:
        model.load_state_dict({name: tensor.float() for name, tensor in load_file(WEIGHTS_FILE).items()})
    return model.eval().requires_grad_(False), config["preprocess_cfg"]


def build(config: dict[str, Any]) -> CLIP:
    """An untrained CLIP of the configured shape: `model_cfg` holds the arguments of open_clip's CLIP, as its own files
    do.
    """
    from open_clip.model import CLIP

    return CLIP(**config["model_cfg"])


def read_config() -> dict[str, Any]:
    """The bundled prior's configuration: `model_cfg`, `preprocess_cfg`, in the layout of open_clip's configuration
    files.
    """
    config: dict[str, Any] = json.loads(CONFIG_FILE.read_text(encoding="utf-8"))
    return config


def save(model: CLIP, folder: Path) -> Path:
    """Writes the model's weights as float16 to `light_prior.safetensors` in the folder, and returns that path."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / WEIGHTS_FILE.name
    aside = path.with_suffix(".partial")
    save_file(
        {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in model.state_dict().items()}, aside
    )
    aside.replace(path)
    return path
