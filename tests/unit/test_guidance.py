"""Whole trainings guided by a latent pair, by a residual vector or by nothing, and what guidance looks at."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tiny import CountingTower, PhotoStream, Told, newest, photo, tiny_prior, tiny_settings, tiny_tower, tiny_train
from torch import Tensor

from lle.config import TrainSettings
from lle.enhancers import Enhanced
from lle.exposure.camera import expose
from lle.losses.objective import Objective
from lle.prior.crops import Crops
from lle.prior.guidance_heads import GuidanceHead, build_guidance_head
from lle.prior.prompts import LatentPair
from lle.prior.residual import ResidualVector
from lle.prior.towers import Prior
from lle.training.checkpoint import read
from lle.training.residual import mean_features

KINDS = ["prompts", "latent", "residual"]


def guided_by(kind: str, **changes) -> TrainSettings:
    return tiny_settings(**{**changes, "prior": {"guidance": kind, **changes.get("prior", {})}})


def phases_of(told: Told) -> list[str]:
    return [step.line.split("  ")[0] for step in told.steps]


def pictures_of(name: str, rows: range) -> Tensor:
    return torch.stack([photo(name, row) for row in rows]).permute(0, 3, 1, 2).float() / 255


# what is learned, and when


def test_a_latent_pair_is_taught_in_the_same_phases_as_prompts(tmp_path: Path):
    told, prompted = Told(tmp_path), Told()
    tiny_train(guided_by("latent", loop={"checkpoint_every": 1}), told=told)
    tiny_train(told=prompted)
    assert phases_of(told) == phases_of(prompted)
    for before, after in pairwise(read(each) for each in sorted(tmp_path.iterdir())):
        moved = not torch.equal(before.tensors["guide/latents"], after.tensors["guide/latents"])
        assert moved == before.progress.schedule.phase.trains_prompts


def test_a_latent_pair_learns_to_tell_dark_from_well_lit():
    told = Told()
    schedule = {"prompt_init": {"steps": 40}, "reconstruction": {"steps": 1}, "rounds": 1}
    tiny_train(guided_by("latent", schedule=schedule, optimiser={"prompt_lr": 1e-2}), told=told)
    losses = told.losses()[:40]
    assert losses[-1] < 0.1 < losses[0]


def test_latents_start_at_random_and_follow_the_seed():
    starts = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        starts.append(LatentPair(tiny_tower()).latents.detach())
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])
    assert not torch.allclose(starts[0][0], starts[0][1])
    assert float(starts[0].norm(dim=1).mean()) == pytest.approx(1, abs=0.4)


def test_a_residual_needs_no_phase_of_prompts():
    told = Told()
    outcome = tiny_train(guided_by("residual"), told=told)
    phases = ["reconstruction", "round 1 enhancement", "round 2 enhancement", "round 3 enhancement"]
    assert phases_of(told) == [each for each in phases for _ in range(3)]
    assert outcome.progress.well_lit_row == 0, "no step asks for well-lit photos"
    assert told.steps[0].line.startswith("reconstruction  step 1/12  ")


def test_without_guidance_no_prompts_are_taught():
    told = Told()
    tiny_train(tiny_settings(objective={"guidance": {"weight": 0.0}}), told=told)
    assert not any("prompt_init" in each or "refinement" in each for each in phases_of(told))
    assert "term/guidance" not in told.steps[-1].metrics


def test_rounds_without_refinement_end_like_rounds_with_it():
    told = Told()
    tiny_train(guided_by("residual", loop={"validate_every": 100}), told=told)
    assert [report.step for report in told.reports if report.metrics] == [3, 6, 9, 12]


def test_the_enhancer_follows_the_residual():
    told = Told()
    schedule = {"reconstruction": {"steps": 1}, "enhancement": {"steps": 30}, "rounds": 1}
    outcome = tiny_train(
        guided_by(
            "residual",
            schedule=schedule,
            objective={"guidance": {"weight": 1920.0}, "identity": {"weight": 0.0}},
            optimiser={"enhancer_lr": 1e-2, "ema_decay": 0.0},
        ),
        told=told,
    )
    guided = [step.metrics["term/guidance"] for step in told.steps[1:]]
    assert guided[-1] < 0.2 * guided[0]
    dark = pictures_of("dark", range(5000, 5008))
    assert float(outcome.enhancer(dark).image.mean()) > 1.5 * float(dark.mean())


# the residual


def test_the_residual_lies_between_the_means_of_the_whole_sets():
    outcome = tiny_train(guided_by("residual", schedule={"rounds": 1}))
    with torch.no_grad():
        dark, well_lit = (tiny_tower()(pictures_of(name, range(7))).features.mean(0) for name in ("dark", "well_lit"))
    direction = torch.nn.functional.normalize(well_lit - dark, dim=0)
    torch.testing.assert_close(outcome.guidance_head["direction"], direction, rtol=0, atol=1e-5)
    assert float(outcome.guidance_head["threshold"]) == pytest.approx(float(well_lit @ direction), abs=1e-5)


def test_over_exposed_copies_join_the_badly_lit_mean_by_their_share():
    share, stops = 0.5, 2.0
    settings = guided_by("residual", prior={"over_exposed_share": share, "over_exposed_stops": (stops, stops)})
    _, badly_lit = mean_features(settings, tiny_tower(), PhotoStream)
    with torch.no_grad():
        dark = tiny_tower()(pictures_of("dark", range(7))).features
        over = tiny_tower()(expose(pictures_of("well_lit", range(7)), stops)).features
    expected = (dark.sum(0) + share * over.sum(0)) / (7 + share * 7)
    torch.testing.assert_close(badly_lit, expected, rtol=0, atol=1e-5)


def test_a_renewed_residual_counts_what_was_enhanced_as_badly_lit(tmp_path: Path):
    told = Told(tmp_path)
    settings = guided_by("residual", prior={"renew_residual": True}, loop={"checkpoint_every": 1})
    tiny_train(settings, told=told)
    at = {int(each.name): read(each).part("guide")["direction"] for each in tmp_path.iterdir()}
    assert torch.equal(at[1], at[5]) and torch.equal(at[6], at[8])
    assert not torch.equal(at[5], at[6]) and not torch.equal(at[8], at[9]), "found anew as rounds 1 and 2 end"
    assert torch.equal(at[11], at[12]), "nothing would use a residual found after the last round"


@pytest.mark.parametrize("kind", ["latent", "residual"])
@pytest.mark.parametrize("stop_at", [1, 4, 6, 10])
def test_a_resumed_training_equals_an_uninterrupted_one(kind: str, stop_at: int, tmp_path: Path):
    settings = guided_by(kind, prior={"renew_residual": kind == "residual", "over_exposed_share": 0.5, "crops": 1})
    whole, before, after = Told(), Told(tmp_path, stop_at), Told()
    tiny_train(settings, told=whole)
    tiny_train(settings, told=before)
    tiny_train(settings, told=after, resume=newest(tmp_path))
    assert before.losses() + after.losses() == pytest.approx(whole.losses(), rel=1e-6, abs=1e-6)


# crops


def test_views_are_the_whole_pictures_and_crops_that_lie_inside():
    rows = torch.arange(16.0).view(1, 1, 16, 1).expand(2, 3, 16, 12)
    torch.manual_seed(0)
    views = Crops(count=50, share=0.5).views(rows, (8, 6))
    assert views.shape == (2 + 2 * 50, 3, 8, 6)
    torch.testing.assert_close(
        views[:2], torch.nn.functional.interpolate(rows, size=(8, 6), mode="bilinear", antialias=True)
    )
    tops = views[2:, 0, 0, 0]
    torch.testing.assert_close(views[2:, 0, :, 0], tops[:, None] + torch.arange(8.0))
    assert set(tops.tolist()) == set(map(float, range(9))), "every place is taken at times"
    assert not torch.equal(tops[0::2], tops[1::2]), "each picture has its own places"


def test_no_crops_leave_the_pictures_alone():
    image = torch.rand(2, 3, 20, 20)
    assert Crops().views(image, (8, 8)) is image


def taught(kind: str) -> GuidanceHead:
    """A guide with an opinion."""
    torch.manual_seed(3)
    guidance_head = build_guidance_head(guided_by(kind).prior, tiny_tower())
    if isinstance(guidance_head, ResidualVector):
        guidance_head.find(torch.randn(16), torch.randn(16))
    elif not isinstance(guidance_head, LatentPair):
        guidance_head.embeddings.data[1] += 0.05 * torch.randn_like(guidance_head.embeddings[1])
    return guidance_head


@pytest.mark.parametrize("kind", KINDS)
def test_guidance_is_the_mean_over_the_whole_pictures_and_their_crops(kind: str):
    guidance_head, crops = taught(kind), Crops(3, 0.4)
    dark = pictures_of("dark", range(2))
    enhanced = Enhanced((2 * dark).clamp(0, 1).requires_grad_(), dark[:, :1])
    objective = Objective(guided_by(kind).objective, tiny_prior(), guidance_head, crops)
    torch.manual_seed(5)
    terms = objective.enhancement(dark, enhanced)
    torch.manual_seed(5)
    views = crops.views(enhanced.image, tiny_tower().image_size)
    expected = torch.stack([guidance_head.penalty(tiny_tower()(view[None]).features) for view in views]).mean()
    assert terms.values["guidance"].item() == pytest.approx(expected.item(), rel=1e-4)
    terms.values["guidance"].backward()
    assert float(enhanced.image.grad.abs().sum()) > 0
    whole = Objective(guided_by(kind).objective, tiny_prior(), guidance_head).enhancement(dark, enhanced)
    assert terms.values["identity"].item() == pytest.approx(whole.values["identity"].item(), rel=1e-4)
    assert terms.values["guidance"].item() != pytest.approx(whole.values["guidance"].item(), rel=1e-4)


def test_crops_take_no_further_pass_through_the_tower():
    tower = CountingTower()
    settings = tiny_settings()
    guidance_head = build_guidance_head(settings.prior, tower)
    dark = pictures_of("dark", range(2))
    Objective(settings.objective, Prior(tower, tower), guidance_head, Crops(4)).enhancement(
        dark, Enhanced(dark, dark[:, :1])
    )
    assert tower.looks == 2, "the views of the enhanced pictures, and the input"


# settings that contradict each other


def test_a_phase_that_is_skipped_needs_no_weight():
    none, off = {"steps": 0}, {"weight": 0.0}
    tiny_settings(schedule={"reconstruction": none}, objective={"reconstruction": off})
    tiny_settings(schedule={"refinement": none}, objective={"rank": off})
    tiny_settings(schedule={"rounds": 1}, objective={"rank": off})
    guided_by("residual", objective={"rank": off})
    for term, phase in (("reconstruction", "reconstruction"), ("rank", "refinement")):
        with pytest.raises(ValueError, match=rf"objective\.{term}\.weight: at 0 .* schedule\.{phase}\.steps 0"):
            tiny_settings(objective={term: off})


def test_prompts_that_nobody_teaches_are_refused():
    none = {"steps": 0}
    for kind in ("prompts", "latent"):
        with pytest.raises(ValueError, match=rf"schedule\.prompt_init\.steps: at 0 nothing teaches the {kind}"):
            guided_by(kind, schedule={"prompt_init": none})
    guided_by("residual", schedule={"prompt_init": none})
    tiny_settings(schedule={"prompt_init": none}, objective={"guidance": {"weight": 0.0}})
