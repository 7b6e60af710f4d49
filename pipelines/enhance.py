"""Enhance photos: a photo, a folder or a prefix in, the same brightened out; beside it, or under its names elsewhere.

python pipelines/enhance.py photo.jpg
python pipelines/enhance.py a.jpg b.jpg photos/ --output brighter
python pipelines/enhance.py --model runs/NAME/model --input photos --output brighter
python pipelines/enhance.py --model models:/lle-enhancer@champion --input s3://photos/dark --output s3://photos/bright
python pipelines/enhance.py --model baseline:auto-exposure --input photos --output out --format webp --quality 85
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import dropwhile

from pipelines.config.command_line import parse_known_settings, unknown_options
from pipelines.config.enhance import EnhanceSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; the exit status is 0 where every photo is done, 1 where some failed, 2 for a mistake."""
    settings, words = parse_known_settings(EnhanceSettings, __doc__, argv)  # exits here on --help and mistakes
    if options := [*dropwhile(lambda word: not word.startswith("-"), words)]:
        known = [f"--{name.replace('_', '-')}" for name in EnhanceSettings.model_fields]
        print(unknown_options(options, known), file=sys.stderr)
        return 2
    if not (settings.input or words):
        print(
            "input: no photos; name a photo, a folder or a URI, such as photo.jpg (--help lists all)", file=sys.stderr
        )
        return 2
    from pipelines import signals
    from pipelines.inference import job as enhancement  # torch and ray wait until the settings are known to be good

    return signals.run_job(lambda: enhancement.run(settings, words), "the same command does the rest")


if __name__ == "__main__":
    sys.exit(main())
