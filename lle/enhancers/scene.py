"""Our enhancer that knows scenes: one exposure and one white balance, by what the picture shows.

A copy of 160 x 160 pixels is lifted by the curve of `exposure.shoulder` to a mean of .44, where an ImageNet network
sees best, whatever the light was; a head on its features says by how much that misses.

    u = g v,    v = u0 + b h(F(lifted), u0),    ln w = g h'(F(lifted), u0),    g = 1 - exp(-(v / t)^2),    b = |u0| / 4

u0: the lift to .44, so the network begins as that baseline; F: the frozen tower; g: near 0 where the picture is good
already, for a small correction is more often a mistake than wanted: t is .6 upwards and 1.5 downwards, as bright
pictures are more often meant so than exposed too long; b: how far the head is believed, for where .44 misses, it misses
by less the less a picture lacks. In training g and b are 1, and b stays 1 where a network has learned the level of one
set of photos.

A camera that it does not know has a cast of its own, and exposes scenes by a rule of its own. Five numbers for all its
pictures can learn that, while the rest rests: logarithms of gains that are taken before anything is decided, and a and
b of a + b (u0 - 3.5), which is added to v.
The rest, with the noise, is done as by the exposure network, tones kept.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lle.enhancers.blocks import starting_at_zero
from lle.enhancers.denoiser import Denoiser
from lle.enhancers.exposure import OneExposure
from lle.enhancers.light import Light, edge_aware_base, gains
from lle.enhancers.resizing import shrunk
from lle.enhancers.tower import FEATURES, SIDE, Tower
from lle.exposure.camera import linear_to_srgb, srgb_to_linear
from lle.exposure.shoulder import BRIGHTEST, DARKEST, k_of, lift_to_mean, shoulder

GREY = 0.44
WIDTH = 96
DROPPED = 0.6  # of so many features for so few photos
TRUSTED_UP, TRUSTED_DOWN = 0.6, 1.5
BELIEVED_AT = 4.0  # a lift, in nat, as of a very dark photo
USUAL_LIFT = 3.5


class SceneEnhancer(OneExposure):
    """283,444 parameters with the denoiser at the default width, 151,108 without, beside 2,939,120 of the tower.

    Args:
        denoise: channels of the denoiser; 0: none.
        camera: beside, five numbers of a camera, which learn alone.
        fully_believed: b is 1 in use, too.
    """

    thumbnail_size = SIDE

    def __init__(self, denoise: int = 32, camera: bool = False, fully_believed: bool = False) -> None:
        super().__init__()
        self.fully_believed = fully_believed
        self.tower = Tower()
        self.camera = nn.Parameter(torch.zeros(5)) if camera else None
        self.head = nn.Sequential(
            nn.Dropout(DROPPED),
            nn.Linear(FEATURES + 1, WIDTH),
            nn.GELU(),
            nn.Dropout(DROPPED),
            starting_at_zero(nn.Linear(WIDTH, 4)),
        )
        self.denoiser = Denoiser(denoise) if denoise else None
        if camera:
            self.head.requires_grad_(False)
            if self.denoiser is not None:
                self.denoiser.requires_grad_(False)
            self.register_load_state_dict_pre_hook(_with_a_usual_camera)

    def train(self, mode: bool = True) -> SceneEnhancer:
        """The head beside a camera's numbers decides as it will afterwards."""
        super().train(mode)
        if self.camera is not None:
            self.head.eval()
        return self

    @property
    def denoiser_at_work(self) -> Denoiser | None:
        """None while a camera's numbers learn, which know of no noise: their steps take less time so."""
        return None if self.camera is not None and self.training else self.denoiser

    def light_of(self, small: Tensor) -> tuple[Light, Tensor]:
        small = srgb_to_linear(small.float())
        if self.camera is not None:
            cast = self.camera[:3].exp().view(1, 3, 1, 1)
            small = (small * cast).clamp(max=1)
        found = self.look(small)
        said, lift = self.head(found).float(), found[:, -1:]
        believed = 1.0 if self.head.training or self.fully_believed else lift.abs() / BELIEVED_AT
        exposure, balance = lift + believed * said[:, :1], gains(said[:, 1:])
        if self.camera is not None:
            exposure = exposure + self.camera[3] + self.camera[4] * (lift - USUAL_LIFT)
            balance = balance * cast
        exposure = exposure.clamp(-DARKEST, BRIGHTEST)[:, :, None, None]
        base = edge_aware_base(small)
        if self.head.training:  # or it would learn to shout
            return Light(exposure, balance, base=base), exposure
        return settled(exposure, balance)._replace(base=base), exposure

    @torch.no_grad()
    def look(self, small: Tensor) -> Tensor:
        """F(lifted) and u0, (B, 1569), of what `seen_small` gives."""
        lift = lift_to_mean(small, GREY)
        return torch.cat([self.tower(linear_to_srgb(shoulder(small, k_of(lift)))), lift.flatten(1)], dim=1)


def _with_a_usual_camera(network: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Weights without a camera's numbers, from which an adaptation begins, have those that change nothing."""
    state.setdefault(f"{prefix}camera", torch.zeros(5))


def seen_small(image: Tensor) -> Tensor:
    """Linear light of the copy that the network looks at, (B, 3, 160, 160), of RGB in [0, 1], (B, 3, H, W)."""
    return srgb_to_linear(shrunk(image, SIDE).float())


def settled(exposure: Tensor, balance: Tensor) -> Light:
    """What is decided, less of it the less it would change: g v and w^g, of (B, 1, 1, 1) and (B, 3, 1, 1)."""
    needed = 1 - torch.exp(-((exposure / torch.where(exposure > 0, TRUSTED_UP, TRUSTED_DOWN)) ** 2))
    return Light(needed * exposure, balance**needed)
