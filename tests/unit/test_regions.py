import numpy as np
import pytest

from lle.config import RegionSettings
from lle.regions import find_regions


@pytest.fixture
def night() -> np.ndarray:
    """A very dark chessboard of 8 x 8 px fields, whose levels differ by one."""
    fields = np.indices((10, 10)).sum(axis=0) % 2
    board = 2 + fields.repeat(8, axis=0).repeat(8, axis=1)
    return board.astype(np.uint8)[..., None].repeat(3, axis=2)


@pytest.mark.parametrize("method", ["felzenszwalb", "slic"])
def test_regions_are_counted_from_zero_without_gaps(method: str, night: np.ndarray):
    labels = find_regions(night, RegionSettings(method=method))
    assert labels.shape == (80, 80) and labels.dtype == np.int32
    assert np.unique(labels).tolist() == list(range(labels.max() + 1))


def test_brightening_finds_the_regions_of_a_very_dark_photo(night: np.ndarray):
    assert find_regions(night, RegionSettings(min_size=20)).max() < 5, "the fields melt into one another"
    labels = find_regions(night, RegionSettings(min_size=20, brighten=True))
    assert len(np.unique(labels[4::8, 4::8])) == 100, "one for each field"


def test_smaller_regions_join_a_neighbour(night: np.ndarray):
    labels = find_regions(night, RegionSettings(brighten=True, min_size=300))
    assert np.bincount(labels.ravel()).min() >= 300


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(ValueError, match="regions: a picture of shape .* has no pixels"):
        find_regions(np.empty((0, 5, 3), np.uint8), RegionSettings())
