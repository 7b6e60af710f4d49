"""Enhance photos: a folder or prefix in, the same names out, brightened.

python pipelines/enhance.py --model runs/NAME/model --input photos --output brighter
python pipelines/enhance.py --model models:/lle-enhancer@champion --input s3://photos/dark --output s3://photos/bright
python pipelines/enhance.py --model baseline:auto-exposure --input photos --output out --format webp --quality 85
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.config.command_line import parse_settings
from pipelines.config.enhance import EnhanceSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; the exit status is 0 where every photo is done, 1 where some failed, 2 for a mistake."""
    settings = parse_settings(EnhanceSettings, __doc__, argv)  # exits here on --help and mistakes
    from pipelines import signals
    from pipelines.inference import job as enhancement  # torch and ray wait until the settings are known to be good

    return signals.run_job(lambda: enhancement.run(settings), "the same command does the rest")


if __name__ == "__main__":
    sys.exit(main())
