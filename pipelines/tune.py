"""Search settings of a training: many trials, the bad ones stopped early.

python pipelines/tune.py --search light --trials 20
python pipelines/tune.py --search FILE.yaml --data.dark DIR --data.well_lit DIR --loop.metric feature_gap
python pipelines/tune.py --resume NAME

Every option of pipelines/train.py holds for each trial; --loop.metric names what the search makes better.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cluster.connect import quieten_ray
from lle.prior.weights import PriorError, check_prior
from pipelines.config.command_line import parse_known_settings
from pipelines.config.loading import SettingsError
from pipelines.config.tune import TuneSettings
from pipelines.tuning.search_space import prepared


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; the exit status is 0 for a finished sweep, 1 for a failure told in one sentence, 2 for a mistake."""
    given, rest = parse_known_settings(TuneSettings, __doc__, argv)  # exits here on --help and mistakes
    try:
        plan = prepared(given, rest)
        check_prior(plan.training.settings.prior)
    except SettingsError as mistake:
        print(mistake, file=sys.stderr)
        return 2
    except PriorError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    quieten_ray()
    from pipelines.tuning import job as sweep  # torch and ray wait until the settings are known to be good

    return sweep.run(plan)


if __name__ == "__main__":
    sys.exit(main())
