"""Measure several models on several sets of photos, side by side.

python pipelines/compare.py --models bundled baseline:auto-gain --data.dark DIR DIR --output DIR
python pipelines/compare.py --models bundled mine=DIR --data.dark DIR --data.truth DIR --output DIR
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.config.compare import ComparisonSettings
from pipelines.config.loading import load
from pipelines.job import run_job


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 for a finished comparison, 1 for a failure told in one sentence, 2 for a mistake."""
    settings = load(ComparisonSettings, __doc__, argv).settings  # exits here on --help and mistakes
    from pipelines.comparison.job import run  # torch and ray wait until the settings are known to be good

    return run_job(run, settings, "nothing was written: the same command begins anew")


if __name__ == "__main__":
    sys.exit(main())
