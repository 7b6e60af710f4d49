"""Light over time: what an exposure network decides for the frames of a clip, without flicker (ours).

A network decides on each frame by itself; what it shows of one scene must not change from frame to frame. So its
decisions are filtered, causally, with time constants in seconds, whatever the frame rate:

    m += (1 - e^(-dt / T)) (u + n c - m),    c = e^(-dt / T) (c + r), |c| <= ln 2,    the frame gets m - n c

u: the network's exposure, asked for ten times a second; r: by how much a place has become brighter since the last
frame, the median over places of the change of log light, so that what moves does not count; c: how much brighter the
scene is than in the last seconds, at most a stop. A lamp that flickers, or a camera that exposes anew, is taken back at
once; what stays is followed within T. n = 1 - exp(-(m / .6)^2): a clip that needs no light is left as it is. m is never
more than a stop above u + n c, so that a scene that becomes bright is not burnt. ln w is filtered with T, the maps that
keep highlights with a tenth of it, for they belong to places, and what is seen there moves. u is bounded: compressed
clips hold little but blocks below their darkest tones, and lifted to a photo's level they show nothing else.

Anew: after a cut, where log light, exposure aside, has changed more than .35 of what two pictures that know nothing of
each other differ by; and after black frames, which decide nothing.
"""

from __future__ import annotations

from math import exp, log

import torch
from torch import Tensor

from lle.enhancers.exposure import OneExposure
from lle.enhancers.light import Light, log_light
from lle.enhancers.resizing import shrunk
from lle.enhancers.scene import TRUSTED_UP
from lle.exposure.camera import srgb_to_linear
from lle.exposure.shoulder import BRIGHTEST, DARKEST

SECONDS = 1.0
MAX_STOPS = 4.5
SIDE = 32  # px of the copy on which frames are compared
STOP = log(2)
LOOK_EVERY = 0.1  # s
OF_MAPS = 0.1  # their time constant, of that of light
CUT = 0.35
LEAST_CONTRAST = 0.05  # variance of log light; below it pictures differ by noise
NO_LIGHT = 2e-3  # linear; a frame without a brighter place is black


class LightOverTime:
    """The light of a clip, frame by frame in the order in which they are shown.

    Args:
        network: what decides.
        seconds: time constant T; 0: each frame by itself.
        max_stops: shadows are lifted by so much at most.

    Attributes:
        cuts: times at which light was decided anew, s.
    """

    def __init__(self, network: OneExposure, seconds: float = SECONDS, max_stops: float = MAX_STOPS) -> None:
        self._network, self._seconds, self._highest = network, seconds, log(2) * max_stops
        self.cuts = list[float]()
        self._light: Light | None = None
        self._seen = torch.empty(0)
        self._was_black, self._time = False, 0.0

    @torch.inference_mode()
    def __call__(self, image: Tensor, time: float) -> Light:
        """The light of the next frame.

        Args:
            image: uint8, or RGB in [0, 1], (1, 3, H, W).
            time: when it is shown, s.
        """
        if self._seconds == 0:
            return self._alone(image)
        linear = srgb_to_linear(shrunk(image, SIDE).float())
        seen, black = log_light(linear), bool(linear.max() < NO_LIGHT)
        if self._light is None or (not black and (self._was_black or is_cut(self._seen, seen))):
            self._begin(image, time)
        elif not black:
            self._go_on(image, time, float((seen - self._seen).median()))
        self._seen, self._was_black, self._time = seen, black, time
        assert self._light is not None
        exposure = self._light.exposure - self._taken_back()
        return self._light._replace(exposure=exposure.clamp(-DARKEST, BRIGHTEST))

    def _begin(self, image: Tensor, time: float) -> None:
        self._wanted = self._light = self._alone(image)
        self._brighter, self._looked = 0.0, time
        self.cuts.append(time)

    def _go_on(self, image: Tensor, time: float, change: float) -> None:
        assert self._light is not None
        passed = max(0.0, time - self._time)
        stays = exp(-passed / self._seconds)
        self._brighter = min(max(stays * (self._brighter + change), -STOP), STOP)
        if time >= self._looked + LOOK_EVERY - 1e-3:
            alone = self._alone(image)
            self._wanted = alone._replace(exposure=alone.exposure + self._taken_back())
            self._looked = time
        self._light = towards(self._light, self._wanted, 1 - stays, 1 - exp(-passed / (OF_MAPS * self._seconds)))

    def _alone(self, image: Tensor) -> Light:
        """What the network decides on a frame by itself, bounded; the gain of shadows is nearly e^u."""
        light, _ = self._network.light(image)
        return light._replace(exposure=light.exposure.clamp(max=self._highest))

    def _taken_back(self) -> float:
        """n c."""
        assert self._light is not None
        return self._brighter * (1 - exp(-((float(self._light.exposure) / TRUSTED_UP) ** 2)))


def towards(light: Light, wanted: Light, share: float, share_of_maps: float) -> Light:
    """Light some way on to what is wanted, u at most a stop above it."""

    def maps(before: Tensor | None, after: Tensor | None) -> Tensor | None:
        return None if before is None or after is None else torch.lerp(before, after, share_of_maps)

    exposure = torch.lerp(light.exposure, wanted.exposure, share)
    return Light(
        torch.minimum(exposure, wanted.exposure + STOP),
        torch.lerp(light.balance.log(), wanted.balance.log(), share).exp(),
        maps(light.local, wanted.local),
        maps(light.base, wanted.base),
        wanted.max_local,
    )


def is_cut(before: Tensor, after: Tensor) -> bool:
    """Whether two frames show different scenes, by their log light, (1, 1, h, w), whatever the exposure of each."""
    return difference(before, after) > CUT


def difference(before: Tensor, after: Tensor) -> float:
    """0 for frames of one scene, about 1 for two that have nothing in common."""
    change = after - before
    between = (before.var() + after.var()).clamp_min(LEAST_CONTRAST)
    return float((change - change.median()).square().mean() / between)
