"""Pictures free of restrictions, from packages that are installed anyway: the quickstart's data and the bundled
prior's.

Photos: NASA's astronaut and SpaceX's rocket (public domain), coffee and chelsea the cat (CC0), the Middlebury 2014
motorcycle, all as shipped in scikit-image; china and flower (CC BY 2.0, by danielbuechele and vultilion on Flickr) as
shipped in scikit-learn. They are read as files, so neither package is imported. Procedural scenes: dead leaves (Lee,
Mumford and Huang, "Occlusion models for natural images", IJCV 2001).
"""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Picture = NDArray[np.uint8]

WELL_LIT = ("chelsea", "flower")
"""Scenes of the quickstart's well-lit training photos."""
DARK = ("coffee", "motorcycle_left")
"""Scenes that the quickstart darkens for training."""
HELD_OUT = ("astronaut", "china")
"""Scenes of the quickstart's pairs: neither the enhancer nor the bundled prior is trained on them."""

_FILES = {
    "rocket": ("skimage", "data/rocket.jpg"),
    "coffee": ("skimage", "data/coffee.png"),
    "astronaut": ("skimage", "data/astronaut.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "motorcycle_left": ("skimage", "data/motorcycle_left.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "china": ("sklearn", "datasets/images/china.jpg"),
}
_DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}


@dataclass(frozen=True)
class QuickstartData:
    """Folders of the quickstart: unpaired training photos, and held-out pairs under the same file name in both
    folders.
    """

    dark: Path
    well_lit: Path
    pairs_dark: Path
    pairs_truth: Path


def quickstart_folders(folder: Path) -> dict[str, Path]:
    """Where `write_quickstart_data` puts what, by the settings' names."""
    pairs = folder / "pairs"
    return {
        "dark": folder / "dark",
        "well_lit": folder / "well_lit",
        "pairs_dark": pairs / "low",
        "pairs_truth": pairs / "high",
    }


