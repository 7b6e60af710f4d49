from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CONNECT = """
from cluster.connect import ClusterError, connect
try:
    with connect():
        print("connected")
except ClusterError as error:
    print("told:", error)
"""


def test_whatever_ray_raises_when_it_does_not_start_is_one_sentence(tmp_path: Path, repository: Path):
    """Ray's sockets cannot lie in a folder of so long a name: an OSError, which no documentation tells."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    variables = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", CONNECT],
        env=variables | {"RAY_TMPDIR": str(folder), "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    [told] = [line for line in done.stdout.splitlines() if line.startswith("told:")]
    assert told.startswith("told: Ray did not start here (") and "Traceback" not in done.stderr
