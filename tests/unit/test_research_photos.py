"""Which research photos our own training may see, and the commands that start it."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.ablation import under_exposed
from benchmarks.pretrained import command, parse, split, unrestricted
from benchmarks.split import held_out_pairs, training_photos
from pipelines.config.loading import load_settings

FOLDERS = ("low", "well_lit")


def write_photos(data: Path, scenes: int = 10) -> Path:
    """Three exposures of each scene, the middle one in no pair, and two photos of no scene."""
    notes, pairs = {"train/low/lol_1.jpg": "", "train/well_lit/bsds_1.jpg": ""}, []
    for scene in range(1, scenes + 1):
        low, middle, high = (
            f"train/{folder}/{scene}_{index}.jpg" for index, folder in enumerate([*FOLDERS, FOLDERS[1]])
        )
        notes |= dict.fromkeys((low, middle, high), f"scene {scene}")
        pairs.append((low, high, scene))
    for path in notes:
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).write_text(path)
    write_csv(data / "MANIFEST.csv", ("path", "note"), notes.items())
    write_csv(data / "train" / "sice_pairs.csv", ("low", "high", "scene"), pairs)
    return data


def write_csv(file: Path, header: tuple[str, ...], rows) -> None:
    with file.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([header, *rows])


def test_every_fourth_scene_is_held_out_counted_by_number(tmp_path: Path):
    pairs = held_out_pairs(write_photos(tmp_path))
    assert [pair["scene"] for pair in pairs] == ["1", "5", "9"]
    assert pairs[1] == {"low": "train/low/5_0.jpg", "high": "train/well_lit/5_2.jpg", "scene": "5"}


def test_no_exposure_of_a_held_out_scene_is_trained_on_and_everything_else_is(tmp_path: Path):
    data = write_photos(tmp_path)
    trained = [2, 3, 4, 6, 7, 8, 10]
    low, well_lit = ({photo.name for photo in training_photos(data, folder)} for folder in FOLDERS)
    assert low == {"lol_1.jpg", *(f"{scene}_0.jpg" for scene in trained)}
    assert well_lit == {"bsds_1.jpg", *(f"{scene}_{index}.jpg" for scene in trained for index in (1, 2))}


def test_without_pairs_no_scene_is_held_out(tmp_path: Path):
    assert held_out_pairs(tmp_path) == []


def test_the_real_held_out_scenes_share_no_photo_with_the_training_lists(shared: Path):
    data = shared / "data"
    pairs = held_out_pairs(data)
    with (data / "MANIFEST.csv").open(newline="") as lines:
        rows = {row["path"]: row for row in csv.DictReader(lines)}
    listed = {f"train/{folder}/{photo.name}" for folder in FOLDERS for photo in training_photos(data, folder)}
    scenes = {f"scene {pair['scene']}" for pair in pairs}
    held_out = {path for path, row in rows.items() if path.startswith("train/") and row["note"] in scenes}
    assert len(scenes) == len(pairs) == 26
    assert {pair[side] for pair in pairs for side in ("low", "high")} <= held_out
    assert not held_out & listed
    assert held_out | listed == {path for path in rows if path.startswith(("train/low/", "train/well_lit/"))}
    assert not {rows[path]["sha256"] for path in held_out} & {rows[path]["sha256"] for path in listed}


def test_a_training_reads_links_to_its_photos_and_is_chosen_by_the_pairs_held_out(tmp_path: Path):
    data = write_photos(tmp_path / "data")
    folders = split(data, tmp_path / "split")
    assert split(data, tmp_path / "split") == folders, "a second call finds the links made"
    shown = {name: {photo.name: photo.read_text() for photo in folder.iterdir()} for name, folder in folders.items()}
    assert all(photo.is_symlink() for folder in folders.values() for photo in folder.iterdir())
    assert set(shown["dark"]) == {photo.name for photo in training_photos(data, "low")}
    assert set(shown["well_lit"]) == {photo.name for photo in training_photos(data, "well_lit")}
    assert shown["pairs_dark"] == {f"scene_{scene}.jpg": f"train/low/{scene}_0.jpg" for scene in (1, 5, 9)}
    assert shown["pairs_truth"] == {f"scene_{scene}.jpg": f"train/well_lit/{scene}_2.jpg" for scene in (1, 5, 9)}


def test_links_left_by_an_earlier_split_are_not_trained_on(tmp_path: Path):
    data = write_photos(tmp_path / "data")
    stale = tmp_path / "split" / "low" / "1_0.jpg"
    stale.parent.mkdir(parents=True)
    stale.symlink_to(data / "train" / "low" / "1_0.jpg")
    assert "1_0.jpg" not in {photo.name for photo in split(data, tmp_path / "split")["dark"].iterdir()}


def test_a_folder_without_pairs_is_refused(tmp_path: Path):
    with pytest.raises(SystemExit, match=r"holds no train/sice_pairs\.csv"):
        split(tmp_path, tmp_path / "split")


def test_the_command_passes_photos_seed_and_settings_on_to_a_training_that_accepts_them(tmp_path: Path):
    folders = {name: tmp_path / name for name in ("dark", "well_lit", "pairs_dark", "pairs_truth")}
    arguments = parse(["--data", "x", "--runs", str(tmp_path / "runs"), "--", "--schedule.enhancement.steps", "7"])
    python, script, *argv = command("mine-2", 2, folders, arguments)
    assert (python, script) == (sys.executable, "pipelines/train.py")
    loaded = load_settings(argv)
    settings = loaded.settings
    assert (loaded.preset, loaded.warnings) == ("scene", [])
    shown = settings.data.model_dump(mode="json")
    assert {name: Path(shown[name]) for name in folders} == folders
    assert (settings.name, settings.seed, settings.runs) == ("mine-2", 2, str(tmp_path / "runs"))
    assert (settings.schedule.enhancement.steps, settings.tracking.model_name) == (7, "lle-enhancer-research")


def test_unrestricted_photos_are_those_whose_terms_name_somebody_and_pairs_are_none(tmp_path: Path):
    photos = {
        "kodak24/01.png": 120,
        "train/free/well_lit/day.png": 110,
        "train/free/well_lit/fog.png": 200,
        "train/free/well_lit/nextcloud_frog.png": 110,
        "train/free/dark/night.png": 10,
    }
    for name, value in photos.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 60, 3), value, np.uint8)).save(tmp_path / name)
    rows = [f"{name},somewhere,CC0-1.0,,{Path(name).parent.name}" for name in photos if "free" in name]
    (tmp_path / "train/free/SOURCES.csv").write_text("\n".join(["file,source,licence,author,exposure", *rows]))
    folders = unrestricted(tmp_path, tmp_path / "photos")
    shown = {name: {photo.name for photo in folder.iterdir()} for name, folder in folders.items()}
    assert shown == {"dark": {"night.png"}, "well_lit": {"kodak_01.png", "day.png"}}
    chosen = parse(["--data", "x", "--unrestricted"])
    settings = load_settings(command("mine", 0, folders, chosen)[2:]).settings
    assert settings.tracking.model_name == "lle-enhancer-unrestricted"


def test_photos_to_measure_on_are_under_exposed(tmp_path: Path):
    (tmp_path / "kodak24").mkdir()
    kodak = np.full((40, 60, 3), 120, np.uint8)
    Image.fromarray(kodak).save(tmp_path / "kodak24" / "01.png")
    folders = under_exposed(tmp_path / "kodak24", tmp_path / "photos")
    np.testing.assert_array_equal(np.asarray(Image.open(folders["well_lit"] / "01.png")), kodak)
    assert np.asarray(Image.open(folders["dark"] / "01.png")).mean() < 100
