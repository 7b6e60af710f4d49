"""Reports without a browser: the history behind the curves, what the page holds, and how large it gets."""

from __future__ import annotations

import io
import json
import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import lle
from lle.config import DataSettings, EnhancerSettings
from lle.enhancers import build_enhancer
from lle.images import decode
from lle.metrics import METRICS, psnr
from lle.training.validation import ValidationSet
from pipelines.config.fields import MeasuredPhotos
from pipelines.config.promote import PromotionSettings
from pipelines.config.train import RunSettings
from pipelines.evaluation.job import print_summary
from pipelines.evaluation.metrics import load_metric_suite
from pipelines.evaluation.quality import Quality
from pipelines.evaluation.report import COMPARED, case_of, evaluation_report, keep_worst_views
from pipelines.evaluation.worker import GOOD, LOW, Measured
from pipelines.promotion.decision import COMPARED as RIVALS
from pipelines.promotion.decision import Comparison, check_gain, check_guards, gains
from pipelines.promotion.job import worst_pictures
from pipelines.promotion.report import beside_baselines, promotion_report, worst_cases
from pipelines.reporting.chart import chart, ticks_between
from pipelines.reporting.curves import Curve, Span, curves, spans
from pipelines.reporting.html_report import Case, Gallery, Headline, HtmlReport, Table, render, view, worst_first
from pipelines.reporting.light_map import light_map
from pipelines.reporting.pictures import LABEL_HEIGHT, ROW_HEIGHT, before_after, side_by_side
from pipelines.reporting.tables import printable
from pipelines.reporting.words import SPACE, duration, number
from pipelines.tracking.history import note, read_history
from pipelines.tracking.runs import TrackedRun
from pipelines.training import TrainingError
from pipelines.training.job import report_if_cut_off
from pipelines.training.report import enhanced_case, quality_table, quality_verdict, unfinished_report


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Two rounds of two steps, with a validation after each."""
    file = tmp_path / "history.jsonl"
    for step, (phase, round) in enumerate([("prompt_init", 0)] + 2 * [("enhancement", 1)] + 2 * [("enhancement", 2)]):
        note(file, {"step": 10 * step + 10, "phase": phase, "round": float(round), "loss": 5.0 - step})
        if round:
            note(file, {"step": 10 * step + 10, "validation/psnr": 10.0 + step})
    return file


def noise(side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


# --- history ----------------------------------------------------------------------------------------------------------


def test_a_steps_numbers_and_its_validation_become_one_row(history: Path):
    assert read_history(history)[1] == {
        "step": 20, "phase": "enhancement", "round": 1.0, "loss": 4.0, "validation/psnr": 11.0
    }  # fmt: skip


def test_every_line_has_its_time_and_old_files_without_are_read(history: Path):
    began = datetime.now(UTC)
    note(history, {"step": 60, "loss": 1.0})
    *_, last = (json.loads(line) for line in history.read_text().splitlines())
    assert abs((datetime.fromisoformat(last["time"]) - began).total_seconds()) < 60
    assert datetime.fromisoformat(last["time"]).utcoffset() == timedelta(0)
    old = "".join(
        json.dumps({name: value for name, value in json.loads(line).items() if name != "time"}) + "\n"
        for line in history.read_text().splitlines()
    )
    with_times = read_history(history)
    history.write_text(old)
    assert read_history(history) == with_times


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\0", b"5", b"null", b"[1]", b"{}", b'{"step": "9"}', b'{"step": NaN}', b'{"step": true}', b"[" * 9000,
        b'{"step": 99, "phase": 7, "loss": "much", "term/a": [1], "validation/psnr": {}}',
        b'{"step": 99, "phase": "enhancement"}',
        b'{"step": 99, "phase": "enhancement", "round": Infinity, "loss": NaN}',
        b'{"step": 99, "phase": "enhan',
    ],
)  # fmt: skip
def test_lines_that_say_nothing_of_a_step_cost_no_other(history: Path, line: bytes):
    whole = read_history(history)
    history.write_bytes(history.read_bytes() + line + b"\r\n\n")
    assert read_history(history)[: len(whole)] == whole
    assert curves(read_history(history)) == curves(whole) and spans(read_history(history)) == spans(whole)


def test_steps_done_again_count_as_they_were_done_last(history: Path):
    note(history, {"step": 30, "phase": "enhancement", "round": 1.0, "loss": 7.0})
    rows = read_history(history)
    assert [row["step"] for row in rows] == [10, 20, 30] and rows[-1]["loss"] == 7.0


def test_half_a_line_of_a_killed_training_is_left_out(history: Path):
    with history.open("a", encoding="utf-8") as lines:
        lines.write('{"step": 60, "lo')
    assert [row["step"] for row in read_history(history)] == [10, 20, 30, 40, 50]


def test_no_history_is_an_empty_one(tmp_path: Path):
    assert read_history(tmp_path / "history.jsonl") == [] and curves([]) == [] and spans([]) == []


def test_phases_follow_each_other_without_gaps(history: Path):
    assert spans(read_history(history)) == [
        Span("prompt_init", 0, 0, 10), Span("enhancement", 1, 10, 30), Span("enhancement", 2, 30, 50)
    ]  # fmt: skip


def test_a_phases_loss_is_a_line_for_each_round_and_validation_goes_through(history: Path):
    drawn = {curve.title: curve for curve in curves(read_history(history), best_step=40)}
    assert drawn["PSNR, held-out photos"].lines == [[(20, 11.0), (30, 12.0), (40, 13.0), (50, 14.0)]]
    assert drawn["PSNR, held-out photos"].best == (40, 13.0)
    assert drawn["Loss, enhancing"].lines == [[(20, 4.0), (30, 3.0)], [(40, 2.0), (50, 1.0)]]


# --- curves -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 7.9), (1e-6, 3e-6), (5, 5), (0, 0), (99_999, 100_001)])
def test_ticks_are_few_even_and_around_the_values(low: float, high: float):
    ticks = ticks_between(low, high)
    assert 2 <= len(ticks) <= 7 and ticks[0] <= low and ticks[-1] >= high
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


def test_a_chart_names_its_rounds_and_says_its_numbers_aloud(history: Path):
    rows = read_history(history)
    drawn = chart(curves(rows, best_step=40)[0], spans(rows))
    assert re.findall(r'class="round"[^>]*>([^<]*)<', drawn) == ["round 1", "round 2"]
    assert 'aria-label="PSNR, held-out photos: 11 at step 20, 14 at step 50; the best enhancer at step 40: 13"' in drawn


def test_a_long_curve_draws_no_more_points_than_a_screen_shows():
    drawn = chart(Curve("loss", [[(step, math.sin(step / 500)) for step in range(50_000)]]), [])
    points = re.search(r'points="([^"]*)"', drawn)
    assert points and 200 <= len(points[1].split()) <= 240
    heights = [float(point.split(",")[1]) for point in points[1].split()]
    assert min(heights) >= 0 and max(heights) <= 220


def test_what_a_chart_is_called_cannot_become_markup():
    assert "<script" not in chart(Curve("<script>alert(1)</script>", [[(0, 1.0), (1, 2.0)]]), [])


# --- the page ---------------------------------------------------------------------------------------------------------


def page(cases: list[Case], **others: object) -> HtmlReport:
    return HtmlReport(kind="training", title="<b>night</b>", galleries=[Gallery("Photos", cases, 99)], **others)  # type: ignore[arg-type]


def test_a_page_asks_nobody_for_anything():
    case = Case("a.jpg", {"input": view(noise(64)), "enhanced": view(noise(64, 1))}, {"psnr": 20.0})
    html = render(page([case], headlines=[Headline("PSNR", "20 dB")])).decode()
    assert "default-src 'none'" in html and not re.search(r"(https?:)?//[a-z]+\.", html)
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert len(addresses) == 3 and all(each.startswith("data:") for each in addresses)


def test_names_are_text_not_markup():
    case = Case('"><img src=x>', {"input": view(noise(8)), "enhanced": view(noise(8))})
    html = render(page([case], tables=[Table("<i>", ["a"], [["<u>"]])], details={"<s>": "<s>"})).decode()
    assert not [tag for tag in ("<b>night", "<img src=x", "<i>", "<u>", "<s>") if tag in html]


def test_many_noisy_pictures_still_make_less_than_three_megabytes():
    pictures = [view(noise(720, seed)) for seed in range(3)]
    labels = ("input", "enhanced", "ground truth")
    cases = [Case(f"{index}.jpg", dict(zip(labels, pictures, strict=True))) for index in range(30)]
    html = render(page(cases))
    assert len(html) < 3e6 and html.count(b"<figure") == 12
    assert b"12 of 99 photos" in html


def test_a_view_keeps_the_shape_and_never_enlarges():
    assert decode(view(noise(30))).shape == (30, 30, 3)
    wide = np.repeat(noise(500), 4, axis=1)
    assert decode(view(wide)).shape == (180, 720, 3)


def test_the_worst_come_first_by_the_measure_that_they_have():
    cases = [Case(str(value), {}, {"psnr": value, "our_prior_well_lit": -value}) for value in (20.0, 9.0, 14.0)]
    assert [case.name for case in worst_first(cases)] == ["9.0", "14.0", "20.0"]
    unpaired = [Case(str(value), {}, {"our_prior_well_lit": value}) for value in (0.7, 0.2)]
    assert [case.name for case in worst_first(unpaired)] == ["0.2", "0.7"]


# --- an evaluation's --------------------------------------------------------------------------------------------------


def test_only_the_worst_of_each_set_keep_their_views():
    found = [
        Measured(group, str(value), {metric: value}, views=[b"view"])
        for group, metric in ((LOW, "psnr"), (GOOD, "unchanged"))
        for value in (30.0, 12.0, 25.0, 8.0)
    ]
    found.insert(3, Measured(LOW, "broken.jpg", refused="damaged"))
    kept = keep_worst_views(iter(found), 2)
    assert sorted((each.group, each.name) for each in kept) == sorted((each.group, each.name) for each in found)
    assert sorted(each.name for each in kept if each.views) == ["12.0", "12.0", "8.0", "8.0"]
    assert not any(each.views for each in keep_worst_views(found, 0))


def test_an_evaluations_page_has_a_gallery_and_a_table_for_each_set():
    pictures = [view(noise(32, seed)) for seed in range(4)]
    low = [Measured(LOW, f"{value}.png", {"psnr": value}, views=pictures) for value in (21.5, 11.25)]
    good = [Measured(GOOD, "fine.png", {"unchanged": 44.0}, views=pictures[:3])]
    summary = {
        LOW: {"psnr": {"mean": 16.375, "worst": 11.25, "photos": 2, "higher_is_better": True}},
        GOOD: {"unchanged": {"mean": 44.0, "worst": 44.0, "photos": 1, "higher_is_better": True}},
    }
    theirs = {
        LOW: {"psnr": {"mean": 17.0, "worst": 9.0, "photos": 2, "higher_is_better": True}},
        GOOD: {"unchanged": {"mean": 28.5, "worst": 20.0, "photos": 1, "higher_is_better": True}},
    }
    made = evaluation_report(
        "mine", {"parameters": 1234, "model": "runs/mine"}, summary, low + good, {"auto-exposure": theirs}
    )
    assert made.verdict == (
        "Photos to enhance: mine has PSNR 16.38 dB at the mean, worse by 0.62 dB than auto-exposure (17.00 dB). "
        "Photos that were good already: mine has Likeness to the input 44.00 dB at the mean, better by 15.50 dB than "
        "auto-exposure (28.50 dB)."
    )
    assert "auto-exposure" in made.tables[0].columns and "auto-exposure 17.00" in made.headlines[0].note
    assert [(each.label, each.value) for each in made.headlines] == [
        ("PSNR", number("psnr", 16.375)), ("Likeness to the input", number("unchanged", 44.0))
    ]  # fmt: skip
    assert [case.name for case in made.galleries[0].cases] == ["11.25.png", "21.5.png"]
    before, baseline, enhanced, truth = pictures
    assert list(case_of(low[0]).views.items()) == [
        ("input", before), ("enhanced", enhanced), ("exposure-shoulder", baseline), ("ground truth", truth)
    ]  # fmt: skip
    assert list(case_of(good[0]).views) == ["input", "enhanced", "exposure-shoulder"]
    html = render(made)
    assert b"11.25.png" in html and b'data-left="exposure-shoulder"' in html and b'data-left="ground truth"' in html


def test_a_training_shows_one_exposure_without_learning_beside_its_photos():
    image = torch.full((3, 30, 40), 0.1)
    model, suite = lle.load("bundled"), load_metric_suite("")
    case = enhanced_case(model, suite, "a.png", image, torch.full_like(image, 0.5))
    assert list(case.views) == ["input", "enhanced", "exposure-shoulder", "ground truth"]
    levels = [float(decode(each).mean()) / 255 for each in case.views.values()]
    assert [levels[0], *levels[2:]] == pytest.approx([0.1, 0.44, 0.5], abs=0.01)


@pytest.mark.parametrize(("seconds", "text"), [(7, "7 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_as_people_say_them(seconds: float, text: str):
    assert duration(seconds).replace(SPACE, " ") == text


# --- an unfinished training's -----------------------------------------------------------------------------------------


def test_a_training_that_failed_tells_why_how_far_it_came_and_how_to_go_on(history: Path):
    note(history, {"step": 50, "validation/psnr": float("nan"), "term/guidance": float("inf")})
    settings = RunSettings(name="night", data=DataSettings(dark="dark", well_lit="day"))
    made = unfinished_report(settings, read_history(history), "training failed: 11 steps were not finite")
    assert made.verdict.startswith("Not finished: training failed: 11 steps were not finite. To go on from the last")
    assert made.verdict.endswith("--resume --name night.")
    assert (made.headlines[0].value, made.headlines[0].note) == ("50", "round 2, enhancing")
    html = render(made).decode()
    assert html.count("<svg") == 3 and "PSNR, held-out photos: 11 at step 20, 13 at step 40" in html


def test_a_training_that_was_stopped_leaves_a_report_though_mlflow_is_gone(
    history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = TrackedRun("http://127.0.0.1:9", "gone")
    settings = RunSettings(name="night", data=DataSettings(dark="dark", well_lit="day"))
    with pytest.raises(KeyboardInterrupt), report_if_cut_off(settings, run, tmp_path):
        raise KeyboardInterrupt
    assert "Not finished: stopped by Ctrl-C." in (tmp_path / "report.html").read_text()


def test_without_a_single_step_there_is_no_report(tmp_path: Path):
    settings = RunSettings(name="night", data=DataSettings(dark="dark", well_lit="day"))
    with pytest.raises(TrainingError), report_if_cut_off(settings, TrackedRun("", ""), tmp_path):
        raise TrainingError("training failed: no room")
    assert not list(tmp_path.iterdir())


# --- a promotion's ----------------------------------------------------------------------------------------------------


def comparison(champion: str, *gained: float) -> Comparison:
    """Photos whose PSNR was 20 dB, with a candidate that takes 1.1 times the champion's time."""
    pictures = [view(np.full((24, 32, 3), level, np.uint8)) for level in (10, 120, 80, 160, 240)]
    before, baseline, champions, candidates, truth = pictures
    rival = [
        Measured(LOW, f"{gain}.png", {"psnr": 20.0, "over_exposed": 0.25}, views=[before, baseline, champions, truth])
        for gain in gained
    ]
    ours = [
        Measured(
            LOW, f"{gain}.png", {"psnr": 20.0 + gain, "over_exposed": 0.5}, views=[before, baseline, candidates, truth]
        )
        for gain in gained
    ]
    settings = PromotionSettings(data=MeasuredPhotos(dark="low", truth="high"), worst=2)
    found = gains("psnr", rival, ours)
    guards = check_guards(settings, rival, ours, 1.1) if champion else []
    return Comparison("mine", "7", champion, rival, ours, found, [check_gain(settings, [*found.values()]), *guards])


