import math

import pytest
import torch
from tiny import SIDE, CountingTower, tiny_settings, tiny_tower
from torch import Tensor

from lle.config import GuidanceTerm, IdentityTerm, ObjectiveSettings, RankTerm, Term
from lle.enhancers import Enhanced
from lle.losses.classification import classification
from lle.losses.guidance import guidance
from lle.losses.identity import identity
from lle.losses.objective import Objective
from lle.losses.rank import margin_loss, rank
from lle.losses.restoration import denoising, restoration
from lle.losses.smoothness import smoothness
from lle.prior.prompts import LatentPair, PromptPair
from lle.prior.residual import ResidualVector
from lle.prior.towers import Prior

MARGINS = RankTerm()


def logits_of(probability: float, count: int = 1) -> Tensor:
    """Logits whose P(badly lit) is `probability`."""
    return torch.tensor([[math.log(probability / (1 - probability)), 0.0]]).repeat(count, 1)


def sets(*probabilities: float) -> list[Tensor]:
    return [torch.tensor([each]) for each in probabilities]


# guidance


def latents_along_axes() -> tuple[LatentPair, float]:
    """Badly lit along the first axis, well lit along the second; and the scale of the logits."""
    latents = LatentPair(tiny_tower())
    with torch.no_grad():
        latents.latents.zero_()[[0, 1], [0, 1]] = 3.0
    return latents, tiny_tower().logit_scale


def test_guidance_is_the_mean_probability_of_badly_lit():
    latents, scale = latents_along_axes()
    features = torch.zeros(2, latents.latents.shape[1])
    features[:, 0] = torch.tensor([0.9, 0.2]).logit() / scale
    assert float(guidance(features, latents)) == pytest.approx(0.55, abs=1e-6)


def test_guidance_of_a_pair_that_cannot_decide_is_one_half():
    latents, _ = latents_along_axes()
    assert float(guidance(torch.zeros(3, latents.latents.shape[1]), latents)) == pytest.approx(0.5)


def test_guidance_pulls_features_from_badly_lit_to_well_lit_and_leaves_the_pair_alone():
    latents, scale = latents_along_axes()
    features = torch.zeros(1, latents.latents.shape[1], requires_grad=True)
    guidance(features, latents).backward()
    assert features.grad is not None
    torch.testing.assert_close(features.grad[0, :3], torch.tensor([0.25 * scale, -0.25 * scale, 0.0]))
    assert latents.latents.grad is None


def test_guidance_of_a_residual_is_the_squared_distance_from_its_threshold():
    residual = ResidualVector(2)
    residual.find(well_lit=torch.tensor([0.5, 0.8]), badly_lit=torch.tensor([0.5, 0.2]))
    torch.testing.assert_close(residual.direction, torch.tensor([0.0, 1.0]))
    features = torch.tensor([[0.6, 0.8], [1.0, 0.0]])
    assert float(guidance(features, residual)) == pytest.approx((0 + 0.8**2) / 2)


def test_a_residual_between_equal_sets_is_refused():
    with pytest.raises(ValueError, match=r"data\.dark and data\.well_lit: the prior sees no difference"):
        ResidualVector(2).find(torch.ones(2), torch.ones(2))


@pytest.mark.parametrize("kind", ["pair", "residual"])
def test_guidance_is_computed_in_full_precision(kind: str):
    guidance_head = latents_along_axes()[0] if kind == "pair" else ResidualVector(16)
    features = torch.zeros(2, 16, dtype=torch.bfloat16)
    assert guidance(features, guidance_head).dtype == torch.float32


# classification


def test_classification_by_hand():
    loss = classification(logits_of(0.8), logits_of(0.3))
    assert float(loss) == pytest.approx((-math.log(0.8) - math.log(0.7)) / 2, abs=1e-6)


def test_classification_is_log_two_while_the_prompts_are_identical():
    assert float(classification(torch.full((3, 2), 7.0), torch.full((5, 2), -1.0))) == pytest.approx(math.log(2))


def test_classification_vanishes_for_certain_and_right_prompts():
    assert float(classification(torch.tensor([[90.0, 0.0]]), torch.tensor([[0.0, 90.0]]))) == pytest.approx(0, abs=1e-6)


def test_classification_gradient_tells_badly_lit_from_well_lit():
    dark, bright = torch.zeros(1, 2, requires_grad=True), torch.zeros(1, 2, requires_grad=True)
    classification(dark, bright).backward()
    assert dark.grad[0, 0] < 0 < dark.grad[0, 1]
    assert bright.grad[0, 1] < 0 < bright.grad[0, 0]


# rank


def test_margin_loss_by_hand():
    assert float(margin_loss(torch.tensor([0.8, 0.5]), torch.tensor([0.1, 0.5]), 0.9)) == pytest.approx((0.2 + 0.9) / 2)


