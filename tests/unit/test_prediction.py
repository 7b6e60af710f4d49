"""What a measure is worth: the arithmetic, and the pairs it is measured on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from benchmarks import prediction
from benchmarks.prediction import MEASURES, as_text, chosen, correlation, draw, main
from benchmarks.real_pairs import find_pairs, link, load_pairs, mean_psnr


def trials(**others: list[float]) -> list[dict[str, Any]]:
    """Five trials whose real PSNR is 1 to 5 dB by both sets, `restored` in the same order, the loss in the same too."""
    columns = {"sice": [1, 2, 3, 4, 5], "lol": [1, 2, 3, 4, 5], "both": [1, 2, 3, 4, 5]}
    columns |= {"restored": [10, 11, 13, 20, 40], "loss": [1, 2, 3, 4, 5], "own": [3, 1, 2, 5, 4]}
    columns |= {"feature_gap": [5, 4, 3, 2, 1], "unchanged": [30, 29, 28, 27, 26]} | others
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [row | {"drawn": {"curves.under_share": place / 5}} for place, row in enumerate(rows)]


def test_a_perfect_order_is_one_whichever_way_the_measure_runs():
    assert correlation(trials(), "restored", "sice") == pytest.approx((1, 1, 1))
    assert correlation(trials(), "feature_gap", "sice")[0] == pytest.approx(1)
    assert correlation(trials(), "loss", "sice")[0] == pytest.approx(-1)


def test_it_is_spearman_s_and_its_range_holds_it():
    found, low, high = correlation(trials(), "own", "lol")
    assert found == pytest.approx(1 - 6 * (2**2 + 1 + 1 + 1 + 1) / (5 * 24))
    assert -1 <= low < found < high <= 1
    assert correlation(trials(), "own", "lol") == (found, low, high)


def test_a_measure_chooses_its_best_trial():
    assert chosen(trials(), "restored")["sice"] == 5 and chosen(trials(), "loss")["sice"] == 1


def test_the_tables_have_a_row_for_each_measure_and_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seeds = [dict.fromkeys(("sice", "lol", "both", "unchanged"), value) for value in (1.0, 2.0, 3.0)]
    rows = {"untouched": seeds[:1], "the sweep's best": seeds}
    results = {"trials": trials(), "rows": rows, "pairs": {"sice": 103, "lol": 40}, "date": "2026-01-01"}
    text = as_text(results)
    for metric in MEASURES.values():
        assert f"| {metric.label} |" in text
    assert "| 1.00 (1.00 to 1.00) |" in text and "| the sweep's best | 3 | 2.00 ± 1.00 |" in text
    assert "| untouched |  | 1.00 |" in text
    assert "| `curves.under_share` | 1.00 | 1.00 | 1.00 | -1.00 | 1.00 |" in text
    page = tmp_path / "tune.md"
    page.write_text("# Page\n<!-- prediction -->\nold\n<!-- /prediction -->\n")
    monkeypatch.setattr(prediction, "PAGE_OF_SWEEPS", page)
    monkeypatch.setattr(prediction, "IMAGES", tmp_path)
    monkeypatch.setattr(prediction, "stored", lambda name: results)
    assert main(["--table"]) == 0
    assert text in page.read_text() and "old" not in page.read_text()
    assert Image.open(tmp_path / "sweep_prediction.png").size[0] > 300


def test_a_part_of_the_trials_is_told_by_what_they_drew(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(prediction, "stored", lambda name: {"trials": trials()})
    assert main(["--where", "curves.under_share", "0.15", "0.65"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("3 trials\n") and "| best trial of all |  |  |  | 4.00 | 4.00 | 4.00 |" in told


def test_a_plot_is_drawn_even_where_nothing_differs(tmp_path: Path):
    draw(trials(restored=[1, 1, 1, 1, 1]), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").exists()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five scenes of SICE; LOL's 1 to 4, of which 2 is out of line and 3 is 1 again."""
    root, chance = tmp_path / "data", np.random.default_rng(0)
    notes = []
    for folder, names in {
        "low": [f"{n}.jpg" for n in range(5)],
        "well_lit": [f"{n}.jpg" for n in range(5)],
        "low_lol": [f"00{n}.jpg" for n in range(1, 5)],
        "well_lit_lol": [f"00{n}.jpg" for n in range(1, 5)],
    }.items():
        (root / "train" / folder).mkdir(parents=True)
        for name in names:
            pixels = chance.integers(60, 180, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "train" / folder / name)
            sha = "same" if name in ("001.jpg", "003.jpg") else name
            crooked = "pair (about 2 px off)" if folder == "low_lol" and name == "002.jpg" else "pair"
            notes.append(f"train/{folder}/{name},{sha},{crooked}")
    (root / "MANIFEST.csv").write_text("path,sha256,note\n" + "\n".join(notes) + "\n")
    rows = [f"train/low/{n}.jpg,train/well_lit/{n}.jpg,{n}" for n in range(5)]
    (root / "train" / "sice_pairs.csv").write_text("low,high,scene\n" + "\n".join(rows) + "\n")
    (root / "train" / "free").mkdir()
    (root / "train" / "free" / "SOURCES.csv").write_text("file,source,licence,author,exposure\n")
    (root / "kodak24").mkdir()
    Image.new("RGB", (30, 20), (100, 100, 100)).save(root / "kodak24" / "01.png")
    return root


def test_each_scene_is_a_pair_once_and_none_is_out_of_line(data: Path):
    pairs = find_pairs(data)
    assert sorted(pairs["sice"]) == list("01234") and list(pairs["lol"]) == ["001", "004"]
    low, high = pairs["lol"]["004"]
    assert low.parent.name == "low_lol" and high.parent.name == "well_lit_lol" and low.name == high.name


def test_links_to_search_on_hold_no_pair_among_the_photos_to_learn_from(data: Path, tmp_path: Path):
    link(data, tmp_path / "links")
    names = {each.name: sorted(link.name for link in each.iterdir()) for each in (tmp_path / "links").iterdir()}
    assert names["well_lit"] == ["kodak_01.png"] and len(names["dark"]) == 5
    assert names["pairs_dark"] == names["pairs_truth"] == ["lol_001.jpg", "lol_004.jpg", "sice_0.jpg", "sice_4.jpg"]


def test_both_is_the_mean_of_the_sets(data: Path):
    pairs = load_pairs(data)
    found = mean_psnr(nn.Identity(), pairs)
    assert found["both"] == pytest.approx((found["sice"] + found["lol"]) / 2)
    same = {name: [(high, high) for _, high in each] for name, each in pairs.items()}
    assert mean_psnr(nn.Identity(), same) == pytest.approx(dict.fromkeys(("sice", "lol", "both", "unchanged"), 100))
    assert found["unchanged"] == pytest.approx(100)
    assert all(low.dtype == torch.uint8 and low.shape == (3, 20, 30) for low, _ in pairs["sice"])