def told(compared: Comparison) -> HtmlReport:
    settings = PromotionSettings(data=MeasuredPhotos(dark="low", truth="high"), worst=2)
    return promotion_report(settings, compared, worst_cases(settings, compared), {"revision": "abc"})


def test_a_promotion_that_failed_says_what_failed_and_who_stays_champion():
    made = told(comparison("3", 1.0, 2.0, 0.5, -4.0, 3.0, 2.5, 1.5))
    assert made.verdict.startswith("Version 7 is not promoted; version 3 stays champion. Failed: ")
    assert (
        "Over-exposed 50.0 % at the mean, lower is better; the champion's 25.0 %: worse by 25.0 %; "
        "allowed: worse by 0.50 %." in made.verdict
    )
    assert "takes 1.10 times" not in made.verdict
    assert [row[0] for row in made.tables[0].rows] == ["FAILED", "FAILED", "passed"]
    assert [(each.label, each.value.replace(SPACE, " ")) for each in made.headlines] == [
        ("Gain in PSNR", "+0.93 dB"), ("PSNR", "20.93 dB"), ("Better on", "6 of 7"), ("Time", "1.10×")
    ]  # fmt: skip
    psnr_row = [cell.replace(SPACE, " ") for cell in made.tables[1].rows[0]]
    assert psnr_row == ["PSNR", "20.00 dB", "20.93 dB", "20.00 dB", "16.00 dB", "higher"]


