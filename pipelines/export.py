"""A model for other runtimes: ONNX, or torch.export's archive; any size of picture.

python pipelines/export.py --model models:/lle-enhancer@champion --output exported
python pipelines/export.py --model runs/NAME/model --output exported --format pt2
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.config.export import ExportSettings
from pipelines.config.loading import load
from pipelines.job import run_job


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 for a checked file, 1 for a failure told in one sentence, 2 for a mistake."""
    settings = load(ExportSettings, __doc__, argv).settings  # exits here on --help and mistakes
    from pipelines.models.export import run  # torch waits until the settings are known to be good

    return run_job(run, settings)


if __name__ == "__main__":
    sys.exit(main())
