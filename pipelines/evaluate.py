"""Measure a model: against ground truth, without one, and on photos that were good already.

python pipelines/evaluate.py --model runs/NAME/model --data.dark DIR --data.truth DIR --output DIR
python pipelines/evaluate.py --model models:/NAME@challenger --data.dark DIR --output s3://BUCKET
python pipelines/evaluate.py --model published:zero-dce=FILE --data.dark DIR --output DIR
python pipelines/evaluate.py --model baseline:auto-exposure --data.good DIR --output DIR
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.config.evaluate import EvaluationSettings
from pipelines.config.loading import load
from pipelines.job import run_job


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 for a finished evaluation, 1 for a failure told in one sentence, 2 for a mistake."""
    settings = load(EvaluationSettings, __doc__, argv).settings  # exits here on --help and mistakes
    from pipelines.evaluation.job import run  # torch and ray wait until the settings are known to be good

    return run_job(run, settings, "nothing was written: the same command begins anew")


if __name__ == "__main__":
    sys.exit(main())