def test_a_promotions_sliders_show_the_photos_that_gain_least_champion_against_candidate():
    compared = comparison("3", 1.0, 2.0, 0.5, -4.0, 3.0)
    gallery = told(compared).galleries[0]
    assert [case.name for case in gallery.cases] == ["-4.0.png", "0.5.png"] and gallery.of == 5
    assert list(gallery.cases[0].views) == ["champion", "candidate", "input", "exposure-shoulder", "ground truth"]
    assert gallery.cases[0].note.replace(SPACE, " ") == "the champion 20.00 dB: worse by 4.00 dB"
    levels = [int(decode(picture).mean()) for picture in gallery.cases[0].views.values()]
    assert levels == pytest.approx([80, 160, 10, 120, 240], abs=2)
    html = render(told(compared)).decode()
    assert html.count("<figure") == 2 and html.count('src="data:image/jpeg') == 10
    name, picture = next(iter(worst_pictures(gallery.cases).items()))
    row = decode(picture)[200]
    parts = [int(row[int((place + 0.5) * row.shape[0] / 5)].mean()) for place in range(5)]
    assert name == "worst/1--4.0.png.jpg" and parts == pytest.approx([10, 120, 80, 160, 240], abs=3)


def test_a_first_champion_is_compared_with_the_input():
    made = told(comparison("", 1.0, 2.0, 3.0, 4.0, 5.0))
    assert made.verdict.startswith("Version 7 has earned its promotion over the input, the best of the baselines: PSNR")
    assert list(made.galleries[0].cases[0].views) == ["input", "candidate", "exposure-shoulder", "ground truth"]
    assert "Time" not in [each.label for each in made.headlines]


