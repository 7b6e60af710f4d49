"""Measure a model: against ground truth, without one, and on photos that were good already.

python pipelines/evaluate.py --model runs/NAME/model --low DIR --high DIR --good DIR --out DIR
python pipelines/evaluate.py --model models:/lle-enhancer@challenger --low s3://photos/dark --out s3://photos/report
python pipelines/evaluate.py --model published:zero-dce=Epoch99.pth --low DIR --out DIR
python pipelines/evaluate.py --model baseline:auto-exposure+denoise --low DIR --high DIR --out DIR
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.config.command_line import parse_settings
from pipelines.config.evaluate import EvaluationSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; the exit status is 0 for a finished evaluation, 1 for a failure told in one sentence, 2 for a
    mistake.
    """
    settings = parse_settings(EvaluationSettings, __doc__, argv)  # exits here on --help and mistakes
    from pipelines import signals
    from pipelines.evaluation import job as evaluation  # torch and ray wait until the settings are known to be good

    return signals.run_job(lambda: evaluation.run(settings), "nothing was written: the same command begins anew")


if __name__ == "__main__":
    sys.exit(main())
