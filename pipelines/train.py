"""Train an enhancer from unpaired photos.

python pipelines/train.py
python pipelines/train.py --preset clip_lit --data.dark DIR --data.well_lit DIR
ray job submit --working-dir . -- python pipelines/train.py --runs /shared/runs
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cluster.connect import quieten_ray
from lle.prior.weights import PriorError, check_prior
from pipelines.config.loading import load_settings, with_run_name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; the exit status is 0 for a trained model, 1 for a failure told in one sentence, 2 for a mistake."""
    settings = with_run_name(load_settings(argv))  # exits here on --help, --dry-run and mistakes
    try:
        check_prior(settings.prior)
    except PriorError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    quieten_ray()
    from pipelines.training import job as training  # torch and ray wait until the settings are known to be good

    return training.run(settings)


if __name__ == "__main__":
    sys.exit(main())
