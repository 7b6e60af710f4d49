"""What a single number for each photo could reach: the best exposure with a shoulder, found by the ground truth."""

from __future__ import annotations

from torch import Tensor, nn

from lle.baselines import best_exposure
from lle.images import to_tensor
from pipelines.data.photo_sets import read_photo
from pipelines.evaluation.worker import Photo
from pipelines.models.named import NamedModel


def oracle(photo: Photo, name: str, max_pixels: int) -> NamedModel:
    """The best exposure of one photo, which has a ground truth."""
    truth = to_tensor(read_photo(photo.truth_uri, photo.truth_path, max_pixels))
    return NamedModel(name, name, BestExposure(truth))


class BestExposure(nn.Module):
    """Pictures by the exposure that is nearest to a truth, RGB in [0, 1], (3, H, W)."""

    def __init__(self, truth: Tensor) -> None:
        super().__init__()
        self.truth = truth

    def forward(self, image: Tensor) -> Tensor:
        return best_exposure(image, self.truth[None])
