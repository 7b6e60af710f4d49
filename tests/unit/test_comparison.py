"""Several models side by side: which sets there are, who is best and how surely, what the report shows; no cluster."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from pipelines.compare import main
from pipelines.comparison.decision import ComparedSet, best_by, difference
from pipelines.comparison.job import compared_sets, find_sets, losing_most, pictures_of, result_files, rows, short_names
from pipelines.comparison.report import cases, comparison_report, differences_table, means_table, verdict
from pipelines.config.compare import ComparedPhotos
from pipelines.evaluation.worker import GOOD, LOW, Measured, Photo
from pipelines.models.named import ModelError
from pipelines.models.resolve import find_models
from pipelines.reporting.html_report import render, view
from pipelines.reporting.scatter import MOST_DOTS, Scatter, scatter
from pipelines.reporting.words import SPACE

URIS = ("new=baseline:auto-exposure", "baseline:auto-gain", "baseline:input")
NAMES = ("new", "auto-gain", "input")


@pytest.fixture(scope="module")
def models():
    return find_models(URIS, "")


def measured(group: str, **values: list[float]) -> list[Measured]:
    rows = zip(*values.values(), strict=True)
    return [Measured(group, f"{index}.png", dict(zip(values, row, strict=True))) for index, row in enumerate(rows)]


def pairs() -> ComparedSet:
    """Six photos: the new model gains a dB over auto-gain on all but the last, where it loses three."""
    new = [20.0, 21.0, 22.0, 23.0, 24.0, 21.0]
    old = [each - 1.1 for each in new[:5]] + [24.0]
    burnt = {"over_exposed": [0.01] * 6}
    return ComparedSet(
        "lol", LOW, "low", "high",
        {
            "new": measured(LOW, psnr=new, **burnt),
            "auto-gain": measured(LOW, psnr=old, over_exposed=[0.02] * 6),
            "input": measured(LOW, psnr=[8.0] * 6, over_exposed=[0.0] * 6),
        },
    )  # fmt: skip


# --- who is best ------------------------------------------------------------------------------------------------------


def test_a_difference_has_students_interval_and_the_p_of_so_many_coins():
    found = difference([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.gain, found.better, found.photos, found.p) == (3.0, 5, 5, 0.0625)  # 2 * 2 ** -5
    assert (found.low, found.high) == pytest.approx((3 - 1.9633, 3 + 1.9633), abs=1e-3)


def test_one_photo_and_the_same_model_are_no_difference():
    assert difference([0.5]).low == difference([0.5]).high == 0.5
    assert difference([0.0, 0.0]).p == 1.0


def test_the_best_is_by_the_metrics_own_direction_and_by_the_digits_that_are_shown(models):
    compared = pairs()
    assert best_by("psnr", compared.summaries, models) == ["new"]
    level = {name: {"psnr": {"mean": value}} for name, value in (("new", 20.001), ("auto-gain", 20.0))}
    assert best_by("psnr", level, models) == ["new", "auto-gain"]


def test_a_photo_left_alone_is_best_by_no_guard_and_by_no_likeness_to_itself(models):
    assert best_by("over_exposed", pairs().summaries, models) == ["new"]
    good = {name: {"unchanged": {"mean": value}} for name, value in zip(NAMES, (30.0, 25.0, 100.0), strict=True)}
    assert best_by("unchanged", good, models) == ["new"]


def test_the_verdict_says_who_leads_by_how_much_and_whether_it_may_be_chance(models):
    said = verdict(pairs(), models).replace(SPACE, " ")
    assert said == "lol: new has the best PSNR, 21.83 dB; auto-gain is behind by 0.42 dB, which may be chance."


def test_photos_come_in_the_order_of_what_the_first_model_loses(models):
    compared = pairs()
    assert compared.losses("new")["5.png"] == 3.0
    assert losing_most(compared, "new", 2) == ["5.png", "0.png"]


def test_a_set_without_ground_truth_is_ranked_by_our_own_judge_and_good_photos_by_likeness():
    one = {"new": measured(LOW, our_prior_well_lit=[0.5], niqe=[4.0])}
    assert ComparedSet("a", LOW, "a", "", one).metric == "our_prior_well_lit"
    two = {"new": measured(GOOD, our_prior_well_lit=[0.5], unchanged=[40.0])}
    assert ComparedSet("b", GOOD, "b", "", two).metric == "unchanged"


# --- the sets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uris", "names"),
    [
        (["photos/dark"], ["dark"]),
        (["lol/low", "sice/low/"], ["lol/low", "sice/low"]),
        (["/data/a", "s3://bucket/b"], ["a", "b"]),
        (["a/x/low", "b/x/low"], ["a/x/low", "b/x/low"]),
        (["same", "same"], ["same (1)", "same (2)"]),
    ],
)
def test_sets_are_called_by_the_ends_of_their_paths(uris: list[str], names: list[str]):
    assert short_names(uris) == names


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two pairs, one photo without truth of the same name, one good photo."""
    random = np.random.default_rng(0)
    for place in ("a/low/0", "a/low/1", "a/high/0", "a/high/1", "b/0", "good/0"):
        file = tmp_path / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        level = 40 if "low" in place or place.startswith("b") else 200
        Image.fromarray(random.integers(0, level, (24, 32, 3), dtype=np.uint8)).save(file)
    return tmp_path


