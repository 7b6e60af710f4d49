"""The site of docs/ builds without a warning, loads nothing from elsewhere, and shows every formula."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    find_spec("mkdocs") is None or find_spec("latex2mathml") is None,
    reason="needs MkDocs and latex2mathml: pip install '.[docs]'",
)
LOADED = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=["']?((?:https?:)?//[^\s"'>]+)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, in a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr[-3000:]
    return folder


def test_it_begins_with_the_four_journeys(site: Path):
    home = (site / "index.html").read_text()
    places = [home.index(f'href="{page}.html"') for page in ("my_photos", "my_cluster", "my_loss", "my_phone", "train")]
    assert places == sorted(places)


def test_pages_outside_docs_are_part_of_it_and_their_links_lead_on(site: Path):
    readme = (site / "readme.html").read_text()
    assert 'href="train.html"' in readme and 'src="images/before_after.jpg"' in readme
    assert 'href="cards/enhancer.html#weaker-results"' in readme
    assert 'href="../research_model.html#highlights"' in (site / "cards" / "enhancer.html").read_text()
    assert "def shoulder" in re.sub("<[^>]+>", "", (site / "source/lle/exposure/shoulder.py.html").read_text())


def test_nothing_is_loaded_from_elsewhere(site: Path):
    for page in site.rglob("*.html"):
        assert not LOADED.findall(page.read_text()), page.name
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"url\(['\"]?(?:https?:)?//|@import", sheet.read_text()), sheet.name


def test_formulas_are_drawn_on_the_page_of_the_method_and_dollars_stay_dollars(site: Path):
    method = (site / "method.html").read_text()
    assert method.count("<math") > 60 and "arithmatex" not in method and "\\frac" not in method
    cluster = (site / "cluster.html").read_text()
    assert "<math" not in cluster and "arithmatex" not in cluster and "$ an hour" in cluster


def test_the_notebook_is_a_page(site: Path):
    page = re.sub("<[^>]+>", "", (site / "first_steps.html").read_text())
    assert "Brighten it" in page and "lle.load(" in page
    assert (site / "first_steps.ipynb").is_file()
