"""The pages "Adding a ..." of docs/, followed to the letter: their code runs, in as many places as they say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import Told, tiny_settings, tiny_train

import lle
from lle.exporting import export_program
from lle.model import Model
from pipelines.config.loading import load_settings

DOCS = Path(__file__).parents[2] / "docs"
ONE_PHASE = {"prompt_init": {"steps": 0}, "reconstruction": {"steps": 0}, "enhancement": {"steps": 2}, "rounds": 1}
NO_OTHERS = {name: {"weight": 0} for name in ("guidance", "identity", "smoothness", "reconstruction", "rank")}


class Block(NamedTuple):
    """A block of Python of a page: where it belongs, and what; `at` is empty for a whole file."""

    page: str
    file: str
    at: str
    code: str


def blocks(page: str) -> Iterator[Block]:
    text = (DOCS / f"adding_a_{page}.md").read_text(encoding="utf-8")
    for found in re.finditer(r"```python\n# ([\w./]+)(?:: ([^\n]*))?\n(.*?)```", text, re.DOTALL):
        yield Block(page, found[1], found[2] or "", found[3])
    assert text.count("```python") == len(re.findall(r"```python\n# [\w./]+\.py", text)), "a block without its place"


def follow(tree: Path, block: Block) -> None:
    """Write a block where its first line says: a file, or behind a line of one; a function goes in front of another."""
    file = tree / block.file
    file.parent.mkdir(parents=True, exist_ok=True)
    if not block.at:
        assert not file.exists(), f"{block.file} is there already"
        file.write_text(block.code)
        return
    lines = file.read_text().splitlines(keepends=True)
    index = next(i for i, line in enumerate(lines) if re.match(rf"(class )?{re.escape(block.at)}\b", line))
    code = f"{block.code}\n\n" if block.at.startswith("def ") else block.code
    lines.insert(index + (not block.at.startswith("def ")), code)
    file.unlink()  # a link to ours
    file.write_text("".join(lines))


PAGES = ("loss_term", "network", "metric", "photo_source", "job")
USE = """
import json, torch, tiny
from lle.model import Model, load
from pipelines.config.loading import load_settings
from pipelines.config.promote import PromotionSettings
from pipelines.evaluation.metrics import load_metric_suite
from pipelines.reporting.words import direction, plain
from cluster.storage import list_files

