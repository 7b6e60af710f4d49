"""Try a model in the browser: drop a photo, see before and after. Nothing leaves this machine.

python pipelines/demo.py
python pipelines/demo.py --model runs/NAME/model --open
python pipelines/demo.py --model models:/lle-enhancer@challenger --port 9000
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cluster.allocator import keep_freed_memory
from pipelines.config.demo import DemoSettings
from pipelines.config.loading import load
from pipelines.job import run_job


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 when it was interrupted, 1 for a failure told in one sentence, 2 for a mistake."""
    settings = load(DemoSettings, __doc__, argv).settings  # exits here on --help and mistakes
    keep_freed_memory()
    from pipelines.inference.demo import run  # torch waits until the settings are known to be good

    status = run_job(run, settings, "photos were kept nowhere")
    return 0 if status > 128 else status


if __name__ == "__main__":
    sys.exit(main())
