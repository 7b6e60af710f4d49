"""What users hold: a trained enhancer with its settings, in a folder of safetensors and JSON."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lle.config import EnhancerSettings
from lle.dotted import OwnCodeError, is_dotted, package_of, said
from lle.enhancers import Enhancer, build_enhancer
from lle.images import Picture, eight_bits, picture_of_pil, read_picture
from lle.images.pixels import check_pixels, white

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
BUNDLED = "bundled"
ASSETS = Path(__file__).parent / "enhancers" / "assets"
SHIPPED = {BUNDLED: ASSETS, "dehaze": ASSETS / "dehaze", "derain": ASSETS / "derain"}
"""The models of the package, by name."""

_TOLERANCE = 1e-3  # beyond [0, 1]: rounding of other programs, no other range
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
            photo: the path of a file; a PIL image; RGB pixels, uint8 or uint16, (H, W, 3); or RGB in [0, 1], a float
                tensor (3, H, W), for which see `enhance`. A file or PIL image comes back in sRGB with 8 bits: grey as
                grey, and with the alpha it had.
            strength: from 0, the photo as it is, over 1 to 1.5; only networks of kind `exposure`, `scene`, `haze`
                or `rain` know others than 1.

        Raises:
            ValueError: another shape, type or strength; or a file or PIL image that is no picture (`ImageError`).
        """
        if isinstance(photo, Tensor):
            return enhance(self, photo, strength)
        if isinstance(photo, np.ndarray):
            check_pixels(photo, depths=(np.uint8, np.uint16))
            return enhance_pixels(self, photo[None], strength)[0]
        if not isinstance(photo, str | os.PathLike | Image.Image):
            raise ValueError(f"photo: a {type(photo).__name__} is none; give a path, a PIL image, an array or a tensor")
        picture = picture_of_pil(photo) if isinstance(photo, Image.Image) else read_picture(photo)
        return _as_pil(enhance_picture(self, picture, strength))

    def save(self, folder: str | Path) -> Path:
        """Write weights and description into a folder, made if missing; `about` must be plain JSON."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: weight.detach().cpu().contiguous() for name, weight in self.enhancer.state_dict().items()}
        save_file(weights, folder / WEIGHTS)
        description = {"enhancer": self.settings.model_dump(), "about": self.about}
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        return folder


def load(folder: str | Path) -> Model:
    """The model saved in a folder, in evaluation mode on the CPU.

    Args:
        folder: what `Model.save` or a training has written, or one that ships with the package, trained on photos
            without restrictions (`enhancers/assets/MODEL_CARD.md`): `bundled` brightens, `dehaze` clears haze, `derain`
            takes out rain and snow. Where its network is a class of one's own, that module is imported; nothing is
            unpickled.

    Raises:
        ValueError: the folder holds no such model, weights that do not fit its description, or a network whose module
            is not on PYTHONPATH.
    """
    given = os.fspath(folder)
    folder = SHIPPED[given] if given in SHIPPED else Path(_local(given))
    try:
        for name in (DESCRIPTION, WEIGHTS):
            if not (folder / name).is_file():
                raise ValueError(f"{folder}: no saved model ({name} is missing)")
    except OSError as error:
        raise ValueError(f"{folder}: no saved model ({error.strerror})") from error
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        settings, about = EnhancerSettings(**description["enhancer"]), description["about"]
        _refuse_brought(settings.arch, folder)
        enhancer = build_enhancer(settings)
        enhancer.load_state_dict(load_file(folder / WEIGHTS))
    except OwnCodeError as error:
        raise ValueError(f"{folder}: its network is not ours: {error}") from error
    except (KeyError, TypeError, RuntimeError, ValueError, OSError, SafetensorError) as error:
        raise ValueError(f"{folder}: not a model saved by this project ({said(error)})") from error
    return Model(enhancer, settings, about)


def _refuse_brought(arch: str, folder: Path) -> None:
    """A model may name code that its user has, and never bring its own."""
    package, here = package_of(arch) if is_dotted(arch) else None, folder.resolve()
    if package and (package.is_relative_to(here) or here.is_relative_to(package)):
        raise OwnCodeError(f"enhancer.arch: {arch} lies beside the model; move the module, or the model, elsewhere")


def _local(path: str) -> str:
    """A path as the jobs take it: with `~`, or as `file:///PATH`."""
    if path.startswith("file:///"):
        return unquote(path.removeprefix("file://"))
    return os.path.expanduser(path)  # noqa: PTH111  # Path's raises where nobody has a home


@torch.inference_mode()
def enhance(model: nn.Module, image: Tensor, strength: float = 1.0) -> Tensor:
    """One picture, RGB in [0, 1], any float type, (3, H, W), any size; the same type and shape back on the CPU.

    `strength` as in `Model.enhance`; modules that are no `Model` are only asked for 1.

    Raises:
        ValueError: another shape or type, values that are not numbers, or far outside [0, 1].
    """
    _check_photo(image)
    weight = next(model.parameters(), torch.empty(0, device=image.device))
    enhanced: Tensor = model(image[None].to(weight.device, weight.dtype), **_asked(strength))[0]
    return enhanced.to("cpu", image.dtype)


@torch.inference_mode()
def enhance_pixels(model: nn.Module, pixels: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Photos of one size as they come from files, uint8 or uint16 RGB (B, H, W, 3); the same type and shape back.

    In between they are floats: what has 16 bits is never rounded to 8. `strength` as in `enhance`.

    Raises:
        ValueError: the model gives values that are not numbers.
    """
    weight = next(model.parameters(), torch.empty(0))
    full = white(pixels.dtype)
    if pixels.dtype != np.uint8:
        pixels = pixels.astype(np.int32)  # torch does hardly anything with uint16
    stored = torch.from_numpy(np.ascontiguousarray(pixels)).to(weight.device).permute(0, 3, 1, 2)
    if full == 255 and isinstance(model, Model) and model.enhancer.takes_bytes:
        return _as_array(model(stored, **_asked(strength)))
    enhanced = model(stored.to(weight.dtype, memory_format=torch.contiguous_format).div_(full), **_asked(strength))
    if enhanced.isnan().any():
        raise ValueError("the model gives values that are not numbers (NaN) for it")
    rounded = enhanced.float().clamp(0, 1).mul_(full).round_().to(torch.uint8 if full == 255 else torch.int32)
    return _as_array(rounded).astype(np.uint8 if full == 255 else np.uint16, copy=False)


