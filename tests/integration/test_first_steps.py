"""The notebook of the first steps runs from top to bottom, as it is in the repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import json, sys
cells = json.load(open(sys.argv[1]))["cells"]
names = {"__name__": "__main__"}
for number, cell in enumerate(cells):
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
for name, (psnr, ssim) in names["measured"].items():
    print("measured", psnr)
"""


@pytest.mark.drill
def test_every_cell_of_the_first_steps_runs_and_the_model_beats_the_dark_photo(repository: Path, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", RUN, "first_steps.ipynb"],
        cwd=repository / "docs",  # where notebooks start
        env=os.environ | {"PYTHONPATH": str(repository), "TMPDIR": str(tmp_path), "RAY_TMPDIR": "/tmp"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = [line.split() for line in done.stdout.splitlines()]
    dark, baseline, bundled = (float(words[1]) for words in told if words[:1] == ["measured"])
    assert bundled > dark + 5 and baseline > dark + 5
    (summary,) = tmp_path.glob("lle-*/runs/first/summary.json")
    assert json.loads(summary.read_text())
    assert (summary.parent / "report.html").is_file()
