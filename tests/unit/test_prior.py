import open_clip
import pytest
import torch

from lle.config import PriorSettings
from lle.prior.loading import load_tower
from lle.prior.prompts import PromptPair, badly_lit
from lle.prior.towers import Tower
from lle.prior.weights import PriorError, check_prior, find_weights

SENTENCES = ["a dark photo", "a well lit photo of a street at noon"]


def random_tower(name: str, **options) -> Tower:
    torch.manual_seed(0)
    return Tower(open_clip.create_model(name, pretrained=None, **options), name)


@pytest.fixture(scope="module")
def vit() -> Tower:
    return random_tower("ViT-S-32-alt")


@pytest.fixture(scope="module")
def resnet() -> Tower:
    return random_tower("RN50")


@pytest.fixture(scope="module")
def custom_text() -> Tower:
    return random_tower("ViT-S-32-alt", force_custom_text=True)


@pytest.mark.parametrize("kind", ["vit", "resnet", "custom_text"])
def test_embedded_prompts_equal_encode_text_for_the_same_tokens(kind: str, request: pytest.FixtureRequest):
    tower: Tower = request.getfixturevalue(kind)
    for sentence in SENTENCES:
        ids = tower.token_ids(sentence)
        end = tower.end_position(ids)
        with torch.no_grad():
            expected = tower.model.encode_text(ids[None], normalize=True)
            whole = tower.encode_embeddings(tower.text.token_embedding(ids)[None], end)
            cut = tower.encode_embeddings(tower.text.token_embedding(ids)[None, : end + 1], end)
        torch.testing.assert_close(whole, expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(cut, expected, atol=1e-6, rtol=1e-5)


def test_the_custom_text_model_really_is_one(custom_text: Tower):
    assert isinstance(custom_text.model, open_clip.CustomTextCLIP)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_image_features_are_unit_norm_at_any_input_size_and_equal_encode_image(kind: str, request):
    tower: Tower = request.getfixturevalue(kind)
    own_size = torch.rand(2, 3, *tower.image_size)
    with torch.no_grad():
        features = tower(own_size).features
        expected = tower.model.encode_image((own_size - tower.mean) / tower.std, normalize=True)
        odd = tower(torch.rand(1, 3, 100, 333)).features
    torch.testing.assert_close(features, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(odd.norm(dim=-1), torch.ones(1))


def test_batch_norms_of_a_frozen_resnet_become_part_of_its_convolutions():
    torch.manual_seed(0)
    model = open_clip.create_model("RN50", pretrained=None).eval()
    for norm in model.visual.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):  # as after some training
            norm.running_mean.uniform_(-0.3, 0.3)
            norm.running_var.uniform_(0.5, 2)
            norm.weight.data.uniform_(0.5, 1.5)
            norm.bias.data.uniform_(-0.3, 0.3)
    image = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        expected = model.visual.forward_intermediates(image)
        tower = Tower(model, "RN50", mean=[0.0] * 3, std=[1.0] * 3)
        seen = tower(image, stages=True)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in tower.modules())
    for ours, theirs in zip(seen.stages, expected["image_intermediates"], strict=True):
        assert float((ours - theirs).abs().max()) < 1e-4 * float(theirs.abs().max())


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_stages_are_the_stem_and_four_depths_and_leave_the_features_alone(kind: str, request):
    tower: Tower = request.getfixturevalue(kind)
    image = torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        seen = tower(image, stages=True)
        plain = tower(image)
    assert len(seen.stages) == 5
    torch.testing.assert_close(seen.features, plain.features, atol=1e-6, rtol=1e-5)
    if kind == "resnet":
        assert [stage.shape[1] for stage in seen.stages] == [64, 256, 512, 1024, 2048]
    assert not any(torch.equal(a, b) for a, b in zip(seen.stages, seen.stages[1:], strict=False) if a.shape == b.shape)


def test_gradients_reach_the_picture_but_no_weight(vit: Tower):
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    vit(image).features[:, 0].sum().backward()
    assert image.grad is not None and image.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in vit.parameters())