def test_truth_belongs_to_the_first_sets_and_photos_know_theirs(folders: Path):
    data = ComparedPhotos(
        dark=(str(folders / "a/low"), str(folders / "b")),
        truth=(str(folders / "a/high"),),
        good=(str(folders / "good"),),
    )
    photos, refused = find_sets(data, Console(quiet=True))
    assert [(each.source, each.name, bool(each.truth_path), each.group) for each in photos] == [
        ("low", "0.png", True, LOW), ("low", "1.png", True, LOW),
        ("b", "0.png", False, LOW), ("good", "0.png", False, GOOD),
    ]  # fmt: skip
    assert refused == {}
    found = [("new", Measured(each.group, each.name, {"psnr": 1.0}, source=each.source)) for each in photos]
    assert [each.name for each in compared_sets(data, ["new"], found)] == ["low", "b", "good"]
    broken = [("new", Measured(each.group, each.name, refused="broken", source=each.source)) for each in photos[2:3]]
    assert [each.name for each in compared_sets(data, ["new"], found[:2] + broken)] == ["low"]


# --- the report -------------------------------------------------------------------------------------------------------


def test_the_best_of_each_column_is_marked_on_the_page_and_on_the_screen(models):
    table = means_table(pairs(), models)
    psnr = table.columns.index("PSNR, dB ↑")
    assert (0, psnr) in table.marked and table.rows[0][psnr] == "21.83"
    assert (0, table.columns.index("Over-exposed, % ↓")) in table.marked and len(table.marked) == 2
    page = render(comparison_report(models, [pairs()], {}, [], {})).decode()
    assert "<strong>21.83</strong>" in page and "<strong>21.42</strong>" not in page


def test_the_first_model_is_held_against_each_other_one():
    table = differences_table(pairs(), "new", ["auto-gain", "input"])
    assert [[row[0], row[3]] for row in table.rows] == [["than auto-gain", "5 of 6"], ["than input", "6 of 6"]]
    assert list(table.marked) == [(1, 1)]  # 13.8 dB over the input is no chance, 0.42 over auto-gain may be


def test_a_case_shows_every_model_and_marks_the_best(models):
    picture = view(np.full((30, 40, 3), 90, np.uint8))
    shown = dict.fromkeys(("input", "new", "auto-gain", "ground truth"), picture)
    case, *_ = cases(pairs(), {"5.png": shown, "0.png": shown}, models)
    assert list(case.views)[:2] == ["auto-gain", "new"] and set(case.views) == set(shown)
    assert case.best == ["auto-gain"] and case.captions["ground truth"] == ""
    assert case.captions["new"].replace(SPACE, " ") == "21.00 dB"
    page = render(comparison_report(models, [pairs()], {"lol": {"5.png": shown}}, [], {"lol": "low"})).decode()
    assert page.count("data:image/jpeg") == 4  # each picture once, wherever it is shown
    assert not re.search(r'(?:src|href)="(?!data:)', page)


