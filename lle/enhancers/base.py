"""What every enhancer is: RGB in, RGB and the maps that made it out."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

STRONGEST = 1.5


class Enhanced(NamedTuple):
    """Result of an enhancer.

    Attributes:
        image: RGB in [0, 1], (B, 3, H, W).
        maps: what the network predicted to get there, the thing to keep smooth: (B, M, h, w) at the network's own
            resolution (retinex: the light map, M = 1; curves: eight curves of RGB, M = 24; compact: the light
            exponent, M = 1; bilateral: its light maps, M = 2; exposure and scene: the exposure u of each place, M = 1).
    """

    image: Tensor
    maps: Tensor


class Enhancer(nn.Module):
    """Base of the networks: any height and width >= 1, RGB floats in [0, 1], (B, 3, H, W).

    Attributes:
        knows_strength: whether `forward` takes a strength: a number, or a tensor (1,) that stays free in an export.
        takes_bytes: whether `forward` takes and gives uint8, too, so that a large picture is never all floats.
    """

    knows_strength = False
    takes_bytes = False

    def forward(self, image: Tensor) -> Enhanced:
        """Brighten a batch and say by which maps."""
        raise NotImplementedError

    def picture(self, image: Tensor, strength: float = 1.0) -> Tensor:
        """The picture of `forward` alone, for any size: without a gradient, memory stays near that of the result.

        Args:
            image: RGB in [0, 1], (B, 3, H, W).
            strength: from 0, the picture as it is, over 1 to 1.5; networks without one know 1 alone.

        Raises:
            ValueError: another strength.
        """
        self.check_strength(strength)
        return self._picture(image)

    def check_strength(self, strength: float) -> None:
        """See that the network knows the strength.

        Raises:
            ValueError: it does not, or no network would.
        """
        if checked_strength(strength) != 1 and not self.knows_strength:
            raise ValueError(
                f"strength: this network ({type(self).__name__}) knows none but 1; leave it out, or take one of kind "
                "exposure, scene, haze or rain"
            )

    def _picture(self, image: Tensor) -> Tensor:
        return self(image).image


def checked_strength(strength: float) -> float:
    """The strength, if it is one.

    Raises:
        ValueError: it lies outside 0 to 1.5.
    """
    if not 0 <= strength <= STRONGEST:
        raise ValueError(
            f"strength: {strength:g} lies outside 0 to {STRONGEST:g}; give 0 for the photo as it is, 1 as trained"
        )
    return float(strength)


def count_weights(network: nn.Module) -> int:
    """Numbers that a network consists of; those that no training changes, which are buffers, among them."""
    frozen = (each for name, each in network.named_buffers() if name.rpartition(".")[2] in ("weight", "bias"))
    return sum(each.numel() for each in (*network.parameters(), *frozen))


def start_small(module: nn.Module) -> None:
    """For `apply`: convolutions of the published networks start from weights of N(0, 0.02) and biases of 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
