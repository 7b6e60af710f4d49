"""Search settings of a training: many trials, the bad ones stopped early.

python pipelines/tune.py --search light --trials 20
python pipelines/tune.py --search FILE.yaml --data.dark DIR --data.well_lit DIR

The options of train.py hold for each trial; --loop.metric names what the search makes better.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.config.loading import ending_at_mistakes
from pipelines.job import run_job
from pipelines.tuning.search_space import prepared


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 for a finished sweep, 1 for a failure told in one sentence, 2 for a mistake."""
    with ending_at_mistakes():
        plan = prepared(argv, __doc__)  # exits here on --help, too
    from pipelines.tuning.job import how_to_go_on, run  # torch and ray wait until the settings are known to be good

    return run_job(run, plan, how_to_go_on)


if __name__ == "__main__":
    sys.exit(main())
