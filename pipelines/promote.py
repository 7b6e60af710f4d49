"""Make a registered version the champion, if it beats the present one on the same photos.

python pipelines/promote.py --data.dark DIR --data.truth DIR --data.good DIR
python pipelines/promote.py --data.dark DIR --data.truth DIR --manifest photos.json
python pipelines/promote.py --rollback
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.config.loading import load
from pipelines.config.promote import PromotionSettings
from pipelines.job import run_job


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 for a new champion, 1 where all stays as it was, 2 for a mistake."""
    settings = load(PromotionSettings, __doc__, argv).settings  # exits here on --help and mistakes
    from pipelines.promotion.job import run  # torch and ray wait until the settings are known to be good

    return run_job(run, settings, "all is as it was unless it said otherwise: the same command begins anew")


if __name__ == "__main__":
    sys.exit(main())
