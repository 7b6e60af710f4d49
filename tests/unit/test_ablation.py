"""The ablations are trainings that the settings allow, and no two of them the same."""

from __future__ import annotations

from benchmarks.ablation import COLUMNS, VARIATIONS, as_text
from pipelines.config.loading import load_settings


def test_every_variation_is_a_training_of_its_own():
    data = ("--data.dark", "a", "--data.well_lit", "b")
    seen = [load_settings([*base, *changed, *data]).settings.model_dump_json() for base, changed in VARIATIONS.values()]
    assert len(set(seen)) == len(VARIATIONS)


def test_the_table_has_a_row_for_each_training_that_was_measured():
    sets = {photos: {} for _, photos, *_ in COLUMNS}
    for _, photos, metric, *_ in COLUMNS:
        sets[photos][metric] = {"mean": 2.0, "worst": 1.0}
    text = as_text({"rows": {"hybrid": {"sets": sets}, "... without identity": {"sets": sets}}})
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[2:]] == ["| hybrid", "| ... without identity"]
    assert rows[2][1:8] == ["2.00", "2.000", "2.00", "2.00", "2.000", "2.0", "1.0"]
    assert "`--objective.identity.weight 0`" in rows[3][-1]