def test_pictures_are_the_models_own_and_files_hold_all_in_a_row(models, folders: Path):
    low, high = str(folders / "a/low"), str(folders / "a/high")
    photo = Photo(LOW, low, f"{low}/0.png", high, f"{high}/0.png", source="a/low")
    pictures = pictures_of(models, photo, 10**6)
    assert list(pictures) == ["input", "new", "auto-gain", "ground truth"]
    files = rows({"a/low": {"0.png": pictures}})
    assert list(files) == ["pictures/a/low/0.png.jpg"]
    assert Image.open(io.BytesIO(files["pictures/a/low/0.png.jpg"])).width > 4 * 500


def test_numbers_are_kept_of_each_photo_and_model():
    files = result_files([pairs()], {"time": "now"}, {"lol/7.png": "broken"})
    found = json.loads(files["metrics.json"])
    assert found["sets"]["lol"]["models"]["new"]["psnr"]["mean"] == pytest.approx(131 / 6)
    assert found["sets"]["lol"]["new against"]["auto-gain"]["better"] == 5 and found["refused"] == {
        "lol/7.png": "broken"
    }
    lines = list(csv.DictReader(io.StringIO(files["metrics.csv"].decode())))
    assert len(lines) == 18 and lines[0]["model"] == "new" and float(lines[0]["psnr"]) == 20.0


# --- photo by photo ---------------------------------------------------------------------------------------------------


def places(drawn: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r'<circle class="dot each" cx="([^"]+)" cy="([^"]+)"', drawn)]


def test_a_dot_above_the_line_is_a_photo_on_which_the_model_has_more():
    drawn = scatter(Scatter("t", "psnr", "old", "<new>", [("a.jpg", 10.0, 20.0), ("b.jpg", 15.0, 15.0)], True))
    (x, y), (on_x, on_y) = places(drawn)
    line = re.search(r'class="same" x1="([^"]+)" x2="([^"]+)" y1="([^"]+)" y2="([^"]+)"', drawn)
    x1, x2, y1, y2 = map(float, line.groups())

    def height(at: float) -> float:
        return y1 + (y2 - y1) * (at - x1) / (x2 - x1)

    assert y < height(x) - 50 and on_y == pytest.approx(height(on_x), abs=0.2)
    assert "&lt;new&gt; is better" in drawn and "<new>" not in drawn
    assert "PSNR: &lt;new&gt; is better than old on 1 of 2 photos" in drawn
    assert "a.jpg: &lt;new&gt; 20.00" in drawn


def test_many_photos_are_thinned_and_the_furthest_stay():
    dots = [(f"{index}.jpg", 0.0, float(index % 997)) for index in range(5000)]
    drawn = scatter(Scatter("t", "ssim", "old", "new", dots, False))
    assert len(places(drawn)) == MOST_DOTS and "996.jpg" in drawn


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--models", "bundled", "--data.dark", "d"], "models: one alone is measured by pipelines/evaluate.py"),
        (["--models", "a", "b"], "data.dark and data.good: name at least one folder"),
        (
            ["--models", "a", "b", "--data.dark", "d", "--data.truth", "t", "u"],
            "data.truth: 2 sets, and 1 in data.dark",
        ),
        (["--models", "a", "b", "--data.dark", "d", "d"], "data.dark: names the same set twice"),
        (["--models", "bundled", "baseline:input", "--data.dark", "d", "--votes", "v"], "votes: v holds no vote"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    try:
        status = main([*words, "--output", "out"])
    except SystemExit as stop:
        status = stop.code
    told = capsys.readouterr().err
    assert status == 2 and sentence in told and told.count("\n") == 1


def test_models_are_called_by_their_name_their_own_or_their_uri(tmp_path: Path):
    found = find_models(["mine=baseline:auto-gamma=.35", "baseline:auto-gamma", "baseline:auto-gain=.3"], "")
    assert list(found) == ["mine", "auto-gamma", "auto-gain=.3"]
    with pytest.raises(ModelError, match="models: .*nowhere"):
        find_models(["baseline:input", str(tmp_path / "nowhere")], "")
