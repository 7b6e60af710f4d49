"""A model for other runtimes: ONNX, or torch.export's archive; any size of picture.

python pipelines/export.py --model models:/lle-enhancer@champion --out exported
python pipelines/export.py --model runs/NAME/model --out exported --format pt2
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.config.command_line import parse_settings
from pipelines.config.export import ExportSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; the exit status is 0 for a checked file, 1 for a failure told in one sentence, 2 for a mistake."""
    settings = parse_settings(ExportSettings, __doc__, argv)  # exits here on --help and mistakes
    from pipelines import signals
    from pipelines.models import export  # torch waits until the settings are known to be good

    return signals.run_job(lambda: export.run(settings))


if __name__ == "__main__":
    sys.exit(main())
