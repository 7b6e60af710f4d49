"""The terms of PIE and the hybrid: contrast, preservation, colour, regions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import SIDE, CountingTower, tiny_tower
from torch import Tensor

from lle.config import (
    ENHANCEMENT_TERMS,
    DistributionTerm,
    GuidanceTerm,
    IdentityTerm,
    ObjectiveSettings,
    PixelContrastTerm,
    RestorationTerm,
    TaskTerm,
    Term,
)
from lle.enhancers import Enhanced
from lle.losses.colour import colour
from lle.losses.contrast import feature_contrast, gram, pixel_contrast
from lle.losses.objective import TERMS, Line, Objective, Others, chosen, needed
from lle.losses.preservation import preservation
from lle.losses.regional import regional_consistency
from lle.prior.crops import Crops
from lle.prior.prompts import PromptPair
from lle.prior.towers import Prior
from lle.training.schedule import Phase


def flat(*levels: float, side: int = 4) -> Tensor:
    """Grey pictures of one level each."""
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 3, side, side)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# colour


def test_colour_by_hand():
    image = torch.tensor([0.5, 0.3, 0.2]).view(1, 3, 1, 1).expand(1, 3, 5, 7)
    assert float(colour(image)) == pytest.approx(math.sqrt(0.2**4 + 0.3**4 + 0.1**4))


def test_colour_of_grey_is_zero_and_its_gradient_finite():
    image = flat(0.2, 0.9).clone().requires_grad_()
    loss = colour(image)
    loss.backward()
    assert float(loss.detach()) == 0 and torch.isfinite(image.grad).all()


def test_colour_gradient_takes_a_cast_away():
    image = torch.tensor([0.6, 0.4, 0.4]).view(1, 3, 1, 1).expand(1, 3, 2, 2).clone().requires_grad_()
    colour(image).backward()
    assert image.grad[0, 0].min() > 0 > image.grad[0, 1:].max()


# preservation


def test_preservation_is_the_mean_squared_difference():
    assert float(preservation(torch.full((2, 5, 3, 3), 3.0), torch.full((2, 5, 3, 3), 1.0))) == pytest.approx(4)


# pixel contrast


def test_pixel_contrast_by_hand_over_all_positives_and_negatives():
    enhanced, positives, negatives = flat(0.5, 0.2), flat(0.6, 0.7, 0.9), flat(0.1, 0.0)
    first = (0.1 + 0.2 + 0.4) / 3 - (0.4 + 0.5) / 2 + 0.3
    second = (0.4 + 0.5 + 0.7) / 3 - (0.1 + 0.2) / 2 + 0.3
    assert float(pixel_contrast(enhanced, positives, negatives, 0.3)) == pytest.approx((first + second) / 2, abs=1e-6)


def test_pixel_contrast_is_zero_once_the_negative_is_further_by_the_margin():
    assert float(pixel_contrast(flat(0.5), flat(0.5), flat(0.1), 0.3)) == 0
    assert float(pixel_contrast(flat(0.5), flat(0.5), flat(0.25), 0.3)) == pytest.approx(0.05, abs=1e-6)


def test_pixel_contrast_gradient_goes_from_the_negative_to_the_positive():
    for positive, negative in ((0.8, 0.1), (0.2, 0.9)):
        enhanced = flat(0.5).clone().requires_grad_()
        pixel_contrast(enhanced, flat(positive), flat(negative), 0.3).backward()
        assert ((positive - 0.5) * enhanced.grad < 0).all()


# feature contrast


def test_gram_by_hand():
    features = torch.tensor([[[[1.0, 2.0]], [[0.0, 3.0]]]])  # two channels, 1 x 2 pixels
    torch.testing.assert_close(gram(features), torch.tensor([[[5.0, 6.0], [6.0, 9.0]]]) / 4)


def test_gram_is_computed_in_full_precision():
    features = noise(1, 4, 5, 6)
    with torch.autocast("cpu", torch.bfloat16):
        inside = gram(features)
    assert torch.equal(inside, gram(features))


def test_gram_forgets_where_things_are():
    features = noise(2, 4, 5, 6)
    torch.testing.assert_close(gram(features), gram(features.flip(2, 3)))


def test_feature_contrast_with_one_of_each_is_the_published_softplus():
    enhanced, positive, negative = (
        [noise(1, 4, 3, 3, seed=seed) * 3, noise(1, 2, 5, 5, seed=seed)] for seed in range(3)
    )

    def distance(a: list[Tensor], b: list[Tensor]) -> float:
        return sum(float((gram(x) - gram(y)).square().sum()) for x, y in zip(a, b, strict=True))

    by_hand = math.log1p(math.exp(distance(enhanced, positive) - distance(enhanced, negative)))
    assert float(feature_contrast(enhanced, positive, negative)) == pytest.approx(by_hand, rel=1e-5)


def test_feature_contrast_uses_every_positive_and_every_negative():
    enhanced, positives, negatives = ([noise(count, 4, 3, 3, seed=count) * 3] for count in (2, 3, 4))
    value = float(feature_contrast(enhanced, positives, negatives))
    for index in range(3):
        changed = positives[0].clone()
        changed[index] *= 2
        assert float(feature_contrast(enhanced, [changed], negatives)) != pytest.approx(value)
    for index in range(4):
        changed = negatives[0].clone()
        changed[index] *= 2
        assert float(feature_contrast(enhanced, positives, [changed])) != pytest.approx(value)


def test_feature_contrast_is_log_two_for_equal_positives_and_negatives():
    same = [noise(1, 3, 4, 4)]
    assert float(feature_contrast([noise(2, 3, 4, 4, seed=1)], same, same)) == pytest.approx(math.log(2))


# regional consistency


def slow_regional(enhanced: Tensor, regions: Tensor) -> Tensor:
    """The formula as it stands, one region after the other."""
    total = enhanced.new_zeros(())
    for picture, labels in zip(enhanced, regions, strict=True):
        grey = picture.mean(dim=0)
        for label in labels.unique():
            inside = grey[labels == label]
            total = total + (inside - inside.mean()).square().sum() / grey.numel()
    return total / len(enhanced)


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 400), st.integers(0, 1000))
def test_regional_equals_the_slow_reference(batch: int, height: int, width: int, labels: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    enhanced = torch.rand(batch, 3, height, width, generator=generator).requires_grad_()
    regions = torch.randint(0, labels, (batch, height, width), generator=generator, dtype=torch.int32)
    ours, theirs = regional_consistency(enhanced, regions), slow_regional(enhanced, regions)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, enhanced)[0] for loss in (ours, theirs)))


def test_regional_is_zero_when_every_region_is_constant_at_any_brightness():
    regions = torch.tensor([[0, 0, 7], [150, 150, 7]])[None].repeat(2, 1, 1)
    enhanced = torch.where(regions[:, None] == 7, 0.9, torch.where(regions[:, None] == 0, 0.1, 0.5))
    assert float(regional_consistency(enhanced.expand(2, 3, 2, 3), regions)) == pytest.approx(0, abs=1e-12)


def test_a_region_of_two_levels_gives_its_variance():
    enhanced = torch.tensor([0.2, 0.6]).repeat(2).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert float(regional_consistency(enhanced, torch.zeros(1, 2, 2, dtype=torch.int32))) == pytest.approx(0.04)
    assert float(regional_consistency(enhanced, torch.tensor([[[3, 120], [3, 120]]]))) == pytest.approx(0, abs=1e-12)


def test_regional_does_not_depend_on_the_other_pictures_of_the_batch():
    enhanced, regions = noise(3, 3, 8, 8), torch.randint(0, 200, (3, 8, 8), generator=torch.Generator().manual_seed(1))
    alone = [regional_consistency(enhanced[i : i + 1], regions[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(regional_consistency(enhanced, regions), torch.stack(alone).mean())


def test_regional_gradient_pulls_towards_the_region_mean():
    enhanced = torch.tensor([0.1, 0.5, 0.9]).view(1, 1, 1, 3).expand(1, 3, 1, 3).clone().requires_grad_()
    regional_consistency(enhanced, torch.zeros(1, 1, 3, dtype=torch.long)).backward()
    torch.testing.assert_close(enhanced.grad[0, :, 0].sum(0), 2 * torch.tensor([-0.4, 0.0, 0.4]) / 3)


@pytest.mark.parametrize(
    ("regions", "sentence"),
    [
        (torch.zeros(1, 0, 0, dtype=torch.int32), "region map is empty"),
        (torch.zeros(1, 3, 3, dtype=torch.int32), "one region for each pixel"),
        (torch.full((1, 4, 4), -1), "count regions from 0"),
    ],
)
def test_an_impossible_region_map_is_one_sentence(regions: Tensor, sentence: str):
    with pytest.raises(ValueError, match=rf"objective\.regional: .*{sentence}"):
        regional_consistency(flat(0.5), regions)


# every loss


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: colour(x),
        lambda x: regional_consistency(x, (x[:, 0] * 5).int()),
        lambda x: preservation(x, x**2),
        lambda x: pixel_contrast(x, x**2, x**0.5, 0.3),
        lambda x: feature_contrast([x * 9], [x**2 * 9], [x**0.5 * 9]),
    ],
    ids=["colour", "regional", "preservation", "pixel_contrast", "feature_contrast"],
)
def test_repeating_the_batch_leaves_the_value(loss):
    pictures = noise(3, 3, 6, 6)
    once, twice = loss(pictures), loss(pictures.repeat(2, 1, 1, 1))
    assert float(once) > 0
    torch.testing.assert_close(twice, once)


# the objective


def on(**weights: float) -> ObjectiveSettings:
    kinds = {
        "guidance": GuidanceTerm,
        "distribution": DistributionTerm,
        "identity": IdentityTerm,
        "pixel_contrast": PixelContrastTerm,
        "restoration": RestorationTerm,
        "task": TaskTerm,
    }
    return ObjectiveSettings(
        **{name: kinds.get(name, Term)(weight=weights.get(name, 0.0)) for name in ENHANCEMENT_TERMS}
    )


@pytest.fixture
def pictures() -> tuple[Tensor, Enhanced, Others]:
    image = noise(2, 3, SIDE, SIDE) * 0.3
    well_lit = 0.4 + noise(2, 3, SIDE, SIDE, seed=1) * 0.6
    others = Others(well_lit, well_lit * 0.1, (image[:, 0] * 20).int())
    return image, Enhanced(image * 2, noise(2, 1, 8, 8, seed=2)), others


class Watching(CountingTower):
    """Remembers how many pictures it saw at each look."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures: list[int] = []

    def forward(self, image: Tensor, stages: bool = False):
        self.pictures.append(len(image))
        return super().forward(image, stages)