def test_margin_loss_is_zero_from_the_margin_on_and_grows_below_it():
    worse = torch.tensor([0.9])
    values = [float(margin_loss(worse, torch.tensor([better]), 0.5)) for better in (0.0, 0.399, 0.5, 0.7, 0.9)]
    assert values[:2] == [0, 0]
    assert 0 < values[2] < values[3] < values[4] == pytest.approx(0.5)


def test_rank_with_nothing_enhanced_asks_for_the_whole_margin():
    dark, well_lit = sets(0.7, 0.2)
    assert float(rank(dark, [], well_lit, MARGINS)) == pytest.approx(1.0 - 0.5)


def test_rank_with_one_enhanced_set_by_hand():
    dark, enhanced, well_lit = sets(0.8, 0.5, 0.4)
    by_hand = (0.9 - 0.4) + (0.9 - 0.3) + (0.2 - 0.1)
    assert float(rank(dark, [enhanced], well_lit, MARGINS)) == pytest.approx(by_hand)


def test_rank_with_two_enhanced_sets_by_hand_and_in_the_paper_s_order():
    dark, older, newer, well_lit = sets(0.8, 0.5, 0.3, 0.25)
    by_hand = (0.9 - 0.55) + (0.9 - 0.3) + 0 + (0.1 - 0.05)
    assert float(rank(dark, [older, newer], well_lit, MARGINS)) == pytest.approx(by_hand)
    swapped = (0.9 - 0.55) + (0.9 - 0.5) + (0.1 + 0.2) + 0
    assert float(rank(dark, [newer, older], well_lit, MARGINS)) == pytest.approx(swapped)
    assert swapped != pytest.approx(by_hand)


def test_rank_asks_new_results_to_look_better_than_old_ones():
    dark, older, newer, well_lit = (each.requires_grad_() for each in sets(0.8, 0.5, 0.5, 0.45))
    rank(dark, [older, newer], well_lit, MARGINS.model_copy(update={"far": 0.0})).backward()
    assert older.grad < 0, "the older set is to look worse than the newer"
    assert well_lit.grad > 0, "well-lit photos are to look better than the newest set"
    assert newer.grad == 0, "pulled from both sides alike"


@pytest.mark.parametrize("enhanced", [[], [0.1], [0.1, 0.05]])
def test_rank_is_zero_once_every_order_holds(enhanced: list[float]):
    margins = RankTerm(first=0.9, far=0.85, single=0.1, near=0.05)
    dark, well_lit, *between = sets(1.0, 0.0, *enhanced)
    assert float(rank(dark, between, well_lit, margins)) == pytest.approx(0, abs=1e-6)


def test_rank_refuses_three_enhanced_sets():
    with pytest.raises(ValueError):
        rank(*sets(1.0), sets(0.5, 0.4, 0.3), *sets(0.0), MARGINS)


# identity


def test_identity_by_hand_with_layer_weights():
    ours = [torch.full((2, 3, 4, 4), 1.0), torch.full((2, 5, 2, 2), 3.0)]
    theirs = [torch.zeros(2, 3, 4, 4), torch.ones(2, 5, 2, 2)]
    assert float(identity(ours, theirs, [1.0, 0.5])) == pytest.approx(1.0 * 1 + 0.5 * 4)


def test_identity_is_zero_for_equal_features():
    stages = [torch.rand(2, 3, 4, 4) for _ in range(5)]
    assert float(identity(stages, stages, [1.0] * 5)) == 0


def test_identity_leaves_out_stages_of_weight_zero():
    broken, fine = torch.full((1, 1, 2, 2), float("nan")), torch.ones(1, 1, 2, 2)
    assert float(identity([broken, fine], [broken, fine - 2], [0.0, 1.0])) == pytest.approx(4.0)
    assert float(identity([broken], [broken], [0.0])) == 0


def test_identity_refuses_another_number_of_weights_than_stages():
    with pytest.raises(ValueError):
        identity([torch.ones(1, 1, 1, 1)] * 2, [torch.ones(1, 1, 1, 1)] * 2, [1.0])


def test_identity_gradient_pulls_towards_the_original():
    ours = torch.tensor([[[[2.0]]]], requires_grad=True)
    identity([ours], [torch.tensor([[[[0.5]]]])], [1.0]).backward()
    assert float(ours.grad) == pytest.approx(2 * 1.5)


# smoothness


def test_smoothness_by_hand():
    maps = torch.tensor([[[[0.0, 1.0, 3.0], [0.0, 1.0, 5.0]]]])  # h = 2, w = 3
    rows, columns = (0 + 0 + 4) / (1 * 3), (1 + 4 + 1 + 16) / (2 * 2)
    assert float(smoothness(maps)) == pytest.approx(2 * (rows + columns))


