"""The Bag of Curves: wrong exposures of well-lit photos."""

from __future__ import annotations

from pydantic import model_validator

from lle.config.fields import PartRange, PositivePartRange, PositiveRange, Settings, setting


class CurveFamily(Settings):
    """One family of curves and how often it is drawn."""

    frequency: float = setting(0.0, "How often it is drawn, relative to the other families.", ge=0)


class ToneCurve(CurveFamily):
    """V to a power, V the value channel of HSV; hue and saturation stay."""

    under: PositiveRange = setting(
        (6.0, 6.0), "Exponent of under-exposing curves.", source="PIE", needs="curves.adaptive=false"
    )
    over: PositiveRange = setting(
        (0.1, 0.1), "Exponent of over-exposing curves.", source="PIE", needs="curves.adaptive=false"
    )


class GammaCurve(CurveFamily):
    """RGB to a power."""

    under: PositiveRange = setting(
        (5.0, 8.0), "Exponent of under-exposing curves.", source="PIE", needs="curves.adaptive=false"
    )
    over: PositiveRange = setting(
        (0.0, 0.2), "Exponent of over-exposing curves.", source="PIE", needs="curves.adaptive=false"
    )


class LogCurve(CurveFamily):
    """A multiple of ln(1 + V) on the 8-bit scale."""

    under: PositiveRange = setting(
        (10.0, 10.0), "Factor of under-exposing curves.", source="PIE", needs="curves.adaptive=false"
    )
    over: PositiveRange = setting(
        (40.0, 40.0), "Factor of over-exposing curves.", source="PIE", needs="curves.adaptive=false"
    )


class SCurve(CurveFamily):
    """A sigmoid on V, as cameras and photographers set contrast."""

    under: PositiveRange = setting(
        (0.75, 1.0), "Midpoint of under-exposing curves.", source="ours", needs="curves.adaptive=false"
    )
    over: PositiveRange = setting(
        (0.0, 0.15), "Midpoint of over-exposing curves.", source="ours", needs="curves.adaptive=false"
    )
    contrast: float = setting(8.0, "Slope of the sigmoid.", source="ours", gt=0, le=100)


class BacklitCurve(CurveFamily):
    """A foreground in the shade of what is behind it, with the noise of `curves.exposure`; always under-exposing."""

    foreground: PositiveRange = setting((1.5, 4.0), "Light taken from the foreground.", unit="stops", source="ours")
    background: PositiveRange = setting((0.0, 0.4), "Light added behind it.", unit="stops", source="ours")
    cover: PartRange = setting((0.4, 0.85), "Part of the picture that the foreground covers.", source="ours")


class ExposureCurve(CurveFamily):
    """Another exposure in linear light, with sensor noise, rounded to 8 bits: the camera, also of `curves.backlit`."""

    under: PositiveRange = setting(
        (2.5, 5.0), "Light taken away.", unit="stops", source="ours", needs="curves.adaptive=false"
    )
    over: PositiveRange = setting(
        (1.0, 3.0), "Light added.", unit="stops", source="ours", needs="curves.adaptive=false"
    )
    shot: PositiveRange = setting(
        (2e-4, 1e-3),
        "Noise that grows with light, drawn evenly in ratios.",
        unit="variance per unit of linear light",
        source="ours",
    )
    read: PositiveRange = setting(
        (3e-4, 1.5e-3),
        "Noise without light, drawn evenly in ratios.",
        unit="standard deviation in linear light",
        source="ours",
    )
    blur: PositiveRange = setting(
        (0.0, 0.7), "Gaussian that makes noise correlate between neighbours.", unit="px", source="ours"
    )
    grey: PartRange = setting(
        (0.0, 0.0),
        "Part of the noise that red, green and blue share, as after demosaicing; the rest has 1.5 times the blur.",
        unit="of its variance",
        source="ours; 0.5 in the dark photos of LOL",
    )
    shoulder: PartRange = setting(
        (0.0, 0.0),
        "Shoulder of the camera's response, drawn evenly: exposure, casts and noise act on the light before it, and "
        "highlights bend instead of clipping; 0: they act on developed light.",
        unit="of the strongest",
        source="ours",
    )
    mild_share: float = setting(
        0.0,
        "Share of the under-exposed photos that lack as much light as `mild` says, instead of `under`.",
        source="ours",
        ge=0,
        le=1,
        needs="curves.adaptive=false",
    )
    mild: PositiveRange = setting(
        (0.3, 1.5),
        "Light taken away from those.",
        unit="stops",
        source="ours",
        needs="curves.exposure.mild_share!=0",
    )
    cast: float = setting(
        0.0,
        "Largest colour cast: each channel gets up to so much light more or less.",
        unit="stops",
        source="ours",
        ge=0,
        le=4,
    )
    cast_share: float = setting(
        1.0,
        "Share of the photos that have a cast.",
        source="ours",
        ge=0,
        le=1,
        needs="curves.exposure.cast!=0",
    )
    power_law: float = setting(
        0.0,
        "Share of cameras that show light by a pure power of 1 / 2.2; sRGB's straight foot saturates dark colours.",
        source="ours",
        ge=0,
        le=1,
    )
    jpeg_share: float = setting(
        0.0,
        "Share of the photos that were JPEG files: what those lost shows as blocks once the photo is lifted.",
        source="ours",
        ge=0,
        le=1,
    )
    jpeg: PositivePartRange = setting(
        (0.9, 0.98),
        "Quality of those files; below .9 their colours have half the resolution.",
        unit="of the best",
        source="ours",
        needs="curves.exposure.jpeg_share!=0",
    )


class CurveSettings(Settings):
    """The Bag of Curves: wrong exposures of well-lit photos (PIE, method 2.2)."""

    under_share: float = setting(
        0.5, "Share of under-exposing curves; the others over-expose.", source="PIE", ge=0, le=1
    )
    adaptive: bool = setting(
        False,
        "Solve each curve's parameter for its photo, instead of drawing it from the family's range.",
        source="ours",
    )
    adaptive_under: PositiveRange = setting(
        (0.04, 0.18),
        "Mean V of under-exposed photos, V the largest of RGB.",
        unit="of white",
        source="ours",
        needs="curves.adaptive=true",
    )
    adaptive_over: PositiveRange = setting(
        (0.75, 0.95), "Mean V of over-exposed photos.", unit="of white", source="ours", needs="curves.adaptive=true"
    )
    tone: ToneCurve = setting(ToneCurve(frequency=4.0), "Power of V.", source="PIE")
    gamma: GammaCurve = setting(GammaCurve(frequency=4.0), "Power of RGB.", source="PIE")
    log: LogCurve = setting(LogCurve(frequency=3.0), "Logarithm of V.", source="PIE")
    s_curve: SCurve = setting(SCurve(), "Sigmoid of V.", source="ours")
    exposure: ExposureCurve = setting(ExposureCurve(), "Linear light.", source="ours")
    backlit: BacklitCurve = setting(BacklitCurve(), "Light from behind.", source="ours")

    @model_validator(mode="after")
    def _something_to_draw(self) -> CurveSettings:
        families = (self.tone, self.gamma, self.log, self.s_curve, self.exposure, self.backlit)
        if not any(family.frequency for family in families):
            raise ValueError("curves: every family has frequency 0; give one of them, such as curves.gamma, more")
        return self
