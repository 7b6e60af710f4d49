"""Any prefix of pictures, good and bad, into shards of one size and a manifest that training reads.

python pipelines/prepare.py --input s3://photos/raw --output s3://photos/prepared
python pipelines/prepare.py --input DIR --output DIR --split prior

Run it again after it was stopped, or after pictures were added: it does only what is left.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.config.loading import load
from pipelines.config.prepare import PrepareSettings
from pipelines.job import run_job


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 when every file is accounted for, 1 for a failure told in one sentence, 2 for a mistake."""
    settings = load(PrepareSettings, __doc__, argv).settings  # exits here on --help and mistakes
    from pipelines.data.job import run  # ray waits until the settings are known to be good

    return run_job(run, settings, "the same command goes on where this one was")


if __name__ == "__main__":
    sys.exit(main())
