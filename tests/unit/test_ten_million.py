"""The benchmark of very many photos, over a few."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.pages import RESULTS
from benchmarks.ten_million import STEPS, as_text, write_files, write_parts


def test_each_step_does_its_work_on_all_rows(tmp_path: Path):
    write_files(tmp_path / "plain", 10)
    write_parts(tmp_path, 1000)
    found = {name: step(tmp_path, 1000)() for name, step in STEPS.items()}
    assert {name: found[name] for name in ("listing", "photos")} == {"listing": 10, "photos": 10}
    assert {name: found[name] for name in ("known", "manifest", "order")} == dict.fromkeys(
        ("known", "manifest", "order"), 1000
    )
    held_out = 2 * 16
    trained_on = ("found", "pinned", "resumed", "hash", "sent", "received")
    assert {name: found[name] for name in trained_on} == dict.fromkeys(trained_on, 1000 - held_out)


def test_the_page_tells_the_stored_results(repository: Path):
    results = json.loads((RESULTS / "ten_million.json").read_text())
    assert as_text(results).strip() in (repository / "docs" / "benchmarks.md").read_text()
