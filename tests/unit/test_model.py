import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lle.config import EnhancerSettings
from lle.enhancers import build_enhancer
from lle.exposure import camera
from lle.images import from_pil, from_tensor, read, to_tensor
from lle.metrics import psnr
from lle.model import DESCRIPTION, WEIGHTS, Model, enhance, load
from pipelines.data.samples import sample_photos

KINDS = [
    EnhancerSettings(arch="compact", thumbnail_size=48, width=8),
    EnhancerSettings(arch="retinex", padding="reflect"),
    EnhancerSettings(arch="curves"),
]
NAMES = [settings.arch for settings in KINDS]


def model(settings: EnhancerSettings, seed: int = 0) -> Model:
    """Random weights that do something visible."""
    torch.manual_seed(seed)
    enhancer = build_enhancer(settings)
    with torch.no_grad():
        for parameter in enhancer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return Model(enhancer, settings, {"trained_on": "tests", "psnr": 12.5})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return model(KINDS[0]).save(tmp_path / "new" / "model")


@pytest.mark.parametrize("settings", KINDS, ids=NAMES)
def test_a_loaded_model_is_the_saved_one(settings: EnhancerSettings, tmp_path: Path):
    original = model(settings)
    again = load(original.save(tmp_path))
    assert (again.settings, again.about) == (settings, {"trained_on": "tests", "psnr": 12.5})
    assert not again.training and not again.enhancer.training
    image = torch.rand(2, 3, 20, 26)
    with torch.no_grad():
        assert torch.equal(again(image), original(image))
        assert not torch.equal(again(image), model(settings, seed=1)(image))


def test_a_saved_model_is_json_and_safetensors_only(saved: Path):
    assert sorted(each.name for each in saved.iterdir()) == [DESCRIPTION, WEIGHTS]


def test_the_bundled_enhancer_brings_light_back_and_leaves_black_alone():
    bundled = load("bundled")
    photo = to_tensor(sample_photos(["astronaut"])["astronaut"])
    dark = camera.expose(photo[None], -3.0)[0]
    restored, black = enhance(bundled, dark), enhance(bundled, torch.zeros(3, 96, 128))
    assert psnr(restored[None], photo[None]) > psnr(dark[None], photo[None]) + 6
    assert psnr(enhance(bundled, photo)[None], photo[None]) > 18
    assert black.mean() < 0.02


def test_saving_again_replaces_the_model(saved: Path):
    other = model(KINDS[0], seed=1)
    other.save(saved)
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(load(saved)(image), other(image))


def rewrite(**values: object):
    def apply(folder: Path) -> None:
        description = json.loads((folder / DESCRIPTION).read_text())
        (folder / DESCRIPTION).write_text(json.dumps({**description, **values}))

    return apply


def forget_about(folder: Path) -> None:
    description = json.loads((folder / DESCRIPTION).read_text())
    del description["about"]
    (folder / DESCRIPTION).write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / DESCRIPTION).unlink(), "model.json is missing"),
        (lambda folder: (folder / WEIGHTS).unlink(), "model.safetensors is missing"),
        (lambda folder: (folder / DESCRIPTION).write_text("{"), "not a model saved by this project"),
        (lambda folder: (folder / DESCRIPTION).write_text("[]"), "not a model saved by this project"),
        (lambda folder: (folder / DESCRIPTION).write_bytes(b"\xff\xfe\x00"), "not a model saved by this project"),
        (rewrite(enhancer={"arch": "oracle"}), "not a model saved by this project"),
        (rewrite(enhancer=KINDS[1].model_dump()), "not a model saved by this project"),
        (forget_about, "not a model saved by this project"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"no tensors in here"), "not a model saved by this project"),
        (
            lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100]),
            "not a model saved by this project",
        ),
    ],
)
def test_a_folder_without_a_sound_model_is_refused_in_one_sentence(damage, reason: str, saved: Path):
    damage(saved)
    with pytest.raises(ValueError) as refusal:
        load(saved)
    assert str(saved) in str(refusal.value)
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("settings", KINDS, ids=NAMES)
@pytest.mark.parametrize("size", [(2, 2), (7, 50), (33, 16)])
def test_enhance_keeps_size_and_range(settings: EnhancerSettings, size: tuple[int, int]):
    image = torch.rand(3, *size)
    image[:, 0, 0], image[:, 1, 1] = 0.0, 1.0
    out = enhance(model(settings), image)
    assert out.shape == image.shape and out.dtype == torch.float32
    assert torch.isfinite(out).all() and float(out.min()) >= 0 and float(out.max()) <= 1
    assert not out.requires_grad


