from pathlib import Path

import pytest
import torch
from tiny import tiny_tower

from lle.config import GuidanceTerm, ObjectiveSettings, PriorSettings, Term
from lle.enhancers import Enhanced
from lle.losses.objective import Objective, Others
from lle.prior.prompts import PromptPair
from lle.prior.towers import Prior
from lle.prior.vgg16 import LAYERS, VGG16, load_vgg16
from lle.prior.weights import PriorError, check_prior


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like torchvision's, with random convolutions and something of the classifier."""
    from torchvision.models.vgg import make_layers

    torch.manual_seed(0)
    named = {f"features.{name}": weight for name, weight in make_layers(LAYERS).state_dict().items()}
    path = tmp_path_factory.mktemp("vgg16") / "vgg16.pth"
    torch.save({**named, "features.24.weight": torch.zeros(1), "classifier.0.bias": torch.zeros(2)}, path)
    return path


def test_its_stages_are_the_four_named_layers(weights: Path):
    image = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    network = load_vgg16(str(weights))
    stages = network(image)
    assert [tuple(stage.shape[1:]) for stage in stages] == [(64, 32, 48), (128, 16, 24), (256, 8, 12), (512, 4, 6)]
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for end, stage in zip((4, 9, 16, 23), stages, strict=True):
        torch.testing.assert_close(network.features[:end]((image - mean) / std), stage)


def test_gradients_reach_the_picture_and_not_the_weights(weights: Path):
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    network = load_vgg16(str(weights))
    network(image)[-1].sum().backward()
    assert float(image.grad.abs().sum()) > 0
    assert not any(weight.requires_grad for weight in network.parameters())


def test_the_feature_terms_look_through_it_instead_of_the_tower(weights: Path):
    seen = []

    class Watching(VGG16):
        def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
            seen.append(len(image))
            return super().forward(image)

    tower = tiny_tower()
    settings = ObjectiveSettings(
        guidance=GuidanceTerm(),
        identity={"weight": 0.0},
        preservation=Term(weight=1.0),
        feature_contrast=Term(weight=1.0),
    )
    objective = Objective(settings, Prior(tower, tower, Watching(load_vgg16(str(weights)).features)), PromptPair(tower))
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    terms = objective.enhancement(image, Enhanced(image * 0.5, image[:, :1]), Others(image.flip(0), image * 0.1))
    assert terms.values.keys() == {"preservation", "feature_contrast"} and float(terms.total) > 0
    assert seen == [2, 6]


def test_an_absent_file_is_one_sentence_before_anything_is_loaded(tmp_path: Path):
    for named, sentence in (("", "say where torchvision's VGG16"), (str(tmp_path / "no.pth"), "no.pth is no file")):
        with pytest.raises(PriorError, match=rf"prior\.vgg16_weights: .*{sentence}.*--prior\.features tower"):
            check_prior(PriorSettings(features="vgg16", vgg16_weights=named))


@pytest.mark.parametrize("content", [b"not weights", None])
def test_the_weights_of_something_else_are_one_sentence(tmp_path: Path, content: bytes | None):
    path = tmp_path / "other.pth"
    if content is None:
        torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(PriorError, match=r"prior\.vgg16_weights: other\.pth does not hold torchvision's VGG16 \(.*\)"):
        load_vgg16(str(path))