@pytest.mark.parametrize(
    ("names", "seen"),
    [
        (["colour"], []),
        (["regional"], []),
        (["pixel_contrast"], []),
        (["preservation"], [2, 2]),
        (["feature_contrast"], [2, 4]),
        (["identity", "preservation"], [2, 2]),
        (["guidance", "identity", "preservation", "feature_contrast"], [2, 6]),
        (list(ENHANCEMENT_TERMS[:-2]), [2, 6]),
    ],
    ids=lambda value: "+".join(map(str, value)) or "none",
)
def test_the_tower_sees_each_picture_once_and_only_those_that_a_term_needs(names: list[str], seen: list[int], pictures):
    tower = Watching()
    objective = Objective(on(**dict.fromkeys(names, 1.0)), Prior(tower, tower), PromptPair(tower))
    assert objective.enhancement(*pictures).values.keys() == set(names)
    assert tower.pictures == seen


def test_crops_join_the_same_pass_and_leave_the_other_terms_alone(pictures):
    names = ["guidance", "identity", "preservation", "feature_contrast"]
    values = []
    for crops in (Crops(), Crops(3)):
        tower = Watching()
        objective = Objective(on(**dict.fromkeys(names, 1.0)), Prior(tower, tower), PromptPair(tower), crops)
        values.append(objective.enhancement(*pictures).values)
        assert tower.pictures == [2 * (1 + crops.count), 6]
    for name in names[1:]:
        torch.testing.assert_close(values[1][name], values[0][name])


