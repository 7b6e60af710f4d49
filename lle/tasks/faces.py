"""Where faces are: enhanced, a picture should look to a face detector like the well-lit photo.

    L = mean over sizes of faces of (mean KL(P(W) || P(e)) + mean |F(e) - F(W)| / mean |F(W)|)

e: the enhanced wrong exposure of W; P: maps of the chance that a place is a face, F: of the features they are read off,
by the first network of MTCNN (Zhang et al. 2016), frozen, as `facenet-pytorch` brings it (MIT). It looks for faces of
12 px in ever smaller copies, each .7 of the one before.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lle.dotted import OwnCodeError

SMALLEST, FACE, SHRINK = 20, 12, 0.709
"""px: the smallest face that is looked for, and how large the network wants faces to be; from copy to copy."""
LEAST = 1e-4


class FaceMaps(nn.Module):
    """The proposal network of MTCNN over a pyramid.

    Raises:
        OwnCodeError: facenet-pytorch is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            from facenet_pytorch.models.mtcnn import PNet
        except ImportError as error:
            raise OwnCodeError(
                "objective.task.module: lle.tasks.faces needs one more package; pip install facenet-pytorch "
                "(or 'lle[faces]')"
            ) from error
        self.network = PNet()

    def forward(self, enhanced: Tensor, wanted: Tensor) -> Tensor:
        """Scalar >= 0 of RGB in [0, 1], (B, 3, H, W) both.

        Raises:
            ValueError: pictures too small for a face of 20 px.
        """
        losses = []
        for rows, columns in pyramid(*wanted.shape[-2:]):
            ours, theirs = (
                F.interpolate(each.float(), size=(rows, columns), mode="bilinear", antialias=True)
                for each in (enhanced, wanted)
            )
            with torch.no_grad():
                their_features, their_faces = self._look(theirs)
            our_features, our_faces = self._look(ours)
            told = F.kl_div(our_faces, their_faces, log_target=True, reduction="none").sum(dim=1).mean()
            apart = (our_features - their_features).abs().mean() / their_features.abs().mean().clamp_min(LEAST)
            losses.append(told + apart)
        return torch.stack(losses).mean()

    def _look(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Features, (B, 32, h, w), and logarithms of the chances of no face and of a face, (B, 2, h, w)."""
        net = self.network
        found = net.pool1(net.prelu1(net.conv1(2 * image - 1)))
        found = net.prelu3(net.conv3(net.prelu2(net.conv2(found))))
        return found, F.log_softmax(net.conv4_1(found), dim=1)


def pyramid(rows: int, columns: int) -> list[tuple[int, int]]:
    """Sizes of the copies in which faces of 20 px and more are 12 px large, the largest first.

    Raises:
        ValueError: there is no room for such a face.
    """
    scale, sizes = FACE / SMALLEST, list[tuple[int, int]]()
    while min(rows, columns) * scale >= FACE:
        sizes.append((round(rows * scale), round(columns * scale)))
        scale *= SHRINK
    if not sizes:
        raise ValueError(
            f"objective.task: pictures of {columns} x {rows} px have no room for a face of {SMALLEST} px; give a "
            "larger data.image_size"
        )
    return sizes
