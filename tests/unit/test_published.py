import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lle.enhancers.curve_maps import CurveEnhancer
from lle.enhancers.peers import Sci, ZeroDcePlusPlus
from lle.enhancers.published import PUBLISHED, load_published
from lle.enhancers.retinex import RetinexEnhancer

FILES = {
    "clip-lit": "cliplit/enhancement_model.pth",
    "rave": "rave/rave_unpaired.pth",
    "pie": "pie/PiLLE.pth",
    "scl-lle": "scl_lle/SCL-LLE.pth",
    "zero-dce": "zero_dce/Epoch99.pth",
    "zero-dce++": "zero_dcepp/Epoch99.pth",
    "sci": "sci/medium.pt",
}


@pytest.fixture(scope="session")
def peers(shared: Path) -> Path:
    return shared / "data" / "weights" / "peers"


@pytest.fixture(scope="session")
def outputs(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "reference" / "peer_outputs.npz") as arrays:
        return dict(arrays)


@pytest.fixture(params=[0, 1, 2])
def crop(request: pytest.FixtureRequest, shared: Path) -> int:
    assert len(json.loads((shared / "reference" / "peer_outputs.json").read_text())["crops"]) == 3
    return request.param


def picture(outputs: dict[str, np.ndarray], crop: int) -> Tensor:
    return torch.from_numpy(outputs[f"input_{crop}"]).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize(
    ("network", "parameters"), [(ZeroDcePlusPlus(), 10_561), (Sci(), 258)], ids=["zero-dce++", "sci"]
)
def test_peers_have_the_published_number_of_parameters(network: torch.nn.Module, parameters: int):
    assert sum(weight.numel() for weight in network.parameters()) == parameters


@pytest.mark.parametrize("padding", ["reflect", "zeros"])
def test_clip_lit_gives_the_published_light_maps(peers: Path, outputs, crop: int, padding: str):
    enhancer = load_published("clip-lit", peers / FILES["clip-lit"], padding=padding)
    assert isinstance(enhancer, RetinexEnhancer)
    light = enhancer.light_map(picture(outputs, crop))[0, 0]
    reference = torch.from_numpy(outputs[f"cliplit_{padding}_lightmap_{crop}"])
    torch.testing.assert_close(light, reference, atol=1e-5, rtol=0)


def test_pie_gives_the_published_pictures_and_all_its_curves(peers: Path, outputs, crop: int):
    enhancer = load_published("pie", peers / FILES["pie"])
    assert isinstance(enhancer, CurveEnhancer)
    enhanced, maps = enhancer(picture(outputs, crop))
    assert maps.shape[1] == 24
    torch.testing.assert_close(maps[0], torch.from_numpy(outputs[f"pie_curves_{crop}"]), atol=1e-5, rtol=0)
    torch.testing.assert_close(enhanced[0], torch.from_numpy(outputs[f"pie_enhanced_{crop}"]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_network_brightens_a_dark_picture(peers: Path, name: str):
    torch.manual_seed(0)
    dark = 0.05 + 0.1 * torch.rand(1, 3, 48, 64)
    enhanced = load_published(name, peers / FILES[name])(dark).image
    assert enhanced.shape == dark.shape and enhanced.min() >= 0 and enhanced.max() <= 1
    assert enhanced.mean() > 1.2 * dark.mean()


@pytest.mark.parametrize("name", PUBLISHED)
def test_no_weight_is_too_small_for_a_cpu_to_be_fast(peers: Path, name: str):
    weights = torch.cat([weight.flatten().abs() for weight in load_published(name, peers / FILES[name]).parameters()])
    assert not ((weights > 0) & (weights < torch.finfo(torch.float32).tiny)).any()


@pytest.mark.parametrize("size", [(24, 36), (25, 37), (5, 7), (11, 23)])
def test_zero_dce_plus_plus_pads_sides_that_its_scale_does_not_divide(size: tuple[int, int]):
    torch.manual_seed(0)
    network, image = ZeroDcePlusPlus(scale=12).eval(), torch.rand(1, 3, *size)
    enhanced, maps = network(image)
    assert enhanced.shape == image.shape
    assert maps.shape[-2:] == tuple(-(-side // 12) for side in size)
    continued = torch.nn.functional.pad(image, (0, -size[1] % 12, 0, -size[0] % 12), mode="replicate")
    torch.testing.assert_close(enhanced, network(continued).image[..., : size[0], : size[1]])


def test_zero_dce_plus_plus_looks_at_full_size_unless_told_otherwise():
    image = torch.rand(1, 3, 10, 14)
    network = ZeroDcePlusPlus()
    enhanced, maps = network(image)
    assert torch.equal(maps, network.network(image))
    for _ in range(8):
        image = image + maps * (image**2 - image)
    torch.testing.assert_close(enhanced, image)


def test_sci_divides_by_a_light_map_above_the_picture():
    torch.manual_seed(0)
    image = 0.3 * torch.rand(2, 3, 20, 30)
    enhanced, light = Sci().eval()(image)
    assert (light >= image).all() and light.max() <= 1
    torch.testing.assert_close(enhanced * light, image)


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path):
    with pytest.raises(ValueError, match="zero-dse: no published network of this name is known; choose from clip-lit,"):
        load_published("zero-dse", tmp_path / "any.pth")


@pytest.mark.parametrize(
    ("name", "other"),
    [("clip-lit", "pie"), ("pie", "clip-lit"), ("zero-dce", "zero-dce++"), ("zero-dce++", "zero-dce"), ("sci", "rave")],
)
def test_a_checkpoint_of_another_network_is_refused_by_name(peers: Path, name: str, other: str):
    with pytest.raises(ValueError, match=rf"{Path(FILES[other]).name}: holds another network than ") as refused:
        load_published(name, peers / FILES[other])
    assert f"than {name}'s" in str(refused.value) and "\n" not in str(refused.value)


def test_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(ValueError, match=r"absent.pth: no such file; give the path of sci's checkpoint"):
        load_published("sci", tmp_path / "absent.pth")


@pytest.mark.parametrize("content", [[torch.zeros(3)], {"epoch": 3}], ids=["list", "numbers"])
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth: holds no state dict"):
        load_published("pie", tmp_path / "other.pth")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path):
    (tmp_path / "photo.pth").write_bytes(b"\xff\xd8\xff rubbish")
    with pytest.raises(ValueError, match=r"photo.pth: not a checkpoint that can be loaded safely"):
        load_published("pie", tmp_path / "photo.pth")


@pytest.mark.parametrize(
    "write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))]
)
@pytest.mark.parametrize("name", ["clip-lit", "sci"])
def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path: Path, name: str, write):
    canary, evil = tmp_path / "ran", tmp_path / "evil.pth"

    class Attack:
        def __reduce__(self):
            return (Path.touch, (canary,))

    write({"cond1.weight": Attack()}, evil)
    with pytest.raises(ValueError, match="safely"):
        load_published(name, evil)
    assert not canary.exists()
