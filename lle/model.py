"""What users hold: a trained enhancer with its settings, in a folder of safetensors and JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lle.config import EnhancerSettings
from lle.enhancers import Enhancer, build_enhancer
from lle.images import from_pil, from_tensor, read, to_tensor

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
BUNDLED = "bundled"
ASSETS = Path(__file__).parent / "enhancers" / "assets"
Photo: TypeAlias = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor


class Model(nn.Module):
    """An enhancer as a plain function of pictures: RGB in [0, 1] in and out, (B, 3, H, W), any size."""

    def __init__(self, enhancer: Enhancer, settings: EnhancerSettings, about: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.enhancer = enhancer
        self.settings = settings
        self.about = about or {}
        self.eval()

    def forward(self, image: Tensor, strength: float = 1.0) -> Tensor:
        return self.enhancer.picture(image, strength)

    def enhance(self, photo: Photo, strength: float = 1.0) -> Any:
        """One photo, enhanced at its own size, as what it was given as; the file at a path as a PIL image.

        Args:
            photo: the path of a file; a PIL image; RGB pixels, uint8 (H, W, 3); or RGB in [0, 1], a float tensor
                (3, H, W), for which see `enhance`.
            strength: from 0, the photo as it is, over 1 to 1.5; only networks of kind `exposure` know others than 1.

        Raises:
            ValueError: another shape, type or strength; or a file or PIL image that is no picture (`ImageError`).
        """
        if isinstance(photo, Tensor):
            if photo.ndim != 3 or photo.shape[0] != 3 or not photo.is_floating_point():
                raise ValueError(
                    f"photo: a tensor of {photo.dtype} {tuple(photo.shape)} is none; give RGB in [0, 1] as floats, "
                    "(3, height, width)"
                )
            return enhance(self, photo, strength)
        if isinstance(photo, np.ndarray):
            return from_tensor(enhance(self, to_tensor(photo), strength))
        pixels = from_pil(photo) if isinstance(photo, Image.Image) else read(photo)
        return Image.fromarray(from_tensor(enhance(self, to_tensor(pixels), strength)))

    def save(self, folder: str | Path) -> Path:
        """Write weights and description into a folder, made if missing; `about` must be plain JSON."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: weight.detach().cpu().contiguous() for name, weight in self.enhancer.state_dict().items()}
        save_file(weights, folder / WEIGHTS)
        description = {"enhancer": self.settings.model_dump(), "about": self.about}
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
        return folder


def load(folder: str | Path) -> Model:
    """The model saved in a folder, in evaluation mode on the CPU.

    Args:
        folder: what `Model.save` or a training has written, or `bundled`: the enhancer that ships with the package,
            trained on photos without restrictions (`enhancers/assets/MODEL_CARD.md`).

    Raises:
        ValueError: the folder holds no such model, or weights that do not fit its description.
    """
    folder = ASSETS if folder == BUNDLED else Path(folder)
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).is_file():
            raise ValueError(f"{folder}: no saved model ({name} is missing)")
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        settings, about = EnhancerSettings(**description["enhancer"]), description["about"]
        enhancer = build_enhancer(settings)
        enhancer.load_state_dict(load_file(folder / WEIGHTS))
    except (KeyError, TypeError, RuntimeError, ValueError, SafetensorError) as error:
        raise ValueError(f"{folder}: not a model saved by this project ({str(error).splitlines()[0]})") from error
    return Model(enhancer, settings, about)


@torch.inference_mode()
def enhance(model: nn.Module, image: Tensor, strength: float = 1.0) -> Tensor:
    """One picture, RGB in [0, 1], (3, H, W), any size; the same shape back on the CPU. `strength` as `Model.enhance`;
    modules that are no `Model` are only asked for 1.
    """
    device = next((weight.device for weight in model.parameters()), image.device)
    given = {} if strength == 1 else {"strength": strength}
    return model(image[None].to(device), **given)[0].float().cpu()


@torch.inference_mode()
def enhance_pixels(model: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """Photos of one size as they come from files, uint8 RGB (B, H, W, 3); the same shape back.

    Raises:
        ValueError: the model gives values that are not numbers.
    """
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    stored = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2)
    enhanced = model(stored.to(torch.float32, memory_format=torch.contiguous_format).div_(255))
    if enhanced.isnan().any():
        raise ValueError("the model gives values that are not numbers (NaN) for it")
    rounded = enhanced.float().clamp(0, 1).mul_(255).round_().byte()
    return np.ascontiguousarray(rounded.permute(0, 2, 3, 1).cpu().numpy())
