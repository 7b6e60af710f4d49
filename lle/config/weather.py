"""Haze and rain: what else can come between a scene and its photo."""

from __future__ import annotations

from lle.config.fields import PartRange, PositivePartRange, PositiveRange, Settings, setting


class HazeSettings(Settings):
    """Scattering in air: I = J t + A (1 - t), t = exp(-density * depth), depth made up from the photo."""

    density: PositiveRange = setting(
        (0.2, 2.5),
        "Optical depth of the farthest place, drawn evenly in ratios; 1 leaves 37 % of its contrast.",
        source="ours; .05 to 1.3 in most places of RESIDE's indoor pairs",
    )
    near: PartRange = setting((0.0, 0.5), "Depth of the nearest place.", unit="of the farthest place's", source="ours")
    even_share: float = setting(
        0.1, "Share of the photos with one depth for all places, as in smoke.", source="ours", ge=0, le=1
    )
    airlight: PositivePartRange = setting(
        (0.6, 1.0), "What haze alone looks like.", unit="of white", source="RESIDE .7 to 1; .6 to .8 in O-HAZE, REVIDE"
    )
    tint: float = setting(
        0.06, "Largest difference of one of its channels from their mean.", unit="of white", source="ours", ge=0, le=0.5
    )
    linear_share: float = setting(
        0.0,
        "Share of the photos whose haze is mixed in linear light, the others' in sRGB values.",
        source="ours; sRGB, where one airlight fits real pairs better (docs/other_faults.md)",
        ge=0,
        le=1,
    )


class RainSettings(Settings):
    """Streaks before the scene, and a veil of those too far to tell apart; short, wide ones are snow."""

    amount: PositivePartRange = setting(
        (0.03, 0.7), "Part of the picture that streaks cover, about, drawn evenly in ratios.", source="ours"
    )
    layers: int = setting(3, "Most layers of streaks, each of its own size and brightness.", source="ours", ge=1, le=8)
    length: PositiveRange = setting(
        (6.0, 60.0), "Length of a streak, drawn evenly in ratios.", unit="px", source="ours"
    )
    width: PositiveRange = setting(
        (0.5, 1.6), "Standard deviation across a streak, drawn evenly in ratios.", unit="px", source="ours"
    )
    slant: float = setting(
        45.0, "Largest angle from the vertical, to either side.", unit="degrees", source="ours", ge=0, le=90
    )
    brightness: PartRange = setting((0.2, 1.0), "Light of a streak.", unit="of white", source="ours")
    veil: PartRange = setting((0.0, 0.15), "Part of each place that the veil hides.", source="ours")
