"""Throw file names, folders and settings at the jobs: `python -m tests.fuzz.fuzz_names_and_settings -runs=10000`.

Each try must end in a result or in one sentence. What it tries is in `names_and_settings`, which a unit test tries too.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["cluster.storage", "pipelines"]):
    from tests.fuzz.names_and_settings import ACTS, try_one

LIMITS = ("-timeout=20", "-rss_limit_mb=4096", "-max_len=512")


def main() -> None:
    source = random.Random(0)
    with tempfile.TemporaryDirectory() as corpus:
        for number in range(8 * len(ACTS)):
            data = (number % len(ACTS)).to_bytes(2, "little") + source.randbytes(200)
            Path(corpus, str(number)).write_bytes(data)
        atheris.Setup([sys.argv[0], *LIMITS, *sys.argv[1:], corpus], try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