# --- pictures with labels ---------------------------------------------------------------------------------------------


def test_labels_stand_above_the_pictures_and_cover_none_of_them():
    pictures = [np.full((40, 60, 3), level, np.uint8) for level in (40, 120, 200)]
    bare, told = side_by_side(pictures, 40), side_by_side(pictures, 40, ["a", "b", "c"])
    assert told.shape == (40 + LABEL_HEIGHT, bare.shape[1], 3)
    assert (told[LABEL_HEIGHT:] == bare).all()
    strip = told[:LABEL_HEIGHT].min(axis=(0, 2))
    for index in range(3):
        part = strip[index * 66 : index * 66 + 60]
        assert part.min() < 60, "dark letters"
        assert (part == 255).mean() > 0.5, "on white"


def test_a_narrow_picture_keeps_its_label_whole():
    told = side_by_side([np.zeros((40, 4, 3), np.uint8)] * 2, 40, ["ground truth", "ground truth"])
    half = (told.shape[1] - 6) // 2
    assert half > 60 and (told[:LABEL_HEIGHT, :half] == told[:LABEL_HEIGHT, -half:]).all()


def test_before_and_after_say_which_is_which():
    photo = torch.full((3, 50, 70), 30, dtype=torch.uint8)
    enhancer = build_enhancer(EnhancerSettings(arch="compact", thumbnail_size=32, width=4))
    paired = before_after(enhancer, ValidationSet(pairs=[(photo, photo)] * 2), 2, torch.device("cpu"))
    alone = before_after(enhancer, ValidationSet(dark=[photo]), 2, torch.device("cpu"))
    assert paired.shape[0] == 2 * (ROW_HEIGHT + LABEL_HEIGHT) + 6 and alone.shape[0] == ROW_HEIGHT + LABEL_HEIGHT
    width = round(70 * ROW_HEIGHT / 50) + 6
    assert [(each.shape[1] + 6) / width for each in (paired, alone)] == [4, 3], "no truth without a pair"
    assert float(alone[LABEL_HEIGHT:, width : 2 * width - 6].mean()) / 255 == pytest.approx(0.44, abs=0.01), "baseline"
    assert (paired[:LABEL_HEIGHT] < 100).any() and (paired[LABEL_HEIGHT + ROW_HEIGHT + 6 :][:LABEL_HEIGHT] < 100).any()


