"""What is said of jobs that wait for each other."""

from __future__ import annotations

import pytest

from cluster.waiting import amount, fits, listed, program


def test_bundles_fit_only_where_each_has_room_on_one_node():
    assert fits([{"CPU": 1}, {"CPU": 1}], [{"CPU": 1}, {"CPU": 1}])
    assert not fits([{"CPU": 2}], [{"CPU": 1}, {"CPU": 1}])
    assert not fits([{"CPU": 1}, {"CPU": 1}, {"CPU": 1}], [{"CPU": 2}])
    assert fits([{"CPU": 1}, {"CPU": 4, "GPU": 1}], [{"CPU": 4, "GPU": 1}, {"CPU": 1}])
    assert not fits([{"CPU": 1, "GPU": 1}], [{"CPU": 8}, {"GPU": 0}])


@pytest.mark.parametrize(
    ("entrypoint", "name"),
    [
        ("python pipelines/train.py --tracking.uri http://me:hunter2@server", "train.py"),
        ("KEY=hunter2 python /home/me/pipelines/tune.py --name x", "tune.py"),
        ("/usr/bin/python -m mine --key hunter2", "python"),
        ("KEY=hunter2 ./run 'unfinished", "run"),
        ("cd /app && exec python pipelines/train.py --runs /runs", "train.py"),
        ("", "a program"),
    ],
)
def test_a_job_is_called_by_its_program_without_arguments_and_variables(entrypoint: str, name: str):
    assert program(entrypoint) == name


def test_amounts_in_words():
    assert amount({"CPU": 1.0, "GPU": 1.0, "memory": 5}) == "1 CPU and 1 GPU"
    assert amount({"CPU": 0.5}) == "0.5 CPU"
    assert listed([{"CPU": 0.5}, {"CPU": 0.5}, {"CPU": 1, "GPU": 2}]) == "2 x 0.5 CPU, 1 CPU and 2 GPU"