def test_smoothness_is_summed_over_the_maps_and_averaged_over_the_batch():
    one = torch.rand(1, 1, 6, 5)
    assert float(smoothness(one.expand(1, 4, 6, 5))) == pytest.approx(4 * float(smoothness(one)), rel=1e-5)
    assert float(smoothness(one.expand(4, 1, 6, 5))) == pytest.approx(float(smoothness(one)), rel=1e-5)


def test_smoothness_is_zero_for_constant_maps():
    assert float(smoothness(torch.full((2, 3, 4, 4), 0.7))) == 0


def test_smoothness_gradient_flattens_a_peak():
    maps = torch.zeros(1, 1, 3, 3)
    maps[..., 1, 1] = 1.0
    maps.requires_grad_()
    smoothness(maps).backward()
    assert maps.grad[0, 0, 1, 1] > 0 > maps.grad[0, 0, 0, 1]


# restoration


def test_restoration_is_the_mean_absolute_difference():
    restored = torch.tensor([0.2, 0.6]).view(2, 1, 1, 1).expand(2, 3, 8, 8)
    assert float(restoration(restored, torch.full((2, 3, 8, 8), 0.5))) == pytest.approx((0.3 + 0.1) / 2)


def test_restoration_of_structure_by_hand():
    """Constant pictures a and b have SSIM (2ab + c1) / (a^2 + b^2 + c1)."""
    similarity = (2 * 0.2 * 0.5 + 1e-4) / (0.2**2 + 0.5**2 + 1e-4)
    loss = restoration(torch.full((1, 3, 9, 9), 0.2), torch.full((1, 3, 9, 9), 0.5), structure=0.5)
    assert float(loss) == pytest.approx(0.3 + 0.5 * (1 - similarity), abs=1e-5)


def test_restoration_is_zero_for_the_photo_itself_and_its_gradient_finite():
    photo = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    restored = photo.clone().requires_grad_()
    loss = restoration(restored, photo, structure=1.0, detail=1.0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-5)
    assert torch.isfinite(restored.grad).all()


def test_the_detail_part_of_restoration_forgives_another_light_and_nothing_else():
    photo = 0.2 + 0.8 * torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    darker = 0.5 * photo
    assert float(restoration(darker, photo, detail=9.0)) == pytest.approx(float(restoration(darker, photo)), abs=1e-6)
    flat, checks = torch.full((1, 3, 32, 32), 0.5), (torch.arange(32)[:, None] + torch.arange(32)) % 2
    noisy = (0.25 + 0.1 * (checks - 0.5)).expand(1, 3, 32, 32)  # 0.05 around a light that is 0.25 too low
    assert float(restoration(noisy, flat, detail=2.0)) == pytest.approx(0.25 + 2 * 0.05, abs=1e-6)


def test_the_detail_part_of_restoration_pulls_noise_flat_without_changing_the_light():
    flat, checks = torch.full((1, 3, 32, 32), 0.5), (torch.arange(32)[:, None] + torch.arange(32)) % 2
    noisy = (0.25 + 0.1 * (checks - 0.5)).repeat(1, 3, 1, 1).requires_grad_()
    pull = restoration(noisy, flat, detail=1.0) - restoration(noisy, flat)
    (gradient,) = torch.autograd.grad(pull, noisy)
    assert (gradient * (checks - 0.5) > 0).all() and float(gradient.sum()) == pytest.approx(0, abs=1e-6)


def test_denoising_sees_structure_in_each_channel_where_restoration_sees_their_mean():
    generator = torch.Generator().manual_seed(0)
    photo, grain = (torch.rand(2, 1, 16, 16, generator=generator) for _ in range(2))
    clean = (0.3 + 0.4 * photo).expand(2, 3, 16, 16)
    coloured = clean + 0.2 * (grain - 0.5) * torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1)  # the mean is the same
    assert float(denoising(clean, clean, structure=1.0)) == pytest.approx(0, abs=1e-5)
    assert float(denoising(coloured, clean)) == pytest.approx(float(restoration(coloured, clean)), abs=1e-6)
    seen = [float(loss(coloured, clean, structure=1.0) - loss(coloured, clean)) for loss in (denoising, restoration)]
    assert seen[0] > 0.05 and seen[1] == pytest.approx(0, abs=1e-4)


# every loss


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: guidance(x.repeat(1, 8), latents_along_axes()[0]),
        lambda x: smoothness(x[:, None, :, None].expand(-1, 1, 2, 3) * torch.arange(3.0)),
        lambda x: classification(x, -x),
        lambda x: rank(x[:, 0], [x[:, 1]], x[:, 0] * x[:, 1], MARGINS),
        lambda x: identity([x[..., None, None]], [x[..., None, None] ** 2], [1.0]),
    ],
    ids=["guidance", "smoothness", "classification", "rank", "identity"],
)
def test_repeating_the_batch_leaves_the_value(loss):
    values = torch.rand(4, 2, generator=torch.Generator().manual_seed(3))
    once, twice = loss(values), loss(values.repeat(2, 1))
    assert float(once) > 0
    torch.testing.assert_close(twice, once)


