"""The benchmark of judges, and the one of the quickstart, on numbers that are known."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.judge_choice import BEST, EXPOSURES, UNTOUCHED, chosen, follow
from benchmarks.quickstart import spread, table_of_metrics, table_of_rounds, taken, validations
from lle.exposure.camera import linear_to_srgb, srgb_to_linear
from lle.exposure.shoulder import k_of, shoulder
from lle.metrics import psnr

PHOTO = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0)) * 0.3
TRUTH = linear_to_srgb(shoulder(srgb_to_linear(PHOTO), k_of(EXPOSURES[15].view(1, 1, 1, 1))))


def nearest_mean(images: torch.Tensor) -> torch.Tensor:
    return (images.mean(dim=(1, 2, 3)) - TRUTH.mean()).square()


def brighter_is_better(images: torch.Tensor) -> torch.Tensor:
    return -images.mean(dim=(1, 2, 3))


def test_a_judge_that_knows_keeps_the_best_and_its_gradient_leads_there():
    found = chosen({"knows": nearest_mean, "one side": brighter_is_better}, [(PHOTO, TRUTH)], followed=1)
    kept, led = (float(each.strip("()")) for each in found["knows"].split())
    assert kept == float(found[BEST]) > 60 and led > 30
    assert float(found["one side"].split()[0]) < 15
    assert float(found[UNTOUCHED]) == pytest.approx(float(psnr(PHOTO, TRUTH)), abs=0.01)


def test_a_judge_without_a_gradient_leads_nowhere():
    assert follow(lambda images: nearest_mean(images).detach(), srgb_to_linear(PHOTO)) is None
    assert "(" not in chosen({"mute": lambda images: nearest_mean(images).detach()}, [(PHOTO, TRUTH)], 1)["mute"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two rounds whose `restored` orders the validations as the pairs do, and `feature_gap` the other way."""
    rows = [{"step": 10, "loss": 1.0, "round": 1.0}]
    for step, number, value in ((20, 1, 19.0), (40, 1, 20.0), (60, 2, 20.5), (80, 2, 20.2)):
        rows += [{"step": step, "loss": 0.5, "round": float(number)}]
        measured = {"psnr": value, "restored": value + 5, "feature_gap": value, "judge_gap": -value, "ssim": value / 30}
        rows += [{"step": step, **{f"validation/{name}": each for name, each in measured.items()}}]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_validations_come_with_their_round_and_a_measure_chooses_among_them(run: Path):
    found = validations(run)
    assert [(each["round"], each["psnr"]) for each in found] == [(1, 19.0), (1, 20.0), (2, 20.5), (2, 20.2)]
    assert taken(found, "restored", 0.0)["psnr"] == 20.5 and taken(found, "restored", 0.4)["psnr"] == 20.2
    assert taken(found, "restored", 0.2)["psnr"] == 20.5
    assert taken(found, "feature_gap", 0.0)["psnr"] == 19.0


def test_what_is_kept_after_a_round_counts_the_rounds_before(run: Path):
    *_, row = table_of_rounds({"full": [run, run]}).splitlines()
    assert [cell.strip() for cell in row.split("|")[2:4]] == ["20.00 ± 0.00", "20.20 ± 0.00"]


def test_measures_are_ordered_by_what_the_pairs_say(run: Path):
    rows = [line.split("|") for line in table_of_metrics([run, run]).splitlines()[2:]]
    said = {row[1].strip(" `"): [cell.strip() for cell in row[2:6]] for row in rows}
    assert said["restored"] == ["8", "1.00", "0.00", "0.00"]
    assert said["feature_gap"] == ["8", "-1.00", "1.50", "1.50"]
    assert said["judge_gap"][1] == "1.00"


def test_a_spread_is_mean_and_deviation():
    assert spread([1.0, 3.0]) == "2.00 ± 1.41" and spread([2.0], 3) == "2.000"
