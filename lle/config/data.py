"""Photos: which, how large, and how they are changed at random."""

from __future__ import annotations

from typing import Annotated

from lle.config.fields import OneOf, Places, PositivePartRange, Range, Settings, Weights, setting

LIGHT = "light"
FAULTS = {LIGHT: "curves", "haze": "haze", "rain": "rain"}
"""Each fault, and the branch of settings by which it is drawn; `lle.faults` makes it."""


class DataSettings(Settings):
    """Where the photos are and what is taken from them."""

    dark: Places = setting((), "Folders or URI prefixes of low-light or backlit photos.", unit="folders or URIs")
    well_lit: Places = setting((), "Folders or URI prefixes of well-lit photos, unpaired.", unit="folders or URIs")
    fault: Annotated[str, OneOf(lambda: FAULTS)] = setting(
        LIGHT,
        "What is wrong with the photos of data.dark, and done to well-lit ones to learn from: "
        + ", ".join(f"{fault} by the branch {branch}" for fault, branch in FAULTS.items())
        + ".",
        source="ours beside light",
    )
    dark_weights: Weights = setting(
        (),
        "How often each set of data.dark is shown, in their order and whatever their sizes: with 3 1, three photos of "
        "the first for each one of the second; empty: each photo equally often, as if they lay in one folder.",
        source="ours",
    )
    well_lit_weights: Weights = setting((), "The same for the sets of data.well_lit.", source="ours")
    pairs_dark: str = setting("", "Held-out dark photos with ground truth, for validation only.", unit="folder or URI")
    pairs_truth: str = setting(
        "",
        "Ground truth of data.pairs_dark: the same paths below it; suffixes may differ.",
        unit="folder or URI",
        needs="data.pairs_dark!=",
    )
    samples: bool = setting(
        False, "Use photos of installed packages, darkened by the camera model, when no folders are given."
    )
    image_size: int = setting(
        512, "Side of the square pictures the enhancer trains on.", unit="px", source="paper 4.1", ge=32, le=4096
    )
    prompt_size: int = setting(
        256, "Side of the square pictures the prompts learn from.", unit="px", source="paper 4.1", ge=32, le=4096
    )
    crop_share: float = setting(
        0.0,
        "Share of training pictures that are a random square of the photo, not the whole photo squeezed to a square; "
        "they keep its grain, which a denoiser must see.",
        source="ours",
        ge=0,
        le=1,
    )
    crop_side: PositivePartRange = setting(
        (0.4, 1.0),
        "Side of those squares, drawn evenly in ratios.",
        unit="of the photo's shorter side",
        source="ours",
        needs="data.crop_share!=0",
    )
    max_pixels: int = setting(80_000_000, "Larger pictures are refused from their header.", unit="px", ge=1024)
    validation_images: int = setting(
        16,
        "Photos of data.dark, and as many of data.well_lit, held out of training to choose the best enhancer by; of "
        "several sets equal shares, whatever their sizes and weights.",
        unit="photos",
        ge=1,
        le=10_000,
    )
    validation_size: int = setting(512, "Longest side of a validation picture.", unit="px", ge=32, le=8192)
    validation_hash: str = setting(
        "",
        "Refuses to train when the photos to validate on are others than those with this SHA-256, as told by the "
        "summary of a run; runs with the same one were measured on the same photos.",
        source="ours",
    )
    decoders: int = setting(2, "Pictures decoded at once, for each worker and stream.", unit="threads", ge=1, le=64)


class AugmentSettings(Settings):
    """Random changes of geometry, the same for every picture of a kind (paper, supplement)."""

    flip: float = setting(0.5, "Probability of a horizontal flip, and of a vertical one.", source="paper", ge=0, le=1)
    mirror: float = setting(
        0.0, "Probability of a horizontal flip alone, for photos with the sky above.", source="ours", ge=0, le=1
    )
    transpose: float = setting(0.5, "Probability of swapping height and width.", source="paper", ge=0, le=1)
    zoom: float = setting(0.3, "Probability of a zoom.", source="paper", ge=0, le=1)
    zoom_range: Range = setting((0.7, 1.3), "Zoom factor, drawn uniformly.", source="paper", needs="augment.zoom!=0")
    rotation: float = setting(0.3, "Probability of a rotation with reflected borders.", source="paper", ge=0, le=1)
    rotation_degrees: float = setting(
        90.0,
        "Largest rotation to either side.",
        unit="degrees",
        source="paper",
        ge=0,
        le=180,
        needs="augment.rotation!=0",
    )


def check_folders(data: DataSettings) -> None:
    """Refuse combinations of folders that cannot be trained on; raises ValueError with the settings' names."""
    if bool(data.dark) != bool(data.well_lit):
        given, missing = ("dark", "well_lit") if data.dark else ("well_lit", "dark")
        raise ValueError(f"data.{missing}: missing beside data.{given}; training needs both sets")
    if not data.dark and not data.samples:
        raise ValueError(
            "data.dark and data.well_lit: name two folders of photos, or pass --data.samples for sample photos"
        )
    well_lit = {uri.rstrip("/") for uri in data.well_lit}
    for uri in data.dark:
        if uri.rstrip("/") in well_lit:
            raise ValueError(f"data.dark and data.well_lit: both name {uri}; the two must differ")
    for name, uris, weights in (
        ("dark", data.dark, data.dark_weights),
        ("well_lit", data.well_lit, data.well_lit_weights),
    ):
        if weights and len(weights) != len(uris):
            raise ValueError(
                f"data.{name}_weights: {len(weights)} weights, and {len(uris)} sets in data.{name}; give one for each "
                "set, or none"
            )
        if data.validation_images < len(uris):
            raise ValueError(
                f"data.validation_images: {data.validation_images} photos cannot come from each of the {len(uris)} "
                f"sets of data.{name}; give {len(uris)} or more"
            )
    if bool(data.pairs_dark) != bool(data.pairs_truth):
        raise ValueError("data.pairs_dark and data.pairs_truth: give both or neither")
