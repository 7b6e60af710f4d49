"""Train an enhancer from unpaired photos.

python pipelines/train.py
python pipelines/train.py --preset clip_lit --data.dark DIR --data.well_lit DIR
ray job submit --working-dir . -- python pipelines/train.py --runs /shared/runs
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.config.loading import load_settings, with_run_name
from pipelines.job import run_job


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 for a trained model, 1 for a failure told in one sentence, 2 for a mistake."""
    loaded = with_run_name(load_settings(argv, doc=__doc__))  # exits here on --help and mistakes
    from pipelines.training.job import how_to_go_on, run  # torch and ray wait until the settings are known to be good

    return run_job(run, loaded, how_to_go_on)


if __name__ == "__main__":
    sys.exit(main())
