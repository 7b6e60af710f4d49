"""Serve a model on a Ray cluster: a photo is posted, the same comes back enhanced.

python pipelines/serve.py
python pipelines/serve.py --model models:/NAME@champion --canary.model models:/NAME@canary
python pipelines/serve.py --cluster.address HOST:PORT --replicas 8 --name mine --route /mine
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.config.loading import load
from pipelines.config.serve import ServeSettings
from pipelines.job import run_job


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 when it was interrupted, 1 for a failure told in one sentence, 2 for a mistake."""
    settings = load(ServeSettings, __doc__, argv).settings  # exits here on --help and mistakes
    from pipelines.serving.job import run  # torch and ray wait until the settings are known to be good

    status = run_job(run, settings, "the application is gone from the cluster, others were left alone")
    return 0 if status > 128 else status


if __name__ == "__main__":
    sys.exit(main())
