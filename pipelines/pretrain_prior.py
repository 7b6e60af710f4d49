"""Train a prior that ships: the bundled one, a small CLIP that knows only light, or the graded one.

python pipelines/pretrain_prior.py --kodak DIR --output DIR [--evaluate DIR]
python pipelines/pretrain_prior.py --graded DIR --output DIR

On a CPU, glibc's allocator dominates the time unless these are set before Python starts:
MALLOC_ARENA_MAX=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=67108864
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.config.loading import load
from pipelines.config.pretrain_prior import PriorTrainingSettings
from pipelines.job import run_job


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 for a trained prior, 1 for a failure told in one sentence, 2 for a mistake."""
    settings = load(PriorTrainingSettings, __doc__, argv).settings  # exits here on --help and mistakes
    from pipelines.training.prior import run  # torch waits until the settings are known to be good

    return run_job(run, settings, "nothing was written: the same command begins anew")


if __name__ == "__main__":
    sys.exit(main())
