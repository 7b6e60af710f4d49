"""Takes out the noise that was lifted together with the light.

    e' = clamp(e + m_1 d_1 + m_2 d_2 + n_1 g(d_1) + n_2 g(d_2) + L r, 0, 1),    d_i = B_i - e

B_1, B_2: e blurred a little and blurred more; m_1, m_2: how much of each; n_1, n_2: how much more or less of it in
grey, for colours hold more noise and less detail; g: the mean of the three channels; r: a residual; L: the brightest
channel of B_2, so that a black sky stays black whatever r says. m, n and r come from a U-net on blocks of 2 x 2 pixels
(as in FFDNet, Zhang et al. 2018) with two steps down. It sees the detail e - B_2, the base B_2 and how far each block
was lifted, h, so that what was not lifted can stay as it is. It starts as a copy. Blurs to choose from teach it in 200
steps what a residual alone has not learned in 500. Trained by restoration: the noise, and the losses of files, are what
`exposure.curves` adds, no clean twin of a noisy photo is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.enhancers.blocks import PlainBlock, convolving_fast, leaky, starting_at_zero

BLOCK = 2
VALUES = 3 * BLOCK**2  # RGB of a block
MIXED = 4  # m_1, m_2, n_1, n_2
COARSEST = 4 * BLOCK  # px, a cell of the coarse scale
REACH = 56  # pixels to every side that a result depends on, 49, rounded up to whole cells of the coarse scale
BLUR_RADIUS = 2
COARSE_BLUR = 4
SHARPER = 4.0  # details are small numbers


class BlockNetwork(nn.Module):
    """The U-net: numbers of each block of 2 x 2 pixels in, numbers of each block out; it starts with zeros.

    Args:
        inputs, outputs: numbers of a block.
        width: channels of the middle scale, even; half of it at the fine one, twice at the coarse one. Processors like
            multiples of 16.
    """

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        fine, coarse = width // 2, 2 * width
        self.enter = nn.Conv2d(inputs, fine, 3, padding=1)
        self.to_middle = nn.Conv2d(fine, width, 2, stride=2)
        self.middle_in = PlainBlock(width)
        self.to_coarse = nn.Conv2d(width, coarse, 2, stride=2)
        self.coarse = PlainBlock(coarse)
        self.from_coarse = nn.Conv2d(coarse, width, 1)
        self.middle_out = PlainBlock(width)
        self.from_middle = nn.Conv2d(width, 4 * fine, 1)
        self.join = nn.Conv2d(fine, fine, 3, padding=1)
        self.leave = starting_at_zero(nn.Conv2d(fine, outputs, 3, padding=1))

    def decide(self, blocks: Tensor) -> Tensor:
        """(B, outputs, H / 2, W / 2) of (B, inputs, H / 2, W / 2), whose sides are multiples of 4."""
        with convolving_fast(blocks) as x:
            fine = leaky(self.enter(x))
            middle = self.middle_in(leaky(self.to_middle(fine)))
            coarse = self.coarse(leaky(self.to_coarse(middle)))
            middle = self.middle_out(middle + F.interpolate(self.from_coarse(coarse), scale_factor=2.0, mode="nearest"))
            fine = fine + F.pixel_shuffle(self.from_middle(middle), 2)
            left = self.leave(leaky(self.join(fine)))
        return left.to(blocks.dtype, memory_format=torch.contiguous_format)


class Denoiser(BlockNetwork):
    """About 5,500 multiply-adds per pixel and 132,336 parameters at the default width, that of the U-net."""

    def __init__(self, width: int = 32) -> None:
        super().__init__(VALUES + 3 + 1, VALUES + MIXED, width)
        self.register_load_state_dict_pre_hook(_with_grey_mixed_alike)

    def forward(self, image: Tensor, exponent: Tensor) -> Tensor:
        """RGB in [0, 1] from RGB, (B, 3, H, W), and the light exponent h it was lifted by, (B, 1, H, W)."""
        height, width = image.shape[-2:]
        x, lifted = (in_whole_blocks(each) for each in (image, exponent))
        little = _blurred(x)
        coarse = F.avg_pool2d(little, COARSE_BLUR)
        base = F.interpolate(coarse, size=x.shape[-2:], mode="bilinear")
        base_of_blocks = F.interpolate(coarse, scale_factor=COARSE_BLUR / BLOCK, mode="bilinear")
        blocks = [SHARPER * into_blocks(x - base), base_of_blocks - 0.5, F.avg_pool2d(lifted, BLOCK)]
        residual, mixing = self.decide(torch.cat(blocks, dim=1)).split([VALUES, MIXED], dim=1)
        residual, mixing = out_of_blocks(residual), F.interpolate(mixing, scale_factor=float(BLOCK), mode="nearest")
        light = base.amax(dim=1, keepdim=True)
        to_little, to_base = little - x, base - x
        little_of_all, base_of_all, little_of_grey, base_of_grey = mixing.split(1, dim=1)
        grey = (little_of_grey * _sum(to_little)).addcmul_(base_of_grey, _sum(to_base)).div_(3)
        x = torch.addcmul(x + grey, light, residual).addcmul_(little_of_all, to_little).addcmul_(base_of_all, to_base)
        return x[..., :height, :width].clamp(0, 1)


def _with_grey_mixed_alike(network: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Weights from before grey was mixed by itself, by which it is mixed as the colours are."""
    for name in (f"{prefix}leave.weight", f"{prefix}leave.bias"):
        found = state.get(name)
        if found is not None and len(found) == VALUES + MIXED // 2:
            state[name] = torch.cat([found, found.new_zeros(MIXED // 2, *found.shape[1:])])


def in_whole_blocks(image: Tensor) -> Tensor:
    """(B, C, H, W) continued below and to the right until the U-net can halve it twice."""
    height, width = image.shape[-2:]
    return F.pad(image, [0, -width % COARSEST, 0, -height % COARSEST], mode="replicate")


def into_blocks(x: Tensor) -> Tensor:
    """What `pixel_unshuffle` makes of blocks of 2 x 2, (B, 4 C, H / 2, W / 2), in half the time."""
    return torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], dim=2).flatten(1, 2)


def out_of_blocks(x: Tensor) -> Tensor:
    """What `pixel_shuffle` makes of them, (B, C, H, W), in a quarter of the time."""
    rows = [torch.stack([x[:, 2 * i :: 4], x[:, 2 * i + 1 :: 4]], dim=-1).flatten(-2) for i in (0, 1)]
    return torch.stack(rows, dim=-2).flatten(-3, -2)


def _sum(x: Tensor) -> Tensor:
    """Of the three channels, (B, 1, H, W), in a part of the time of `sum`."""
    return x[:, :1] + x[:, 1:2] + x[:, 2:]


def _blurred(x: Tensor) -> Tensor:
    """Binomial weights over 5 x 5 pixels: pairs of neighbours are averaged four times along each side."""
    x = F.pad(x, [BLUR_RADIUS] * 4, mode="replicate")
    for side in (2, 3):
        for _ in range(2 * BLUR_RADIUS):
            length = x.shape[side] - 1
            x = x.narrow(side, 0, length) + x.narrow(side, 1, length)
    return x / 2.0 ** (4 * BLUR_RADIUS)