def test_tables_on_the_terminal_fit_eighty_columns():
    console = Console(width=80, record=True, soft_wrap=True, highlight=False, markup=False, file=io.StringIO())
    names = [name for name in METRICS if name not in ("feature_gap", "distribution", "judge_gap", "restored")]
    shares = ("over_exposed", "our_prior_well_lit")
    part = {
        name: {"mean": 0.57 if name in shares else 18.97, "worst": 0.999 if name in shares else 100.0} for name in names
    }
    both = {LOW: part, GOOD: part}
    print_summary(console, "models:/lle-enhancer@challenger", both, dict.fromkeys(COMPARED, both))
    rows = ["candidate", "champion", *RIVALS]
    console.print(printable(beside_baselines("psnr_gt_mean", dict.fromkeys(rows, both))))
    values = {"input": 9.0, "auto-exposure": 17.0, "exposure-shoulder": 19.0, "enhanced": 18.0}
    qualities = [Quality(name, (("backlit_under.png", value, 0.7),)) for name, value in values.items()]
    console.print(printable(quality_table(qualities)))
    assert "worse by 1.00 dB than exposure-shoulder" in quality_verdict(qualities)
    drawn = [line for line in console.export_text().splitlines() if "│" in line or "┃" in line]
    assert len(drawn) > 30 and max(map(len, drawn)) <= 80
    assert not [line for line in drawn if "…" in line], "nothing is cut off"


# --- the light map ----------------------------------------------------------------------------------------------------


def test_the_light_map_says_by_how_many_stops():
    before = np.full((40, 60, 3), 60, np.uint8)
    after = before.copy()
    after[:, 30:] = 153  # linear 0.0452 and 0.319: 2.82 stops, 2.80 with the floor
    colours, low, high = light_map(before, after)
    assert colours.shape == before.shape and low == 0.0 and high == pytest.approx(2.80, abs=0.02)
    assert colours[20, 5].tolist() == [13, 8, 36] and colours[20, 55].tolist() == [252, 222, 146]


def test_a_copy_has_a_dark_light_map():
    colours, low, high = light_map(noise(50), noise(50))
    assert (low, high) == (0.0, 1.0) and (colours == np.array([13, 8, 36])).all()


def test_views_are_close_to_the_pixels():
    smooth = np.repeat(np.linspace(0, 255, 300).astype(np.uint8)[:, None, None], 200, axis=1).repeat(3, axis=2)
    images = [torch.from_numpy(each.copy()).permute(2, 0, 1)[None] / 255 for each in (smooth, decode(view(smooth)))]
    assert float(psnr(*images)) > 40