def write_quickstart_data(
    folder: Path, seed: int = 0, well_lit: int = 48, dark: int = 48, pairs: int = 8
) -> QuickstartData:
    """Writes the quickstart's photos: crops of 256 to 320 pixels a side, the three groups from different scenes.

    Args:
        folder: receives `dark/`, `well_lit/`, `pairs/low/` and `pairs/high/`; what these held before is removed.
        seed: the same seed gives the same files.
        well_lit: number of well-lit training photos (JPEG).
        dark: number of dark training photos (JPEG), every second one backlit, the others under-exposed.
        pairs: number of held-out pairs (PNG), every second one `*_backlit.png`, the others `*_under.png`.

    Raises:
        FileNotFoundError: a package with the photos is missing.
    """
    import torch
    from PIL import Image

    from lle.exposure.camera import darken

    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    photos = sample_photos()
    data = QuickstartData(**quickstart_folders(folder))
    for part in (data.dark, data.well_lit, data.pairs_dark, data.pairs_truth):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)

    def darkened(crop: Picture, backlit: bool) -> Picture:
        image = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255
        dark_image = darken(image, generator, torch.tensor([backlit]))
        return (dark_image[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()

    def save(picture: Picture, path: Path) -> None:
        Image.fromarray(picture).save(path, quality=95) if path.suffix == ".jpg" else Image.fromarray(picture).save(
            path
        )

    for index in range(well_lit):
        name = WELL_LIT[index % len(WELL_LIT)]
        save(_well_exposed_crop(photos[name], rng), data.well_lit / f"{index:03d}_{name}.jpg")
    for index in range(dark):
        name, backlit = DARK[index % len(DARK)], index // len(DARK) % 2 == 1
        crop = _well_exposed_crop(photos[name], rng)
        save(darkened(crop, backlit), data.dark / f"{index:03d}_{name}_{_kind(backlit)}.jpg")
    for index in range(pairs):
        name, backlit = HELD_OUT[index % len(HELD_OUT)], index // len(HELD_OUT) % 2 == 1
        crop = _well_exposed_crop(photos[name], rng)
        file = f"{index:03d}_{name}_{_kind(backlit)}.png"
        save(crop, data.pairs_truth / file)
        save(darkened(crop, backlit), data.pairs_dark / file)
    return data


def sample_photos(names: Sequence[str] = tuple(_FILES)) -> dict[str, Picture]:
    """The photos by name, RGB, uint8, (H, W, 3).

    Raises:
        FileNotFoundError: the package that ships a photo is not installed, or no longer ships it.
    """
    from PIL import Image

    return {name: np.asarray(Image.open(_path(name)).convert("RGB")) for name in names}


def dead_leaves(size: int, seed: int) -> Picture:
    """A procedural scene with the statistics of photos: opaque textured leaves under smooth light, well exposed.

    Leaves (ellipses and boxes) have radii r with density r^-3, so that every scale is equally busy; reflectances and
    colours come from a palette of greys, earth, skin, foliage and sky; shade falls off over each leaf and over the
    scene; half of the scenes have a bright sky behind. Composed in linear light and exposed to a mean sRGB value
    between .36 and .54.

    Args:
        size: height and width in pixels, >= 32.
        seed: the same seed gives the same scene.

    Returns:
        RGB, uint8, (size, size, 3).
    """
    if size < 32:
        raise ValueError(f"dead_leaves needs 32 pixels or more a side; got {size}")
    rng = np.random.default_rng(seed)
    palette = _palette(rng)
    rows, cols = np.mgrid[0:size, 0:size].astype(np.float32) / size
    scene = np.ones((size, size, 3), np.float32) * palette[0]
    horizon = rng.uniform(0.25, 0.6) if rng.random() < 0.5 else 0.0
    radii = _power_law(rng, 0.02, 0.4, 350)
    # Large leaves tend to lie behind, or a single one would hide the scene.
    for radius in sorted(radii, key=lambda r: -r * rng.uniform(0.3, 1.7)):
        _paint_leaf(scene, radius, palette[rng.integers(len(palette))], horizon, rows, cols, rng)
    if horizon:
        _paint_sky(scene, horizon, rng)
    scene *= _fall_off(rows, cols, rng, strength=rng.uniform(0.1, 0.6))[..., None]
    return _exposed(scene, mean=rng.uniform(0.36, 0.54))


def _path(name: str) -> Path:
    package, inside = _FILES[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            f"the sample photo {name} comes with {_DISTRIBUTIONS[package]}, which is not installed; "
            f"run: pip install {_DISTRIBUTIONS[package]}"
        )
    path = Path(spec.origin).parent / inside
    if not path.is_file():
        raise FileNotFoundError(
            f"this version of {_DISTRIBUTIONS[package]} no longer ships {inside}; install an earlier one"
        )
    return path


def _kind(backlit: bool) -> str:
    return "backlit" if backlit else "under"


def _well_exposed_crop(photo: Picture, rng: np.random.Generator) -> Picture:
    """A crop of 256 to 320 pixels a side, of a part that is neither dark nor bright as a whole; mirrored half of the
    time.
    """
    from PIL import Image

    best_part, best_off, best_size = photo, float("inf"), (0, 0)
    for _ in range(20):
        height, width = (int(rng.integers(256, 321)) // 8 * 8 for _ in range(2))
        room = min(photo.shape[0] / height, photo.shape[1] / width)
        scale = rng.uniform(min(1.0, room), room)
        tall, wide = int(height * scale), int(width * scale)
        top, left = rng.integers(photo.shape[0] - tall + 1), rng.integers(photo.shape[1] - wide + 1)
        part = photo[top : top + tall, left : left + wide]
        off = abs(float(part[::8, ::8].mean()) / 255 - 0.45)
        if off < best_off:
            best_part, best_off, best_size = part, off, (width, height)
        if off < 0.1:
            break
    crop = np.asarray(Image.fromarray(best_part).resize(best_size, Image.Resampling.LANCZOS))
    return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)


def _power_law(rng: np.random.Generator, low: float, high: float, count: int) -> NDArray[np.float64]:
    """Radii with density proportional to r^-3 between low and high, by inverting the distribution function."""
    u = rng.random(count)
    return (low**-2 - u * (low**-2 - high**-2)) ** -0.5


def _palette(rng: np.random.Generator) -> NDArray[np.float32]:
    """Linear reflectances of a scene, (12, 3): a few families of natural colours, each varied."""
    families = np.array(
        [
            [0.20, 0.20, 0.20], [0.55, 0.54, 0.52], [0.05, 0.05, 0.05], [0.30, 0.18, 0.10], [0.45, 0.27, 0.18],
            [0.10, 0.18, 0.05], [0.22, 0.28, 0.10], [0.18, 0.28, 0.45], [0.50, 0.10, 0.06], [0.60, 0.45, 0.10],
        ]
    )  # fmt: skip
    chosen = families[rng.integers(len(families), size=12)]
    brightness = np.exp(rng.normal(0, 0.45, (12, 1)))
    tint = np.exp(rng.normal(0, 0.15, (12, 3)))
    return np.clip(chosen * brightness * tint, 0.01, 0.9).astype(np.float32)


def _paint_leaf(
    scene: NDArray[np.float32],
    radius: float,
    colour: NDArray[np.float32],
    horizon: float,
    rows: NDArray[np.float32],
    cols: NDArray[np.float32],
    rng: np.random.Generator,
) -> None:
    size = scene.shape[0]
    cy, cx = rng.uniform(horizon, 1.1), rng.uniform(-0.1, 1.1)
    reach = radius * 1.5
    top, bottom = (int(np.clip(v * size, 0, size)) for v in (cy - reach, cy + reach + 1 / size))
    left, right = (int(np.clip(v * size, 0, size)) for v in (cx - reach, cx + reach + 1 / size))
    if bottom <= top or right <= left:
        return
    y, x = rows[top:bottom, left:right] - cy, cols[top:bottom, left:right] - cx
    angle, flat = rng.uniform(0, np.pi), rng.uniform(0.5, 1.0)
    u = (np.cos(angle) * x + np.sin(angle) * y) / radius
    v = (np.cos(angle) * y - np.sin(angle) * x) / (radius * flat)
    distance = np.maximum(abs(u), abs(v)) if rng.random() < 0.3 else np.sqrt(u * u + v * v)
    cover = np.clip((1 - distance) * radius * size + 0.5, 0, 1)[..., None]  # one pixel of antialiasing
    shade = np.exp(rng.uniform(0, 0.6) * (np.cos(angle) * u - np.sin(angle) * v))
    grain = np.exp(rng.normal(0, rng.uniform(0.02, 0.25), shade.shape)).astype(np.float32)
    stripes = 1 + rng.uniform(0, 0.3) * np.sin(u * rng.uniform(2, 30) + v * rng.uniform(0, 10))
    leaf = colour * (shade * grain * stripes)[..., None]
    patch = scene[top:bottom, left:right]
    patch[...] = (1 - cover) * patch + cover * leaf


def _paint_sky(scene: NDArray[np.float32], horizon: float, rng: np.random.Generator) -> None:
    size = scene.shape[0]
    y = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    ridge = horizon + 0.08 * np.interp(np.arange(size), np.linspace(0, size, 9), rng.normal(0, 1, 9))[None, :]
    cover = np.clip((ridge - y) * size + 0.5, 0, 1)[..., None]
    zenith, low = np.array([0.25, 0.42, 0.75]), np.array([0.75, 0.80, 0.85])
    mix = np.clip(y[..., None] / max(horizon, 0.1), 0, 1)
    overcast = rng.random()
    sky = overcast * low + (1 - overcast) * ((1 - mix) * zenith + mix * low)
    scene[...] = (1 - cover) * scene + cover * sky * rng.uniform(0.6, 1.3)


def _fall_off(
    rows: NDArray[np.float32], cols: NDArray[np.float32], rng: np.random.Generator, strength: float
) -> NDArray[np.float32]:
    """Smooth light over the scene, of geometric mean about 1."""
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.cos(angle) * (cols - 0.5) + np.sin(angle) * (rows - 0.5)
    wave = np.sin(rng.uniform(1, 5) * cols + rng.uniform(0, 6)) * np.sin(rng.uniform(1, 5) * rows + rng.uniform(0, 6))
    return np.exp(strength * (1.5 * ramp + 0.5 * wave)).astype(np.float32)


def _exposed(scene: NDArray[np.float32], mean: float) -> Picture:
    """Linear light to 8-bit sRGB with the exposure that gives this mean value, found by bisection in stops."""

    def developed(stops: float) -> NDArray[np.float32]:
        light = np.clip(scene * np.float32(2.0**stops), 0, 1)
        return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)

    low, high = -6.0, 6.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if float(developed(middle).mean()) < mean else (low, middle)
    return (developed((low + high) / 2) * 255).round().astype(np.uint8)