def test_terms_that_compare_with_nothing_need_nothing(pictures):
    image, enhanced, _ = pictures
    tower = tiny_tower()
    terms = Objective(on(colour=1, preservation=1), Prior(tower, tower), PromptPair(tower)).enhancement(image, enhanced)
    assert all(torch.isfinite(value) for value in terms.values.values())


def test_features_of_another_scale_give_the_same_terms(pictures):
    class Louder(CountingTower):
        def forward(self, image: Tensor, stages: bool = False):
            seen = super().forward(image, stages)
            return seen._replace(stages=[1000 * stage for stage in seen.stages])

    values = []
    for tower in (CountingTower(), Louder()):
        objective = Objective(on(preservation=1, feature_contrast=1), Prior(tower, tower), PromptPair(tower))
        values.append(objective.enhancement(*pictures).values)
    assert values[0].keys() == {"preservation", "feature_contrast"}
    for name, value in values[0].items():
        torch.testing.assert_close(values[1][name], value)


def test_the_gradient_of_every_term_reaches_the_picture(pictures):
    image, enhanced, others = pictures
    tower = tiny_tower()
    for name in ("colour", "regional", "pixel_contrast", "preservation", "feature_contrast"):
        shown = enhanced.image.clone().requires_grad_()
        objective = Objective(on(**{name: 1.0}), Prior(tower, tower), PromptPair(tower))
        objective.enhancement(image, Enhanced(shown, enhanced.maps), others).total.backward()
        assert float(shown.grad.abs().sum()) > 0, name


