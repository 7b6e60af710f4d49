"""The benchmark of starting up: what its section says of stored results."""

from __future__ import annotations

import sys

import pytest

from benchmarks.start_up import HERE, RAY, as_text, seconds

MACHINE = {"gpu": None, "processor": "P", "cores": 2, "load": 0.1, "versions": {"torch": "2"}, "day": "2026-11-29"}


def test_the_table_has_medians_in_the_order_of_the_photos_and_how_much_longer_ray_takes():
    found = {
        "machine": MACHINE,
        "floors": {"import torch": [(1.0, 0.9), (9.0, 0.9), (2.0, 0.9)]},
        "ways": {HERE: {"32": [(20.0, 30.0)], "8": [(5.0, 8.0)]}, RAY: {"32": [(30.0, 5.0)], "8": [(15.0, 5.0)]}},
    }
    text = as_text(found)
    assert "| 8 | 5.0 | 8.0 | 15.0 | 3.0 |\n| 32 | 20.0 | 30.0 | 30.0 | 1.5 |" in text
    assert "`import torch` 2.0 s (0.9 s of processor time)" in text


def test_a_command_that_fails_is_no_measurement():
    wall, used = seconds([sys.executable, "-c", "pass"])
    assert wall > 0 and used >= 0
    with pytest.raises(RuntimeError, match="ended with 3"):
        seconds([sys.executable, "-c", "raise SystemExit(3)"])
