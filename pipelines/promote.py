"""Make a registered version the champion, if it beats the present one on the same photos.

python pipelines/promote.py --low DIR --high DIR --good DIR
python pipelines/promote.py --model lle-enhancer --candidate challenger --low DIR --high DIR --manifest photos.json
python pipelines/promote.py --rollback
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.config.command_line import parse_settings
from pipelines.config.promote import PromotionSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; the exit status is 0 for a new champion, 1 where all stays as it was, 2 for a mistake."""
    settings = parse_settings(PromotionSettings, __doc__, argv)  # exits here on --help and mistakes
    from pipelines import signals
    from pipelines.promotion import job as promotion  # torch and ray wait until the settings are known to be good

    return signals.run_job(
        lambda: promotion.run(settings), "all is as it was unless it said otherwise: the same command begins anew"
    )


if __name__ == "__main__":
    sys.exit(main())