def _as_array(stored: Tensor) -> np.ndarray:
    array: np.ndarray = np.ascontiguousarray(stored.permute(0, 2, 3, 1).cpu().numpy())
    return array


def enhance_picture(model: nn.Module, picture: Picture, strength: float = 1.0) -> Picture:
    """One decoded photo, enhanced, with all that belongs to it; `strength` as in `enhance`.

    Raises:
        ValueError: as `enhance_pixels`.
    """
    return picture.enhanced(enhance_pixels(model, picture.pixels[None], strength)[0])


def _asked(strength: float) -> dict[str, float]:
    return {} if strength == 1 else {"strength": strength}


def _check_photo(image: Tensor) -> None:
    if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point() or image.layout != torch.strided:
        hint = ""
        if image.ndim == 4:
            hint = "; a batch goes through the model itself, model(batch)"
        elif image.ndim == 3 and image.shape[2] == 3 != image.shape[0]:
            hint = "; tensor.permute(2, 0, 1) puts the channels first"
        raise ValueError(
            f"photo: a tensor of {image.dtype} {tuple(image.shape)} is none; give RGB in [0, 1] as floats, "
            f"(3, height, width){hint}"
        )
    if image.numel() == 0 or image.is_meta:
        raise ValueError(f"photo: a tensor of {tuple(image.shape)} holds no pixels; give at least one")
    low, high = (float(value) for value in image.detach().aminmax())
    if not math.isfinite(low) or not math.isfinite(high):
        raise ValueError("photo: the tensor holds values that are not numbers (NaN or infinite); give RGB in [0, 1]")
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        advice = "divide by 255" if high > 2 and low >= 0 else "clamp it"
        raise ValueError(f"photo: the tensor holds values from {low:.4g} to {high:.4g}; give RGB in [0, 1] ({advice})")


def _as_pil(picture: Picture) -> Image.Image:
    """With 8 bits: "L", "LA", "RGB" or "RGBA"."""
    pixels, alpha = eight_bits(picture.pixels), picture.alpha
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0]) if picture.channels == 1 else pixels)
    if alpha is not None:
        image.putalpha(Image.fromarray(eight_bits(alpha)))
    return image