# objective


def on(**weights: float) -> ObjectiveSettings:
    identity_layers = {"layers": (1.0, 1.0, 1.0, 1.0, 0.5)}
    return ObjectiveSettings(
        guidance=GuidanceTerm(weight=weights.get("guidance", 0.0)),
        identity=IdentityTerm(weight=weights.get("identity", 0.0), **identity_layers),
        smoothness=Term(weight=weights.get("smoothness", 0.0)),
    )


@pytest.fixture
def pictures() -> tuple[Tensor, Enhanced]:
    generator = torch.Generator().manual_seed(5)
    image = torch.rand(2, 3, SIDE, SIDE, generator=generator) * 0.3
    return image, Enhanced(image * 2, torch.rand(2, 1, 8, 8, generator=generator))


def told_apart(prompts: PromptPair) -> PromptPair:
    with torch.no_grad():
        prompts.embeddings[1] += 0.05 * torch.randn(
            prompts.embeddings[1].shape, generator=torch.Generator().manual_seed(1)
        )
    return prompts


def test_one_tower_for_both_jobs_looks_at_the_enhanced_picture_once(pictures):
    tower = CountingTower()
    objective = Objective(on(guidance=320, identity=180), Prior(tower, tower), told_apart(PromptPair(tower)))
    objective.enhancement(*pictures)
    assert tower.looks == 2, "one look at the enhanced picture for both terms, one at the input"


def test_one_shared_tower_gives_the_values_of_two_equal_towers(pictures):
    tower, twin = CountingTower(), CountingTower()
    prompts = told_apart(PromptPair(tower))
    shared = Objective(on(guidance=320, identity=180, smoothness=5), Prior(tower, tower), prompts)
    apart = Objective(on(guidance=320, identity=180, smoothness=5), Prior(tower, twin), prompts)
    ours, theirs = shared.enhancement(*pictures), apart.enhancement(*pictures)
    assert (tower.looks, twin.looks) == (3, 2)
    assert ours.values.keys() == theirs.values.keys() == {"guidance", "identity", "smoothness"}
    for name in ours.values:
        torch.testing.assert_close(ours.values[name], theirs.values[name])
    torch.testing.assert_close(ours.total, theirs.total)


def test_total_is_the_weighted_sum_of_the_terms(pictures):
    tower = tiny_tower()
    prompts = told_apart(PromptPair(tower))
    objective = Objective(on(guidance=320, identity=180, smoothness=5), Prior(tower, tower), prompts)
    terms = objective.enhancement(*pictures)
    by_hand = 320 * terms.values["guidance"] + 180 * terms.values["identity"] + 5 * terms.values["smoothness"]
    assert float(terms.total) == pytest.approx(float(by_hand))
    assert 0 < float(terms.values["guidance"]) < 1
    assert float(terms.values["identity"]) > 0


@pytest.mark.parametrize(("name", "looks"), [("guidance", 1), ("identity", 2), ("smoothness", 0)])
def test_a_term_of_weight_zero_is_not_computed(name: str, looks: int, pictures):
    tower = CountingTower()
    terms = Objective(on(**{name: 1.0}), Prior(tower, tower), PromptPair(tower)).enhancement(*pictures)
    assert list(terms.values) == [name]
    assert tower.looks == looks


def test_enhancement_reaches_the_picture_and_leaves_the_prompts_alone(pictures):
    image, enhanced = pictures
    shown = enhanced.image.clone().requires_grad_()
    tower = tiny_tower()
    prompts = told_apart(PromptPair(tower))
    objective = Objective(on(guidance=320, identity=180), Prior(tower, tower), prompts)
    objective.enhancement(image, Enhanced(shown, enhanced.maps)).total.backward()
    assert shown.grad is not None and shown.grad.abs().sum() > 0
    assert prompts.embeddings.grad is None


def test_reconstruction_is_zero_for_a_copy_and_positive_for_another_picture(pictures):
    image, enhanced = pictures
    tower = tiny_tower()
    objective = Objective(on(), Prior(tower, tower), PromptPair(tower))
    assert float(objective.reconstruction(image, Enhanced(image, enhanced.maps)).total) == 0
    terms = objective.reconstruction(image, enhanced)
    assert float(terms.total) == pytest.approx(25 * float(terms.values["reconstruction"]))
    assert float(terms.total) > 0


def test_an_enhancement_without_any_term_is_refused():
    off = {"weight": 0.0}
    with pytest.raises(ValueError, match=r"guidance, identity, .* and task all have weight 0"):
        tiny_settings(objective={"guidance": off, "identity": off, "smoothness": off})
