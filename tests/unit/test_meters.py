"""What Prometheus is told of a step, and that the dashboard asks for the same names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lle.training.hooks import Step
from lle.training.schedule import Phase
from pipelines.tracking.meters import COUNTERS, GAUGES, TAGS, readings

SPEED = {"step_seconds": 0.5, "data_wait_share": 0.1, "images_per_second": 64.0}
STEP = Step(7, "a line", {"loss": 3.0, "term/guidance": 0.25, "lr/enhancer": 1e-4, **SPEED}, Phase.REFINEMENT)
EXPORTED = {f"ray_{name}" for name in GAUGES} | {f"ray_{name}_total" for name in COUNTERS}


def told(step: Step) -> dict[tuple[str, ...], float]:
    return {(name, *tags.values()): value for name, value, tags in readings(step)}


@pytest.fixture(scope="module")
def dashboard(repository: Path) -> dict[str, Any]:
    return json.loads((repository / "cluster" / "monitoring" / "dashboard.json").read_text())


def test_a_step_tells_speed_terms_and_phase_and_nothing_else():
    assert told(STEP) == {
        ("lle_step_seconds",): 0.5,
        ("lle_data_wait_share",): 0.1,
        ("lle_images_per_second",): 64.0,
        ("lle_loss_term", "total"): 3.0,
        ("lle_loss_term", "guidance"): 0.25,
        **{("lle_phase", phase.value): float(phase is Phase.REFINEMENT) for phase in Phase},
    }


def test_a_skipped_step_tells_no_loss():
    skipped = told(Step(8, "a line", SPEED, Phase.ENHANCEMENT))
    assert not [name for name in skipped if name[0] == "lle_loss_term"]
    assert skipped["lle_phase", "enhancement"] == 1


def test_every_reading_has_a_gauge_with_its_tags():
    for name, _, tags in readings(STEP):
        assert tuple(tags) == GAUGES[name][1]


def test_the_dashboard_shows_every_metric_and_no_other(dashboard: dict[str, Any]):
    assert set(re.findall(r"ray_lle_\w+", json.dumps(dashboard))) == EXPORTED


def test_the_dashboard_filters_by_tags_that_exist(dashboard: dict[str, Any]):
    known = {*TAGS, *(tag for _, extra in GAUGES.values() for tag in extra)}
    queries = [target for panel in dashboard["panels"] for target in panel["targets"]]
    for query in queries:
        assert set(re.findall(r"(\w+)!?=~?\"", query["expr"])) <= known
        assert set(re.findall(r"{{(\w+)}}", query["legendFormat"])) <= known


def test_panels_do_not_overlap(dashboard: dict[str, Any]):
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) == 23


def test_prometheus_keeps_our_metrics(repository: Path):
    folder = repository / "cluster" / "monitoring"
    plain = yaml.safe_load((folder / "prometheus.yml").read_text())["scrape_configs"][0]["metric_relabel_configs"][0]
    pods = yaml.safe_load((folder / "podmonitor.yaml").read_text())["spec"]["podMetricsEndpoints"][0]
    for rule in (plain, pods["metricRelabelings"][0]):
        assert all(re.fullmatch(rule["regex"], name) for name in EXPORTED)
