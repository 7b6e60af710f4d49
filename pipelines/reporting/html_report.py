"""A report as one HTML file that needs nothing beside it: numbers, curves, and pictures under a before/after slider.

Its content security policy allows no request at all, so it shows the same from a file, from MLflow's sandboxed frame,
and offline.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, Template
from markupsafe import Markup

from lle.images import decode, encode, read_header, resize
from pipelines.reporting.chart import chart
from pipelines.reporting.curves import Curve, Span
from pipelines.reporting.scatter import Scatter, scatter
from pipelines.reporting.words import number, plain

REPORT = "report.html"
TEMPLATES = Path(__file__).parent.parent / "templates"
VIEW_SIDE, SMALLER_SIDES = 720, (560, 420, 320, 240)  # px, longer side of a picture
QUALITY = 80
PICTURE_BYTES = 2_000_000  # of all pictures as files; 2.7 MB as text in the page
MOST_CASES = 12
RANKED_BY = ("unchanged", "psnr", "our_prior_well_lit")


@dataclass(frozen=True)
class Headline:
    """A number that the page begins with.

    Attributes:
        label, value: what it is, and how much with its unit.
        note: what to compare it with.
    """

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text under a heading; the first column names the row.

    Attributes:
        strong: name of the row that matters.
        prose: whether the last column holds sentences, which wrap.
        marked: row and column of the cells that matter, such as the best of each column.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: str = ""
    prose: bool = False
    marked: Collection[tuple[int, int]] = ()


@dataclass(frozen=True)
class Case:
    """One photo as the slider shows it.

    Attributes:
        name: of the photo.
        views: pictures of one shape as JPEG, by what they are; the second stands on the right of the divider, the
            others can be chosen for its left (input, enhanced, ground truth; input, challenger, champion).
        values: numbers by name of `lle.metrics.METRICS`.
        note: what to compare them with.
        captions: what is said of each picture; with them all are also shown at once, below the slider, and each can be
            chosen for both of its sides.
        best: labels of the pictures that are marked among those.
    """

    name: str
    views: Mapping[str, bytes]
    values: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    captions: Mapping[str, str] = field(default_factory=dict)
    best: Collection[str] = ()


@dataclass(frozen=True)
class Gallery:
    """Cases under a heading, in the order in which they are shown.

    Attributes:
        of: how many photos they were chosen from.
        order: in words.
    """

    title: str
    cases: Sequence[Case]
    of: int
    order: str = "the worst first"


@dataclass(frozen=True)
class HtmlReport:
    """What a report says.

    Attributes:
        kind: what was done, such as `training`.
        title: of what.
        about: one line below the title.
        verdict: what came of it, where that needs a sentence.
        headlines, tables, galleries: see there.
        curves, spans: numbers over steps, and the phases below them.
        scatters: numbers of one thing over those of another.
        details: names and values for the end of the page.
    """

    kind: str
    title: str
    about: str = ""
    verdict: str = ""
    headlines: Sequence[Headline] = ()
    tables: Sequence[Table] = ()
    curves: Sequence[Curve] = ()
    spans: Sequence[Span] = ()
    scatters: Sequence[Scatter] = ()
    galleries: Sequence[Gallery] = ()
    details: Mapping[str, str] = field(default_factory=dict)


def render(page: HtmlReport) -> bytes:
    """The page as an HTML file under 3 MB: pictures become smaller where there are many."""
    galleries = _within_budget([replace(each, cases=each.cases[:MOST_CASES]) for each in page.galleries])
    charts = [(curve.title, chart(curve, page.spans)) for curve in page.curves]
    scatters = [(each.title, scatter(each)) for each in page.scatters]
    return template("report.html").render(page=page, charts=charts, scatters=scatters, galleries=galleries).encode()


def view(pixels: np.ndarray, side: int = VIEW_SIDE, icc_profile: bytes | None = None, quality: int = QUALITY) -> bytes:
    """Pixels as a small JPEG for a page; uint8 (H, W, 3), sRGB or of the profile."""
    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    small = resize(pixels, (max(1, round(height * scale)), max(1, round(width * scale))))
    return encode(small, "jpeg", quality, icc_profile=icc_profile)


def worst_first(cases: Sequence[Case]) -> list[Case]:
    """By the first of `unchanged`, `psnr` and `our_prior_well_lit` that they have."""
    return sorted(cases, key=lambda case: badness(case.values))


def badness(values: Mapping[str, float]) -> float:
    """Smallest for the worst photo."""
    return next((values[name] for name in RANKED_BY if name in values), 0.0)


@cache
def environment() -> Environment:
    """Templates, with everything escaped that is not marked as HTML."""
    made = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"pictures": _pictures, "metric": lambda value, name: number(name, value), "plain": plain}
    made.globals["inline"] = lambda name: Markup((TEMPLATES / name).read_text(encoding="utf-8"))
    return made


def template(name: str) -> Template:
    """A template of `pipelines/templates`."""
    return environment().get_template(name)


def data_uri(picture: bytes, kind: str = "image/jpeg") -> str:
    """A file as the address of itself."""
    return f"data:{kind};base64,{base64.b64encode(picture).decode()}"


def _pictures(views: Mapping[str, bytes]) -> list[tuple[str, str, int, int]]:
    """Label, address, width and height of each, as `compare.html` takes them."""
    headers = {label: read_header(picture) for label, picture in views.items()}
    return [(label, data_uri(views[label]), header.width, header.height) for label, header in headers.items()]


def _within_budget(galleries: list[Gallery]) -> list[Gallery]:
    for side in SMALLER_SIDES:
        if sum(len(view) for each in galleries for case in each.cases for view in case.views.values()) <= PICTURE_BYTES:
            break
        galleries = [replace(each, cases=[_smaller(case, side) for case in each.cases]) for each in galleries]
    return galleries


def _smaller(case: Case, side: int) -> Case:
    return replace(case, views={label: view(decode(picture), side) for label, picture in case.views.items()})