def test_prompts_start_identical_so_everything_is_half_badly_lit(vit: Tower):
    prompts = PromptPair(vit)
    features = vit(torch.rand(3, 3, 64, 64)).features
    torch.testing.assert_close(badly_lit(prompts(features)), torch.full((3,), 0.5))


def test_prompts_keep_only_the_positions_that_act(vit: Tower):
    assert PromptPair(vit, tokens=16).embeddings.shape[:2] == (2, 18)


def test_prompts_learn_to_tell_two_features_apart(vit: Tower):
    prompts = PromptPair(vit, tokens=4)
    features = torch.nn.functional.normalize(torch.randn(2, 256, generator=torch.Generator().manual_seed(1)), dim=-1)
    optimiser = torch.optim.Adam(prompts.parameters(), 1e-2)
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(prompts(features), torch.tensor([0, 1]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert badly_lit(prompts(features)).tolist() == pytest.approx([1.0, 0.0], abs=0.2)


def test_only_the_embeddings_are_parameters_of_the_prompts(vit: Tower):
    assert [name for name, _ in PromptPair(vit).named_parameters()] == ["embeddings"]


def test_weights_come_from_a_file_or_a_folder(tmp_path, vit: Tower):
    torch.save(vit.model.state_dict(), tmp_path / "ViT-S-32-alt.pt")
    image = torch.rand(1, 3, 64, 64)
    for pretrained in (tmp_path / "ViT-S-32-alt.pt", tmp_path):
        loaded = load_tower("ViT-S-32-alt", str(pretrained))
        with torch.no_grad():
            torch.testing.assert_close(loaded(image).features, vit(image).features)


def test_weights_of_another_model_are_refused_by_name(tmp_path, vit: Tower):
    torch.save(vit.model.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(PriorError, match=r"does not fit ViT-B-32"):
        load_tower("ViT-B-32", str(tmp_path / "weights.pt"))


def test_absent_weights_name_what_is_missing_and_both_ways_out(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(PriorError, match=r"'openai' of RN101-quickgelu.*--prior.pretrained FILE.*--prior bundled"):
        check_prior(PriorSettings(model="RN101-quickgelu", pretrained="openai"))


def test_missing_file_unknown_model_and_unknown_tag_are_told_apart(tmp_path):
    with pytest.raises(PriorError, match="nowhere.pt does not exist"):
        find_weights("ViT-B-32", str(tmp_path / "nowhere.pt"))
    with pytest.raises(PriorError, match="did you mean ViT-B-32"):
        find_weights("ViT-B-33", "openai")
    with pytest.raises(PriorError, match="no weights 'opnai'.*openai"):
        find_weights("ViT-B-32", "opnai")
    with pytest.raises(PriorError, match="should hold one weights file"):
        find_weights("ViT-B-32", str(tmp_path))


def test_the_tower_whose_weights_are_missing_is_named_by_its_own_settings(tmp_path):
    found = tmp_path / "here.pt"
    found.touch()
    nowhere = str(tmp_path / "nowhere.pt")
    guidance = {"model": "ViT-B-32-quickgelu", "pretrained": str(found)}
    identity = {"identity_model": "RN101-quickgelu", "identity_pretrained": nowhere}
    with pytest.raises(PriorError, match=r"prior.identity_pretrained: .*--prior.identity_pretrained FILE"):
        check_prior(PriorSettings(**guidance, **identity))
    with pytest.raises(PriorError, match=r"prior.pretrained: .*--prior.pretrained FILE"):
        check_prior(PriorSettings(**guidance | {"pretrained": nowhere}, **identity))
    with pytest.raises(PriorError, match="prior.identity_pretrained: say which weights RN101-quickgelu should have"):
        check_prior(PriorSettings(**guidance, **identity | {"identity_pretrained": ""}))
    with pytest.raises(PriorError, match="prior.identity_model: open_clip knows no model RN102"):
        check_prior(PriorSettings(**guidance, identity_model="RN102", identity_pretrained="openai"))
