"""The model of the time of a training over many workers: its formulas against cases computed by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.pages import RESULTS
from benchmarks.scale_model import (
    ATTAINED,
    LAUNCH,
    WORKERS,
    Gpu,
    Ingest,
    Link,
    Training,
    as_text,
    decoders_needed,
    efficiency,
    first_limit,
    readers_needed,
    step_time,
)

FREE = Link(latency=0, bandwidth=math.inf)
WIRE = Link(latency=0.001, bandwidth=1e6)
PLENTY = Ingest(rate=math.inf, decoders=1)
STEP = Training(compute=0.5, batch=8, gradients=1_000_000)


def test_one_worker_that_neither_waits_nor_validates_is_fully_efficient():
    assert efficiency(STEP, WIRE, PLENTY, 1) == 1
    assert step_time(STEP, WIRE, PLENTY, 1).all_reduce == 0


def test_more_workers_are_never_more_efficient_yet_do_more_together():
    validated = replace(STEP, validation=0.1, pictures=32, validate_every=10)
    for link in (WIRE, replace(WIRE, tree=True)):
        shares = [efficiency(STEP, link, PLENTY, workers) for workers in WORKERS]
        assert shares == sorted(shares, reverse=True)
    together = [workers * efficiency(validated, FREE, PLENTY, workers) for workers in WORKERS]
    assert together == sorted(together)


def test_a_step_of_four_workers_computed_by_hand():
    training = replace(STEP, validation=0.2, pictures=6, validate_every=10, checkpoint=3, checkpoint_every=100)
    found = step_time(training, WIRE, Ingest(rate=10, decoders=1), 4)
    ring = 2 * 3 * 0.001  # s; and 2 * 3/4 of the gradients
    assert found.all_reduce == pytest.approx(2 * ring + 1.5)
    assert found.waiting == 0  # 8 pictures take .8 s to decode, computing and all-reduce 2
    assert found.validation == pytest.approx(2 * 0.2 / 10)  # two of the six pictures on the busiest
    assert found.checkpoint == pytest.approx(0.03)
    assert found.total == pytest.approx(0.5 + 1.512 + 0.04 + 0.03) and found.limit == "all_reduce"


def test_a_tree_sends_as_many_bytes_in_fewer_messages():
    tree = replace(WIRE, tree=True)
    assert tree.all_reduce(0, 512) == pytest.approx(18 * 0.001) and WIRE.all_reduce(0, 512) == pytest.approx(1.022)
    assert tree.all_reduce(10**6, 2) == WIRE.all_reduce(10**6, 2)


def test_decoders_of_their_own_hide_behind_computing_and_others_add_to_it():
    assert step_time(STEP, FREE, Ingest(rate=16, decoders=1), 1).total == 0.5
    assert step_time(STEP, FREE, Ingest(rate=8, decoders=1), 1).waiting == 0.5
    assert step_time(STEP, FREE, Ingest(rate=8), 1).compute == 1.5
    assert decoders_needed(STEP, rate=8) == 2


def test_a_store_that_gives_so_many_objects_in_all_is_what_limits_many_workers():
    slow = Ingest(rate=math.inf, decoders=1, store=64)  # 16 pictures/s each
    assert efficiency(STEP, FREE, slow, 4) == 1 and efficiency(STEP, FREE, slow, 8) == 0.5
    assert first_limit(STEP, FREE, slow, 0.9) == (8, "store")
    assert first_limit(STEP, FREE, PLENTY, 0.9) is None


def test_requests_under_way_cover_the_time_of_a_request():
    assert readers_needed(STEP, request=0.1) == pytest.approx(1.6)
    far = replace(PLENTY, request=0.1, readers=1)  # 10 pictures/s, of 16
    assert efficiency(STEP, FREE, far, 1) == pytest.approx(0.625)
    assert first_limit(STEP, FREE, far, 0.9) == (1, "requests")
    assert efficiency(STEP, FREE, replace(far, readers=2), 1) == 1


def test_workers_take_turns_on_fewer_cores_but_one_alone_writes_the_checkpoint():
    found = step_time(replace(STEP, checkpoint=1, checkpoint_every=10), FREE, PLENTY, 4)
    assert found.on_cores(4, 2) == pytest.approx(2 * 0.5 + 0.1) and found.on_cores(2, 2) == pytest.approx(0.6)


def test_an_operation_takes_the_longest_of_launch_arithmetic_and_memory_traffic():
    gpu = Gpu(flops=1e12, memory=1e9, cores=1, network=1)
    arithmetic, traffic = (1e12, 1), (0, 1e9)  # numbers of two bytes
    assert gpu.seconds([(0, 1), arithmetic, traffic]) == pytest.approx(LAUNCH + 1 / ATTAINED + 2 / ATTAINED)


def test_the_page_tells_the_stored_results(repository: Path):
    results = [
        json.loads((RESULTS / f"{name}.json").read_text()) for name in ("scale_model", "ingest", "training_step")
    ]
    assert as_text(*results).strip() in (repository / "docs" / "benchmarks.md").read_text()