def test_a_weight_below_zero_is_refused():
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Term(weight=-1)


# the table


def test_every_term_has_a_line_for_each_phase_that_its_setting_names():
    lines = {(line.term, line.phase) for line in TERMS}
    assert lines == {(name, phase) for name, phases in ObjectiveSettings.terms().items() for phase in phases}
    assert len(lines) == len(TERMS) and {line.phase for line in TERMS} <= {phase.value for phase in Phase}


@pytest.mark.parametrize("line", TERMS, ids=lambda line: f"{line.term} in {line.phase}")
def test_a_weight_makes_its_line_be_computed_and_no_weight_leaves_it_out(line: Line):
    off = ObjectiveSettings(**{name: {"weight": 0} for name in ObjectiveSettings.terms()})
    with_weight = off.model_copy(update={line.term: getattr(off, line.term).model_copy(update={"weight": 2.0})})
    assert chosen(off, line.phase) == [] and needed(off, line.phase) == set()
    assert chosen(with_weight, line.phase) == [line]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["colour"], {"dark"}),
        (["regional"], {"dark", "regions"}),
        (["pixel_contrast"], {"dark", "well_lit", "mis_exposed"}),
        (["restoration"], {"well_lit"}),
        (["restoration", "guidance"], {"dark", "well_lit"}),
    ],
)
def test_a_phase_wants_what_its_terms_look_at_and_nothing_else(names: list[str], wanted: set[str]):
    assert needed(on(**dict.fromkeys(names, 1.0)), "enhancement") == wanted


@pytest.mark.parametrize(("name", "lacking"), [("regional", "regions"), ("pixel_contrast", "well_lit and mis_exposed")])
def test_a_term_without_what_it_compares_with_is_told_by_its_setting(name: str, lacking: str, pictures):
    objective = Objective(on(**{name: 1.0}), Prior(tiny_tower(), tiny_tower()), PromptPair(tiny_tower()))
    with pytest.raises(ValueError, match=f"objective.{name}.weight: the step has no {lacking} to compare with"):
        objective.enhancement(*pictures[:2])
