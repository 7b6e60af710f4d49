"""Measure a model: against ground truth, without one, and on photos that were good already.

python pipelines/evaluate.py --model runs/NAME/model --low DIR --high DIR --good DIR --out DIR
python pipelines/evaluate.py --model models:/lle-enhancer@challenger --low s3://photos/dark --out s3://photos/report
python pipelines/evaluate.py --model published:zero-dce=Epoch99.pth --low DIR --out DIR
python pipelines/evaluate.py --model control:auto-exposure+denoise --low DIR --high DIR --out DIR
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from pydantic import ValidationError

from lle.config import EvaluationSettings
from pipelines.jobs.settings_text import accepts, shown


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; the exit status is 0 for a finished evaluation, 1 for a failure told in one sentence, 2 for a
    mistake.
    """
    settings = parse(argv)  # exits here on --help and mistakes
    from pipelines.jobs import evaluation  # torch and ray wait until the settings are known to be good

    return evaluation.run(settings)


def parse(argv: Sequence[str] | None = None) -> EvaluationSettings:
    """Checked settings from the command line; exits with 2 and one sentence on a mistake."""
    parser = _Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for name, info in EvaluationSettings.model_fields.items():
        option, about = f"--{name.replace('_', '-')}", str(info.description).replace("%", "%%")
        if info.annotation is bool:
            parser.add_argument(option, dest=name, action="store_true", help=about)
        else:
            default = "" if info.is_required() else f" ({shown(info.default)})"
            parser.add_argument(option, dest=name, required=info.is_required(), help=about + default)
    given = vars(parser.parse_args(argv))
    try:
        return EvaluationSettings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        field = EvaluationSettings.model_fields.get(name)
        if field:
            reason = f"{name}: {shown(given[name])} is not allowed; give {accepts(field)}"
        else:
            reason = str(first.get("ctx", {}).get("error", first["msg"]))
        parser.error(reason)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(message.removeprefix("argument "), file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    sys.exit(main())
