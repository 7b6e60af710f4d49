"""Who earns a promotion, on which photos, and mistakes in one sentence; no cluster and no server."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from pipelines.config.fields import MeasuredPhotos
from pipelines.config.promote import PromotionSettings, VoteGate
from pipelines.data.listing import DataError
from pipelines.evaluation.photos import check_unchanged, contents_hash, read_contents, write_manifest
from pipelines.evaluation.worker import GOOD, LOW, Measured, find_evaluated_photos
from pipelines.models.named import NamedModel
from pipelines.promote import main
from pipelines.promotion import job as promotion
from pipelines.promotion.decision import (
    Check,
    check_gain,
    check_guards,
    check_votes,
    gains,
    refuse_too_few,
    strongest,
)
from pipelines.promotion.job import times_slower, truth_as_good
from pipelines.voting.votes import Vote


def settings(**others) -> PromotionSettings:
    return PromotionSettings(data=MeasuredPhotos(dark="low", truth="high"), **others)


def measured(group: str = LOW, **values: list[float]) -> list[Measured]:
    rows = zip(*values.values(), strict=True)
    return [Measured(group, f"{index}.png", dict(zip(values, row, strict=True))) for index, row in enumerate(rows)]


# --- the test over photos ---------------------------------------------------------------------------------------------


def test_gains_are_positive_for_better_whichever_way_the_measure_runs():
    before, after = measured(psnr=[10, 12], lpips=[0.5, 0.25]), measured(psnr=[11, 11], lpips=[0.25, 0.5])
    assert gains("psnr", before, after) == {"0.png": 1, "1.png": -1}
    assert gains("lpips", before, after) == {"0.png": 0.25, "1.png": -0.25}


def test_gains_are_of_photos_to_enhance_that_both_could_be_measured_on():
    before = [*measured(psnr=[10, 12]), *measured(GOOD, psnr=[50])]
    after = [measured(psnr=[11])[0], Measured(LOW, "1.png", refused="broken"), *measured(GOOD, psnr=[60])]
    assert gains("psnr", before, after) == {"0.png": 1}


def test_a_gain_on_every_photo_has_the_p_of_so_many_coins():
    check = check_gain(settings(), [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert check.passed and check.name == "psnr" and "p = 0.016;" in check.finding  # 2 ** -6
    assert "better by 0.75 dB at the mean of 6 photos" in check.finding


@pytest.mark.parametrize(
    ("gained", "why"),
    [
        ([0.05] * 20, "sure, but below the margin"),
        ([10.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0], "above the margin, but one photo alone"),
        ([0.0] * 20, "the same model"),
        ([-1.0] * 20, "worse"),
    ],
)
def test_no_promotion_without_margin_and_significance(gained: list[float], why: str):
    assert not check_gain(settings(), gained).passed, why


def test_a_margin_of_zero_still_wants_significance():
    assert check_gain(settings(margin=0), [0.01] * 10).passed
    assert not check_gain(settings(margin=0), [0.01, -0.01] * 5).passed


def test_too_few_photos_say_how_many_would_do():
    with pytest.raises(DataError, match="data.dark: 4 photos can never be significant at 0.05; give 5 or more"):
        refuse_too_few(4, 0.05)
    refuse_too_few(5, 0.05)


@pytest.mark.parametrize(
    ("name", "worse"),
    [
        ("over_exposed", {"over_exposed": [0.02, 0.0]}),
        ("colour_cast", {"colour_cast": [6.0, 5.2]}),
        ("unchanged", {"unchanged": [30.0, 27.9]}),
        ("speed", {}),
    ],
)
def test_each_guard_refuses_alone(name: str, worse: dict[str, list[float]]):
    fine = {"over_exposed": [0.0, 0.0], "colour_cast": [5.0, 5.0], "unchanged": [30.0, 30.0]}

    def photos(values: dict[str, list[float]]) -> list[Measured]:
        of_good = {"unchanged": values["unchanged"]}
        return [*measured(LOW, **{key: values[key] for key in fine if key not in of_good}), *measured(GOOD, **of_good)]

    checks = check_guards(settings(), photos(fine), photos(fine | worse), 1.3 if name == "speed" else 1.2)
    assert [check.name for check in checks if not check.passed] == [name]
    assert len(checks) == 4
    assert all(check.passed for check in check_guards(settings(), photos(fine | worse), photos(fine), 1.0))


def test_without_good_photos_nothing_is_said_about_them():
    photos = measured(over_exposed=[0.0], colour_cast=[5.0])
    assert [check.name for check in check_guards(settings(), photos, photos, 1.0)] == [
        "over_exposed",
        "colour_cast",
        "speed",
    ]


# --- the first champion -----------------------------------------------------------------------------------------------


def test_a_baseline_is_named_in_its_check_and_by_how_much_the_candidate_is_short():
    check = check_gain(settings(), [-0.25] * 6, "auto-gamma")
    assert (check.passed, check.name) == (False, "psnr_over_auto-gamma")
    assert check.finding.startswith("PSNR against auto-gamma: worse by 0.25 dB at the mean of 6 photos, p = 1;")
    assert check.finding.endswith("; short by 0.35 dB")


def test_the_strongest_baseline_is_the_best_by_the_measure_whichever_way_it_runs():
    baselines = {
        "input": measured(psnr=[9.0, 9.0], lpips=[0.5, 0.5]),
        "auto-gain": measured(psnr=[15.0, 17.0], lpips=[0.3, 0.4]),
        "auto-gamma": measured(psnr=[15.5, 15.5], lpips=[0.2, 0.2]),
    }
    assert strongest("psnr", baselines) == "auto-gain" and strongest("lpips", baselines) == "auto-gamma"


@pytest.mark.parametrize(
    ("name", "worse"),
    [
        ("over_exposed", {"over_exposed": [0.03, 0.03]}),
        ("colour_cast", {"colour_cast": [6.0, 6.0]}),
        ("unchanged", {"unchanged": [9.0, 9.5]}),
        ("speed", {}),
    ],
)
def test_each_guard_refuses_a_first_champion_alone(name: str, worse: dict[str, list[float]]):
    fine = {"over_exposed": [0.0, 0.0], "colour_cast": [5.0, 5.0], "unchanged": [30.0, 30.0]}

    def photos(values: dict[str, list[float]]) -> list[Measured]:
        low = {key: values[key] for key in fine if key != "unchanged"}
        return [*measured(LOW, **low), *measured(GOOD, unchanged=values["unchanged"])]

    untouched = photos(fine | {"unchanged": [100.0, 100.0]})
    checks = check_guards(settings(), untouched, photos(fine | worse), 51 if name == "speed" else 39, first=True)
    assert [check.name for check in checks if not check.passed] == [name]
    assert all(check.passed for check in check_guards(settings(), untouched, photos(fine), 39, first=True))


def test_good_photos_keep_their_likeness_however_often_the_champion_changes():
    def left(value: float) -> list[Measured]:
        return measured(GOOD, unchanged=[value])

    def passes(champion: float, candidate: float) -> bool:
        return all(check.passed for check in check_guards(settings(), left(champion), left(candidate), 1.0))

    assert passes(20.9, 20.1) and not passes(20.9, 19.9), "1 dB less is allowed, but not below 20"
    assert passes(15.0, 15.5) and not passes(15.0, 14.5), "a champion of before the guard can be replaced by a better"


def test_the_ground_truth_stands_in_for_good_photos(folders: dict[str, str]):
    photos, _ = find_evaluated_photos(folders["low"], folders["high"], "", 0, 10**6)
    good = truth_as_good(photos)
    assert [each.name for each in good] == [f"a/{index}.png" for index in range(5)]
    assert {(each.group, each.uri, each.truth_path) for each in good} == {(GOOD, folders["high"], "")}


def test_speed_is_the_median_of_turns_and_one_slow_turn_changes_nothing(folders: dict[str, str]):
    class Waits(nn.Module):
        """Takes its time, and once far longer."""

        def __init__(self, seconds: float, hiccup_at: int = 0) -> None:
            super().__init__()
            self.clock = clock
            self.seconds, self.hiccup_at, self.calls = seconds, hiccup_at, 0

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            clock.now += 60.0 if self.calls == self.hiccup_at else self.seconds
            return image

    clock = SimpleNamespace(now=0.0)
    photos, _ = find_evaluated_photos(folders["low"], folders["high"], "", 0, 10**6)
    candidate, rival = (NamedModel("", "", Waits(2.0, 8)), NamedModel("", "", Waits(1.0)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(promotion, "time", SimpleNamespace(perf_counter=lambda: clock.now))
        patch.setattr(promotion, "TIMED_SECONDS", 1e9)
        assert times_slower(candidate, rival, photos, 10**6) == pytest.approx(2.0)


# --- votes ------------------------------------------------------------------------------------------------------------

NEW, OLD = (NamedModel(uri, uri, nn.Identity()) for uri in ("models:/lle-enhancer/2", "models:/lle-enhancer/1"))


def votes(choices: str, new: str = NEW.version, photos: int = 20) -> list[Vote]:
    """A vote for each letter, `n`ew, `o`ld or `s`ame, on so many photos in turn, sides changing."""
    found = []
    for index, letter in enumerate(choices):
        sides = [("new", new), ("old", OLD.version)][:: 1 if index % 2 else -1]
        (left, left_version), (right, right_version) = sides
        choice = "same" if letter == "s" else "left" if left.startswith(letter) else "right"
        photo = f"{index % photos}.jpg"
        names = {"left": left, "right": right, "left_version": left_version, "right_version": right_version}
        found.append(Vote(photo, photo, **names, choice=choice, voter=f"voter {index // photos}", time="now"))
    return found


def asked(choices: str, photos: int = 20, **gate) -> Check:
    return check_votes(VoteGate(file="v.jsonl", **gate), votes(choices, photos=photos), NEW, OLD, "the champion")


def test_people_must_prefer_the_candidate_by_more_than_chance():
    clear = asked("n" * 32 + "s" * 4 + "o" * 4)
    assert clear.passed and clear.name == "votes" and clear.numbers["win_rate"] == 34 / 40
    assert clear.finding.startswith("People prefer it to the champion in 85 % of 40 votes on 20 photos by 2 people")
    assert not asked("n" * 22 + "o" * 18).passed, "it may be chance"
    assert not asked("o" * 40).passed and not asked("s" * 40).passed
    assert not asked("n" * 32 + "s" * 4 + "o" * 4, min_win_rate=0.8).passed, "not as clearly as is wanted"


def test_the_same_two_photos_again_and_again_do_not_make_a_champion():
    assert not asked("n" * 40, photos=2, min_photos=2).passed


@pytest.mark.parametrize(("count", "photos"), [(29, 20), (40, 9)])
def test_too_few_votes_decide_nothing_and_say_how_many_are_wanted(count: int, photos: int):
    told = (
        f"votes.file: {count} votes on {photos} photos are too few .*; wanted: 30 on 10 .*vote.py --models {NEW.uri} "
    )
    with pytest.raises(DataError, match=told):
        asked("n" * count, photos=photos)


def test_votes_on_another_version_are_no_votes_on_this_one():
    with pytest.raises(DataError, match="v.jsonl holds no vote on the candidate .* models or versions: new and old"):
        check_votes(VoteGate(file="v.jsonl"), votes("n" * 40, new="another"), NEW, OLD, "the champion")
    with pytest.raises(DataError, match="holds no vote on the candidate .weights [0-9a-f]{16}. and auto-gain"):
        check_votes(VoteGate(file="v.jsonl"), [], NEW, OLD, "auto-gain")


# --- the pinned photos ------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    for name, level in (("low", 20), ("high", 90), ("good", 120)):
        (tmp_path / name / "a").mkdir(parents=True)
        for index in range(5):
            Image.new("RGB", (30, 20 + index), (level, index, 0)).save(tmp_path / name / "a" / f"{index}.png")
    return {name: str(tmp_path / name) for name in ("low", "high", "good")}


def contents(folders: dict[str, str]) -> dict[str, str]:
    return read_contents(find_evaluated_photos(folders["low"], folders["high"], folders["good"], 0, 10**6)[0])


def test_contents_name_every_photo_and_its_ground_truth(folders: dict[str, str]):
    found = contents(folders)
    assert sorted(found) == [f"{group}/a/{index}.png" for group in ("good", "high", "low") for index in range(5)]
    assert len(set(found.values())) == 15


def test_the_hash_follows_content_not_place(folders: dict[str, str], tmp_path: Path):
    before = contents_hash(contents(folders))
    moved = Path(folders["low"]).rename(tmp_path / "elsewhere")
    assert contents_hash(contents({**folders, "low": str(moved)})) == before
    Image.new("RGB", (30, 20)).save(moved / "a" / "0.png")
    assert contents_hash(contents({**folders, "low": str(moved)})) != before


def test_a_manifest_is_written_once_and_then_holds(folders: dict[str, str], tmp_path: Path):
    manifest = tmp_path / "new" / "photos.json"
    check_unchanged(contents(folders), str(manifest))
    assert json.loads(manifest.read_text()) == contents(folders)
    check_unchanged(contents(folders), str(manifest))


def test_changed_photos_are_told_in_one_sentence(folders: dict[str, str], tmp_path: Path):
    manifest = str(tmp_path / "photos.json")
    write_manifest(contents(folders), manifest)
    Image.new("RGB", (30, 20)).save(Path(folders["high"], "a", "0.png"))
    Path(folders["good"], "a", "1.png").rename(Path(folders["good"], "a", "9.png"))
    with pytest.raises(DataError) as refusal:
        check_unchanged(contents(folders), manifest)
    assert "changed: high/a/0.png; new: good/a/9.png; gone: good/a/1.png; bring them back, or" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["[]", "{", "\xff"])
def test_another_file_is_no_manifest(text: str, tmp_path: Path):
    (tmp_path / "photos.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match="photos.json is none; name one that a promotion has written"):
        check_unchanged({}, str(tmp_path / "photos.json"))


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "data.dark: name the photos that both are measured on, with --data.dark (or give --rollback)"),
        (
            ["--data.dark", "DIR"],
            2,
            "metric: psnr needs ground truth; give --data.truth, or another metric: niqe, our_prior",
        ),
        (
            ["--data.dark", "DIR", "--metric", "niqe"],
            2,
            "margin: its default is meant for psnr, in dB; give --margin in the",
        ),
        (
            ["--data.dark", "DIR", "--metric", "niqe", "--margin", "1"],
            2,
            "data.good: without ground truth, name photos that need no enhancing, with --data.good",
        ),
        (["--data.dark", "DIR", "--data.truth", "DIR", "--metric", "loss"], 2, "metric: loss is not allowed; give"),
        (["--data.dark", "DIR", "--data.truth", "DIR", "--champion", "7"], 2, "champion: 7 is not allowed"),
        (["--data.dark", "DIR", "--data.truth", "DIR", "--significance", "0"], 2, "significance: 0 is not allowed"),
        (
            ["--rollback", "--tracking.uri", "http://127.0.0.1:9"],
            1,
            "tracking: MLflow at http://127.0.0.1:9 refuses or is",
        ),
    ],
)
def test_a_mistake_ends_with_one_sentence(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    try:
        assert main(arguments) == status
    except SystemExit as stop:
        assert stop.code == status
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
