"""Rank loss of the prompt refinement: sets in the order of their light (CLIP-LIT eq. 7 and 8, method 1.3).

    M_m(a, b) = mean of max(0, m - (P(a) - P(b)))         "a is more badly lit than b by at least m"

    nothing enhanced yet     M_first(I, W)
    one enhanced set e       M_far(I, W) + M_far(I, e) + M_single(e, W)
    two, old before new      M_far(I, W) + M_far(I, e_old) + M_near(e_old, e_new) + M_near(e_new, W)

The published code passes the newest set where the older belongs from the second round on, and so asks new results to
look worse than old ones (method 1.5); the order here is the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lle.config import RankTerm


def rank(dark: Tensor, enhanced: Sequence[Tensor], well_lit: Tensor, margins: RankTerm) -> Tensor:
    """Scalar >= 0; 0 once every order holds by its margin.

    Args:
        dark: P(badly lit) of the inputs, (B,), in [0, 1].
        enhanced: the same of their enhanced versions, oldest first; at most two.
        well_lit: the same of well-lit pictures, (B,).
        margins: the margins, in probability.

    Raises:
        ValueError: more than two enhanced sets.
    """
    if not enhanced:
        return margin_loss(dark, well_lit, margins.first)
    far = margin_loss(dark, well_lit, margins.far) + margin_loss(dark, enhanced[0], margins.far)
    if len(enhanced) == 1:
        return far + margin_loss(enhanced[0], well_lit, margins.single)
    older, newer = enhanced
    return far + margin_loss(older, newer, margins.near) + margin_loss(newer, well_lit, margins.near)


def margin_loss(worse: Tensor, better: Tensor, margin: float) -> Tensor:
    """M_margin(worse, better): scalar in [0, 1 + margin], from probabilities (B,)."""
    return (margin - (worse - better)).clamp(min=0).mean()
