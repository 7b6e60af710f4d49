"""Ask people which of two models' pictures is better, without saying whose they are; count votes.

python pipelines/vote.py --models bundled baseline:exposure-shoulder --photos DIR
python pipelines/vote.py --models runs/NAME/model models:/NAME@champion --photos DIR --votes FILE
python pipelines/vote.py --votes FILE --tally
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.config.loading import load
from pipelines.config.vote import VotingSettings
from pipelines.job import run_job


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 when counted or interrupted, 1 for a failure told in one sentence, 2 for a mistake."""
    settings = load(VotingSettings, __doc__, argv).settings  # exits here on --help and mistakes
    from pipelines.voting.job import run  # torch waits until the settings are known to be good

    status = run_job(run, settings, "every vote is kept: the same command goes on")
    return 0 if status > 128 else status


if __name__ == "__main__":
    sys.exit(main())