given = ["--data.samples", "--enhancer.arch", "gain", "--init_from", ""]
chosen = load_settings([*given, "--objective.grey_world.weight", "2", "--loop.metric", "spread_error"]).settings
one = {"steps": 1}
told = tiny.Told()
outcome = tiny.tiny_train(
    tiny.tiny_settings(
        enhancer={"arch": "gain"},
        objective={"grey_world": {"weight": 2}},
        schedule={"prompt_init": one, "reconstruction": one, "enhancement": {"steps": 2}, "rounds": 1},
        loop={"metric": "spread_error"},
    ),
    told=told,
)
Model(outcome.enhancer, chosen.enhancer).save("saved")
picture = torch.rand(3, 40, 50)
found = {
    "gain": load("saved").enhancer.gain.tolist(),
    "line": told.steps[-1].line,
    "term": told.steps[-1].metrics["term/grey_world"],
    "validated": [report.metrics for report in told.reports if report.metrics][-1],
    "best": outcome.best,
    "suite": load_metric_suite("")(picture, picture * 0.5, picture, False),
    "promotion": PromotionSettings(data={"dark": "a", "truth": "b"}, metric="spread_error", margin=0.1).metric,
    "said": [plain("spread_error"), direction("spread_error")],
    "listed": [file.path for file in list_files("nas://share/photos")],
}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A copy of the packages with all that the pages add to the repository."""
    tree = tmp_path_factory.mktemp("house")
    for package in ("lle", "pipelines", "cluster"):
        copytree(repository / package, tree / package, copy_function=os.symlink)
    for page in PAGES:
        for block in blocks(page):
            if not block.file.startswith("mypackage/"):
                follow(tree, block)
    photos = tree / "mnt" / "share" / "photos"
    photos.mkdir(parents=True)
    Image.fromarray(np.full((8, 8, 3), 51, np.uint8)).save(photos / "a.png")
    return tree


def run(house: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(house), str(Path(__file__).parent)]),
        "NAS_ROOT": str(house / "mnt"),
    }
    return subprocess.run(
        [sys.executable, *arguments], cwd=house, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def used(house: Path) -> dict[str, Any]:
    """What a training and an evaluation make of the lines that the pages add to our tables."""
    done = run(house, "-c", USE)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# --- into the repository ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "places"), [("loss_term", 3), ("network", 2), ("metric", 2), ("photo_source", 1), ("job", 4)]
)
def test_a_page_changes_as_few_files_as_it_says(page: str, places: int) -> None:
    assert len({block.file for block in blocks(page) if not block.file.startswith("mypackage/")}) == places


def test_a_term_of_three_places_is_a_setting_is_learned_and_is_told(used: dict[str, Any]) -> None:
    assert re.search(r"grey_world 0\.0\d+", used["line"]) and used["term"] >= 0


def test_a_network_of_two_places_is_trained_saved_and_loaded(used: dict[str, Any]) -> None:
    assert used["gain"] != [0.0]


def test_a_metric_of_two_places_is_measured_chooses_decides_and_is_shown_the_right_way_up(
    used: dict[str, Any],
) -> None:
    assert used["best"][0] == pytest.approx(used["validated"]["spread_error"])
    assert used["suite"]["spread_error"] > 0 and used["promotion"] == "spread_error"
    assert used["said"] == ["Spread error", "lower"]


def test_photos_of_a_new_scheme_are_listed(used: dict[str, Any]) -> None:
    assert used["listed"] == ["share/photos/a.png"]


def test_a_new_job_runs_and_tells_its_mistakes(house: Path) -> None:
    done = run(house, "-m", "pipelines.brightness", "--photos", "nas://share/photos")
    assert (done.returncode, done.stdout) == (0, "0.200  share/photos/a.png\n"), done.stderr
    done = run(house, "-m", "pipelines.brightness", "--photos", "ftp://share")
    assert done.returncode == 2 and done.stderr.startswith("error: ftp://: unknown scheme")


# --- from outside -----------------------------------------------------------------------------------------------------


@pytest.fixture
def mypackage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the pages let users write, on PYTHONPATH."""
    for page in PAGES:
        for block in blocks(page):
            if block.file.startswith("mypackage/"):
                follow(tmp_path, block)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [each for each in sys.modules if each.partition(".")[0] == "mypackage"]:
        del sys.modules[name]


def test_the_terms_of_the_page_are_learned_by_and_told(mypackage: Path) -> None:
    own = ("mypackage.losses:exposure_control=10", "mypackage.losses:as_bright=1")
    told = Told()
    tiny_train(tiny_settings(objective={**NO_OTHERS, "own": own}, schedule=ONE_PHASE), told=told)
    last = told.steps[-1]
    terms = {name: value for name, value in last.metrics.items() if name.startswith("term/")}
    assert list(terms) == ["term/exposure_control", "term/as_bright"] and len(told.steps) == 2
    assert last.metrics["loss"] == pytest.approx(10 * terms["term/exposure_control"] + terms["term/as_bright"])
    assert "(exposure_control 0." in last.line


def test_the_network_of_the_page_is_trained_saved_loaded_and_exported(mypackage: Path, tmp_path: Path) -> None:
    given = ["--enhancer.arch", "mypackage.nets:Net", "--enhancer.options", '{"depth": 2}', "--init_from", ""]
    chosen = load_settings([*given, "--data.samples"]).settings.enhancer
    objective = {**NO_OTHERS, "colour": {"weight": 1}}
    outcome = tiny_train(tiny_settings(enhancer=chosen.model_dump(), objective=objective, schedule=ONE_PHASE))
    assert outcome.enhancer.head.weight.abs().max() > 0, "it learned"
    Model(outcome.enhancer, chosen).save(tmp_path / "saved")
    loaded = lle.load(tmp_path / "saved")
    assert type(loaded.enhancer).__module__ == "mypackage.nets" and len(loaded.enhancer.see) == 4
    picture = torch.rand(3, 37, 61)
    expected = outcome.enhancer(picture[None]).image[0].detach()
    torch.testing.assert_close(loaded.enhance(picture), expected)
    program = export_program(loaded).module()
    torch.testing.assert_close(program(picture[None])[0].detach(), expected)
