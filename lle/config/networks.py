"""The table of networks: a file below `lle/enhancers/` and a line here, and a network is there."""

from __future__ import annotations

from typing import NamedTuple


class Network(NamedTuple):
    """A line of the table.

    Attributes:
        path: its class, `module:NAME`; imported when it is built.
        takes: settings of `enhancer` that it is built from, by the names of its arguments.
        about: what it is, in a few words.
    """

    path: str
    takes: tuple[str, ...]
    about: str


NETWORKS: dict[str, Network] = {
    "retinex": Network(
        "lle.enhancers.retinex:RetinexEnhancer", ("padding",), "the paper's network, at full resolution"
    ),
    "curves": Network("lle.enhancers.curve_maps:CurveEnhancer", (), "PIE's curve maps, at full resolution"),
    "compact": Network(
        "lle.enhancers.compact:CompactEnhancer", ("thumbnail_size", "width"), "looks at a small copy, for CPUs"
    ),
    "bilateral": Network(
        "lle.enhancers.bilateral:BilateralEnhancer",
        ("thumbnail_size", "width", "denoise"),
        "looks at a small copy, follows edges, takes noise out",
    ),
    "exposure": Network(
        "lle.enhancers.exposure:ExposureEnhancer",
        ("thumbnail_size", "width", "denoise", "local"),
        "looks at a small copy, one exposure and one white balance for the picture, takes noise out",
    ),
    "scene": Network(
        "lle.enhancers.scene:SceneEnhancer",
        ("denoise", "camera", "fully_believed"),
        "the same by what a picture shows, with an ImageNet network that ships with the package",
    ),
    "haze": Network(
        "lle.enhancers.haze:HazeEnhancer",
        ("thumbnail_size", "width"),
        "looks at a small copy, takes the air's light away and gives back what the air took",
    ),
    "rain": Network("lle.enhancers.rain:RainEnhancer", ("width",), "takes a share of every pixel away, as streaks add"),
}
"""Each network by its name in `enhancer.arch`."""


def only_with(name: str) -> str:
    """The networks that a setting of `enhancer` acts on, as a field's `needs`."""
    return f"enhancer.arch={'|'.join(arch for arch, network in NETWORKS.items() if name in network.takes)}"