def test_a_photo_comes_back_as_what_it_was_given_as(tmp_path: Path):
    enhancer, pixels = model(KINDS[0]), sample_photos(["chelsea"])["chelsea"][:60, :90]
    expected = from_tensor(enhance(enhancer, to_tensor(pixels)))
    file = tmp_path / "photo.png"
    Image.fromarray(pixels).save(file)
    array, picture = enhancer.enhance(pixels), enhancer.enhance(Image.fromarray(pixels))
    assert isinstance(array, np.ndarray) and np.array_equal(array, expected)
    assert isinstance(picture, Image.Image) and np.array_equal(picture, expected)
    for path in (file, str(file)):
        found = enhancer.enhance(path)
        assert isinstance(found, Image.Image) and np.array_equal(found, expected)
    assert torch.equal(enhancer.enhance(to_tensor(pixels)), enhance(enhancer, to_tensor(pixels)))


def test_pil_images_are_read_like_their_files(tmp_path: Path):
    exif = Image.Exif()
    exif[274] = 6
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8))
    for name, photo, options in (
        ("turned.jpg", grey.convert("RGB"), {"exif": exif}),
        ("alpha.png", grey.convert("RGBA"), {}),
        ("grey.png", grey, {}),
        ("cmyk.jpg", grey.convert("CMYK"), {}),
    ):
        photo.save(tmp_path / name, **options)
        with Image.open(tmp_path / name) as opened:
            assert np.array_equal(from_pil(opened), read(tmp_path / name)), name
    assert from_pil(grey).shape == (20, 30, 3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_float_type_is_enhanced_and_comes_back_as_it_was(dtype: torch.dtype):
    enhancer, photo = model(KINDS[0]), torch.rand(3, 20, 30)
    for given in (photo.to(dtype), photo.to(dtype).requires_grad_(), photo.mT.contiguous().mT.to(dtype)):
        for result in (enhancer.enhance(given), enhance(enhancer, given)):
            assert (result.dtype, result.shape, result.requires_grad) == (dtype, photo.shape, False)
            assert (result.float() - enhance(enhancer, given.detach().float())).abs().max() <= 0.005


def test_a_model_of_another_float_type_takes_the_same_photos():
    photo = torch.rand(3, 20, 30)
    doubled = model(KINDS[0]).double()
    assert (enhance(doubled, photo) - enhance(model(KINDS[0]), photo)).abs().max() < 1e-4
    pixels = (photo * 255).byte().permute(1, 2, 0).numpy()
    assert np.abs(doubled.enhance(pixels).astype(int) - model(KINDS[0]).enhance(pixels)).max() <= 1


def test_arrays_of_16_bits_come_back_with_16_bits():
    enhancer, pixels = model(KINDS[0]), np.random.default_rng(0).integers(0, 65_536, (20, 30, 3)).astype(np.uint16)
    tensor = torch.from_numpy(pixels.astype(np.float32) / 65_535).permute(2, 0, 1)
    expected = (enhance(enhancer, tensor).permute(1, 2, 0).numpy() * 65_535).round()
    for given in (pixels, np.asfortranarray(pixels), pixels[::-1][::-1]):
        result = enhancer.enhance(given)
        assert result.dtype == np.uint16 and np.abs(result - expected).max() <= 1


def test_pil_images_keep_their_alpha_and_stay_grey():
    enhancer, grey = model(KINDS[0]), Image.linear_gradient("L").resize((30, 20))
    alpha = Image.linear_gradient("L").rotate(90).resize((30, 20))
    for mode in ("L", "LA", "RGB", "RGBA"):
        photo = grey.convert(mode)
        if mode.endswith("A"):
            photo.putalpha(alpha)
        result = enhancer.enhance(photo)
        assert (result.mode, result.size) == (mode, photo.size)
        assert not mode.endswith("A") or np.array_equal(result.getchannel("A"), alpha)
        assert np.ptp(np.asarray(result.convert("RGB")), axis=2).max() == 0


@pytest.mark.parametrize(
    ("photo", "reason"),
    [
        (torch.rand(3, 8, 8) * 255, "give RGB in [0, 1] (divide by 255)"),
        (torch.rand(3, 8, 8) - 0.5, "give RGB in [0, 1] (clamp it)"),
        (torch.full((3, 8, 8), torch.nan), "not numbers (NaN or infinite)"),
        (torch.full((3, 8, 8), torch.inf), "not numbers (NaN or infinite)"),
        (torch.rand(8, 8, 3), "tensor.permute(2, 0, 1)"),
        (torch.rand(1, 8, 8), "a tensor of torch.float32 (1, 8, 8) is none"),
        (torch.rand(4, 8, 8), "a tensor of torch.float32 (4, 8, 8) is none"),
        (torch.rand(8, 8), "a tensor of torch.float32 (8, 8) is none"),
        (torch.rand(3, 8, 8).to_sparse(), "is none; give RGB"),
        (torch.zeros(3, 8, 8, dtype=torch.complex64), "is none; give RGB"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "a tensor of torch.int64 (3, 8, 8) is none"),
        (torch.zeros(3, 8, 8, dtype=torch.bool), "a tensor of torch.bool (3, 8, 8) is none"),
        (torch.zeros(3, 0, 8), "holds no pixels"),
        (torch.zeros(3, 8, 8, device="meta"), "holds no pixels"),
        (np.zeros((8, 8), np.uint8), "expected RGB pixels"),
        (np.zeros((8, 8, 4), np.uint8), "expected RGB pixels"),
        (np.zeros((1, 8, 8, 3), np.uint8), "expected RGB pixels"),
        (np.zeros((0, 8, 3), np.uint8), "expected RGB pixels"),
        (np.zeros((8, 8, 3), np.int64), "expected RGB pixels"),
        (np.zeros((8, 8, 3), bool), "expected RGB pixels"),
        (np.zeros((8, 8, 3), object), "expected RGB pixels"),
        ([[1, 2, 3]], "photo: a list is none; give a path, a PIL image, an array or a tensor"),
        (None, "photo: a NoneType is none"),
        (b"bytes", "photo: a bytes is none"),
        (Image.new("RGB", (0, 8)), "has no pixels"),
        (torch.rand(1, 3, 8, 8), "a batch goes through the model itself, model(batch)"),
        (torch.rand(1, 3, 8, 8), "give RGB in [0, 1] as floats, (3, height, width)"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "a tensor of torch.uint8 (3, 8, 8) is none"),
        (np.zeros((8, 8, 3), np.float32), "expected RGB pixels, uint8 or uint16 (height, width, 3), got float32"),
        (Image.new("F", (8, 8)), "pixels of kind 'F'; convert it to RGB"),
        ("nowhere.jpg", "nowhere.jpg: cannot be read"),
    ],
)
def test_what_is_no_photo_is_refused_in_one_sentence(photo: object, reason: str):
    with pytest.raises(ValueError) as refusal:
        model(KINDS[0]).enhance(photo)
    assert reason in str(refusal.value) and "\n" not in str(refusal.value)
    if isinstance(photo, torch.Tensor):
        with pytest.raises(ValueError):
            enhance(model(KINDS[0]), photo)
