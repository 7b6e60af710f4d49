"""Enhance photos: a photo, a folder or a prefix in, the same brightened out, beside it or elsewhere.

python pipelines/enhance.py photo.jpg
python pipelines/enhance.py a.jpg b.jpg photos/ --output brighter
python pipelines/enhance.py --model runs/NAME/model --input photos --output brighter
python pipelines/enhance.py --model models:/NAME@champion --input s3://photos/dark --output DIR
python pipelines/enhance.py --model baseline:auto-exposure --input photos --output out --format webp
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cluster.allocator import keep_freed_memory
from pipelines.config.enhance import EnhanceSettings
from pipelines.config.loading import load
from pipelines.job import run_job


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 where every photo is done, 1 where some failed, 2 for a mistake."""
    settings = load(EnhanceSettings, __doc__, argv, words="input").settings  # exits here on --help and mistakes
    keep_freed_memory()
    from pipelines.inference.job import run  # torch and ray wait until the settings are known to be good

    return run_job(run, settings, "the same command does the rest")


if __name__ == "__main__":
    sys.exit(main())
