"""Try a model in the browser: drop a photo, see before and after. Nothing leaves this machine.

python pipelines/demo.py
python pipelines/demo.py --model runs/NAME/model --open
python pipelines/demo.py --model models:/lle-enhancer@challenger --port 9000
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.config.command_line import parse_settings
from pipelines.config.demo import DemoSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted; the exit status is 0 then, 1 for a failure told in one sentence, 2 for a mistake."""
    settings = parse_settings(DemoSettings, __doc__, argv)  # exits here on --help and mistakes
    from pipelines import signals
    from pipelines.inference import demo  # torch waits until the settings are known to be good

    status = signals.run_job(lambda: demo.run(settings), "photos were kept nowhere")
    return 0 if status > 128 else status


if __name__ == "__main__":
    sys.exit(main())
