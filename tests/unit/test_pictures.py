"""The page of pictures and what makes it."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.pictures import FIRST, OURS, PAGE, PART, SCENES, WIDTH, credits_table, cut, refuse_trained_on, sheet
from benchmarks.prediction import PLOTS
from lle.images import read_header
from pipelines.models.resolve import find_model
from pipelines.reporting.pictures import GAP, LABEL_HEIGHT

MOST_BYTES = 3_000_000


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_each_scene_has_its_picture_and_a_word_about_it(page: str):
    for scene in SCENES:
        assert f"\n## {scene.kind[0].upper()}{scene.kind[1:]}\n" in page
        shown = re.search(rf"!\[[^\]]+\]\(images/{re.escape(scene.file)}\)\n\n[^\n]{{40,}}", page)
        assert shown, f"{scene.kind}: say below its picture what is to be seen"
        header = read_header((PAGE.parent / "images" / scene.file).read_bytes())
        assert header.width == 4 * WIDTH + 3 * GAP and header.height > PART


def test_the_pictures_are_few_and_all_of_them_are_shown():
    files = {path for path in (PAGE.parent / "images").rglob("*") if path.is_file()}
    plots = (f"sweep_{name}.png" for name in (*PLOTS, "prediction"))
    names = ("before_after.jpg", "comparison.jpg", "vote.jpg", *plots, *(scene.file for scene in SCENES))
    assert files == {PAGE.parent / "images" / name for name in names}
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


def test_the_pictures_are_the_bundled_models(page: str):
    version = find_model("bundled", "").version
    assert f"weights `{version}`" in page, (
        "the bundled model has changed; run python -m benchmarks.pictures --data DIR, look at the pictures, and write "
        "on docs/pictures.md what is to be seen"
    )


def test_no_photo_is_one_that_the_bundled_model_was_trained_on():
    refuse_trained_on([*FIRST, *(scene.photo for scene in SCENES)])
    with pytest.raises(SystemExit, match="the bundled model was trained on it"):
        refuse_trained_on(["well_lit/bakery_bread5.jpg"])


def test_photos_are_credited_as_their_list_has_it(shared: Path, page: str):
    sources = shared / "data" / "train" / "free" / "SOURCES.csv"
    assert credits_table(sources) in page
    with sources.open(newline="") as lines:
        listed = {row["file"].removeprefix("train/free/"): row for row in csv.DictReader(lines)}
    assert not [scene for scene in SCENES if "nextcloud" in listed[scene.photo]["source"]], "terms that name nobody"


def test_a_sheet_is_the_whole_above_a_part_pixel_for_pixel():
    random = np.random.default_rng(0)
    pictures = {label: random.integers(0, 256, (400, 660, 3), dtype=np.uint8) for label in ("input", OURS)}
    made = sheet(pictures, (1.0, 0.5))
    assert made.shape == (LABEL_HEIGHT + 200 + GAP + PART, 2 * WIDTH + GAP, 3)
    for index, picture in enumerate(pictures.values()):
        left = index * (WIDTH + GAP)
        assert (made[-PART:, left : left + WIDTH] == picture[125:275, 330:]).all()


def test_a_part_at_the_edge_is_moved_into_the_picture():
    picture = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    assert (cut(picture, (2, 4), (0.0, 1.0)) == picture[4:, :4]).all()
    assert (cut(picture, (2, 4)) == picture[2:4, 2:6]).all()
