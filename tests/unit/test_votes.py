"""Votes of people: what a file of them says, its interval, who is asked what, and mistakes in one sentence."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import t as student

from pipelines.config.vote import VotingSettings
from pipelines.models.resolve import find_models
from pipelines.reporting.local_page import Refusal
from pipelines.vote import main
from pipelines.voting.booth import Booth
from pipelines.voting.report import verdicts, votes_table
from pipelines.voting.trials import some_photos, trials
from pipelines.voting.votes import LEFT, RIGHT, SAME, Vote, VoteError, add, interval, read, win_rate, win_rates


def vote(choice: str = LEFT, photo: str = "a.jpg", voter: str = "ann", **others: str) -> Vote:
    names = {"left": "new", "right": "old", "left_version": "n1", "right_version": "o1"} | others
    return Vote(photo=photo, content=f"sha of {photo}", choice=choice, voter=voter, time="2026-01-01", **names)


def turned(one: Vote) -> Vote:
    """The same judgement with the sides changed."""
    choice = {LEFT: RIGHT, RIGHT: LEFT, SAME: SAME}[one.choice]
    sides = {"left": one.right, "right": one.left}
    versions = {"left_version": one.right_version, "right_version": one.left_version}
    return replace(one, choice=choice, **sides, **versions)


# --- the interval -----------------------------------------------------------------------------------------------------


def test_with_one_vote_a_photo_it_is_wilsons_interval():
    scores = [[1.0]] * 30 + [[0.0]] * 10
    mean, low, high = interval(scores)
    z, n, p = student.ppf(0.975, 39), 40, 0.75
    middle, reach = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert (mean, low, high) == pytest.approx(
        (p, (middle - reach) / (1 + z * z / n), (middle + reach) / (1 + z * z / n)), abs=2e-3
    )


def test_votes_on_the_same_photo_that_agree_say_little_more_than_one():
    once = interval([[1.0]] * 12 + [[0.0]] * 6)
    agreeing = interval([[1.0] * 20] * 12 + [[0.0] * 20] * 6)
    independent = interval([[1.0]] * 240 + [[0.0]] * 120)
    assert agreeing[1] == pytest.approx(once[1], abs=0.03)
    assert independent[1] > agreeing[1] + 0.1


def test_a_vote_against_never_raises_the_lower_end():
    lows = [interval([[1.0] * 10] * 9 + [[1.0] * (10 - lost) + [0.0] * lost])[1] for lost in range(11)]
    assert all(after <= before + 0.02 for before, after in pairwise(lows)) and lows[0] < 0.75


def test_it_changes_sides_with_the_models():
    scores = [[1.0, 0.5], [0.0], [1.0, 1.0, 0.0], [0.5]]
    mean, low, high = interval(scores)
    assert interval([[1 - each for each in photo] for photo in scores]) == pytest.approx((1 - mean, 1 - high, 1 - low))


def test_a_single_photo_says_nothing():
    assert interval([[1.0, 1.0, 1.0]]) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("photos", "votes", "p", "alike"), [(15, 1, 0.6, 0.0), (40, 1, 0.9, 0.0), (15, 4, 0.6, 0.4), (12, 8, 0.85, 0.6)]
)
def test_it_holds_the_truth_in_95_of_100_cases_or_more(photos: int, votes: int, p: float, alike: float):
    random, held, cases = np.random.default_rng(0), 0, 300
    for _ in range(cases):
        spread = (1 - alike) / alike if alike else 0.0
        chances = random.beta(p * spread, (1 - p) * spread, photos) if alike else np.full(photos, p)
        _, low, high = interval((random.random((photos, votes)) < chances[:, None]).astype(float).tolist())
        held += low <= p <= high
    assert held / cases > 0.93  # 95 % less two standard errors of so few cases


# --- the file ---------------------------------------------------------------------------------------------------------


def test_a_vote_comes_back_as_it_was_written(tmp_path: Path):
    file = tmp_path / "votes.jsonl"
    given = [vote(), vote(SAME, voter="Bo Ömer"), vote(RIGHT, "b/ü.jpg")]
    for each in given:
        add(each, file)
    assert read(file) == given
    assert json.loads(file.read_text().splitlines()[1])["voter"] == "Bo Ömer"


def test_the_last_word_of_a_person_on_the_same_pictures_counts(tmp_path: Path):
    file = tmp_path / "votes.jsonl"
    for each in (vote(LEFT), vote(LEFT, voter="bo"), turned(vote(RIGHT))):
        add(each, file)
    found = win_rate(read(file), "n1", "o1")
    assert (found.wins, found.losses, found.voters) == (1, 1, 2)


def test_half_a_line_of_a_killed_page_costs_no_vote(tmp_path: Path):
    file = tmp_path / "votes.jsonl"
    add(vote(), file)
    with file.open("a") as lines:
        lines.write('{"photo": "b.jpg", "con')
    assert len(read(file)) == 1
    add(vote(photo="c.jpg"), file)
    assert [each.photo for each in read(file)] == ["a.jpg", "c.jpg"]


@pytest.mark.parametrize("line", ["{}", '{"choice": "both"}', '{"photo": 5}'])
def test_a_line_that_is_no_vote_is_named(tmp_path: Path, line: str):
    file = tmp_path / "votes.jsonl"
    add(vote(), file)
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(VoteError, match="votes: line 2 of .* is no vote; name a file that"):
        read(file)


# --- win rates --------------------------------------------------------------------------------------------------------


def test_a_win_is_a_win_on_either_side_and_a_tie_is_half():
    votes = [vote(), turned(vote(photo="b.jpg")), vote(SAME, "c.jpg"), turned(vote(RIGHT, "d.jpg"))]
    found = win_rate(votes, "n1", "o1")
    assert (found.ours, found.wins, found.ties, found.losses, found.photos) == ("new", 2, 1, 1, 4)
    assert found.rate == 2.5 / 4 and found.on_the_left == 2 / 3
    other = win_rate(votes, "o1", "n1")
    assert (other.ours, other.wins, other.losses, other.rate) == ("old", 1, 2, 1 - found.rate)


def test_each_two_models_have_a_row_and_the_better_one_comes_first():
    votes = [vote(RIGHT, f"{index}.jpg") for index in range(20)]
    votes += [vote(SAME, left="third", left_version="t1")]
    rates = win_rates(votes)
    assert [(each.ours, each.theirs, each.rate) for each in rates[:1]] == [("old", "new", 1.0)]
    table = votes_table(rates)
    assert table.rows[0][0] == "old against new" and list(table.marked) == [(0, 1)]
    said = verdicts(rates)
    assert said[0].startswith("People prefer old to new: ") and "these votes cannot tell" in said[1]


def test_two_versions_of_one_name_are_two_models():
    votes = [vote(), vote(right_version="o2")]
    assert len(win_rates(votes)) == 2
    with pytest.raises(VoteError, match="nobody has judged n1 and o3"):
        win_rate(votes, "n1", "o3")


# --- who is asked what ------------------------------------------------------------------------------------------------


def test_everybody_sees_each_photo_by_each_two_models_once_and_sides_are_even():
    asked = trials(10, 3, seed=0, voter="ann")
    seen = Counter((each.photo, frozenset((each.left, each.right))) for each in asked)
    assert len(seen) == 30 and set(seen.values()) == {1}
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert sum((each.left, each.right) == (one, other) for each in asked) == 5
    for start in (0, 10, 20):  # whoever stops after a round has seen every photo as often as any other
        assert sorted(each.photo for each in asked[start : start + 10]) == [*range(10)]


def test_the_same_seed_and_person_give_the_same_and_others_another_order():
    assert trials(8, 2, 3, "ann") == trials(8, 2, 3, "ann")
    others = (trials(8, 2, 4, "ann"), trials(8, 2, 3, "bo"), trials(8, 2, 3, "Ann"))
    assert all(trials(8, 2, 3, "ann") != other for other in others)


def test_some_photos_are_drawn_and_all_are_all():
    assert some_photos(5, 0, 0) == some_photos(5, 9, 0) == [0, 1, 2, 3, 4]
    drawn = some_photos(100, 10, 0)
    assert len(set(drawn)) == 10 and drawn == sorted(drawn) != some_photos(100, 10, 1)


# --- the booth --------------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos, one of them broken behind its header."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(3):
        Image.fromarray(random.integers(0, 60, (30, 40, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    broken = folder / "2.png"
    broken.write_bytes(broken.read_bytes()[:300])
    return folder


def booth(photos: Path) -> Booth:
    models = ("baseline:auto-gain", "dim=baseline:input")
    file = photos.parent / "votes.jsonl"
    settings = VotingSettings(models=models, photos=str(photos), votes=str(file))
    return Booth(settings, find_models(models, ""), file)


def test_who_comes_back_goes_on_where_they_stopped(photos: Path):
    first = booth(photos)
    asked = first.asked("ann")
    assert (asked["trial"], asked["next"], asked["done"], asked["of"]) == (0, 1, 0, 3)
    first.vote("ann", 0, LEFT, 1.23)
    assert first.asked("ann")["done"] == 1 and first.asked("bo")["done"] == 0
    again = booth(photos)
    assert again.asked(" ann ") == {"trial": 1, "next": 2, "done": 1, "of": 3}
    assert again.asked("ann", 0) == {"trial": 0, "next": 1, "done": 1, "of": 3}
    again.vote("ann", 0, RIGHT, 2.0)
    kept = read(photos.parent / "votes.jsonl")
    assert [(each.choice, each.seconds) for each in kept] == [(RIGHT, 2.0)]
    assert {kept[0].left, kept[0].right} == {"auto-gain", "dim"}


def test_a_photo_that_cannot_be_shown_is_told_and_not_asked_about_any_more(photos: Path):
    here = booth(photos)
    number = next(
        number for number, each in enumerate(trials(3, 2, 0, "ann")) if here.photos[each.photo].name == "2.png"
    )
    with pytest.raises(Refusal, match="damaged or truncated"):
        here.picture("ann", number, LEFT)
    assert list(here.refused) == ["2.png"] and here.asked("ann")["of"] == 2
    for _ in range(2):
        here.vote("ann", here.asked("ann")["trial"], SAME, 0.0)
    assert here.asked("ann") == {"trial": None, "next": None, "done": 2, "of": 2}


def test_the_sides_are_the_models_pictures(photos: Path):
    here = booth(photos)
    number, trial = next(
        each for each in enumerate(trials(3, 2, 0, "ann")) if here.photos[each[1].photo].name != "2.png"
    )
    pictures = {side: here.picture("ann", number, side) for side in (LEFT, RIGHT, "input")}
    untouched = RIGHT if trial.left == 0 else LEFT
    assert pictures[untouched] == pictures["input"] != pictures[LEFT if untouched == RIGHT else RIGHT]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (lambda here: here.asked("  "), "give a name"),
        (lambda here: here.asked("a" * 61), "give a name"),
        (lambda here: here.asked("a\0b"), "give a name"),
        (lambda here: here.asked("ann", 3), "trial 3: there is none"),
        (lambda here: here.picture("ann", -1, LEFT), "trial -1: there is none"),
        (lambda here: here.picture("ann", 0, "bundled"), "no such side"),
        (lambda here: here.vote("ann", 0, "both", 1.0), "no such choice"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(photos: Path, asked, reason: str):
    with pytest.raises(Refusal, match=reason) as refused:
        asked(booth(photos))
    assert refused.value.status == 400 and not (photos.parent / "votes.jsonl").exists()


# --- the command ------------------------------------------------------------------------------------------------------


def test_votes_are_counted_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "votes.jsonl"
    for index in range(20):
        add(vote(photo=f"{index}.jpg"), file)
    assert main(["--votes", str(file), "--tally"]) == 0
    told = capsys.readouterr().out
    assert "People prefer new to old: 100 % of 20 votes on 20 photos" in told.replace("\N{NO-BREAK SPACE}", " ")
    assert "the left picture was chosen in 100 % of 20 decided votes" in told
    assert max(len(line) for line in told.splitlines() if "│" in line) <= 80


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--tally", "--votes", "nowhere.jsonl"], "votes: there is no nowhere.jsonl yet"),
        (["--models", "bundled", "--photos", "photos"], "models: name two or more"),
        (["--models", "bundled", "baseline:input"], "photos: name a folder"),
        (["--models", "baseline:input", "same=baseline:input", "--photos", "p"], "input and same are the same model"),
        (["--models", "a=baseline:input", "a=bundled", "--photos", "p"], "models: two are called a; name them"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(words)
    except SystemExit as stop:
        status = stop.code
    told = capsys.readouterr().err
    assert status == 2 and sentence in told and told.count("\n") == 1
