"""Start, stop and show the local stack.

python -m cluster.local start       # prints the environment to export
python -m cluster.local stop        # ends what start started; the data stays
python -m cluster.local status
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from cluster.local.stack import StackError, start, status, stop


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cluster.local", description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("start", "stop", "status"))
    parser.add_argument("--folder", type=Path, default=Path(".stack"), help="keys, data and logs; default: .stack")
    parser.add_argument("--s3-port", type=int, default=0, help="of the S3 server; default: the last one, or a free one")
    parser.add_argument("--mlflow-port", type=int, default=0, help="of the MLflow server; default: likewise")
    given = parser.parse_args()
    folder = given.folder.absolute()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was half started is ended on the way out
    try:
        if given.action == "start":
            print(start(folder, given.s3_port, given.mlflow_port))
        elif given.action == "stop":
            print(f"ended: {', '.join(stop(folder)) or 'nothing was running'}")
        else:
            running = status(folder)
            print("\n".join(f"{name:18} {'runs' if runs else 'does not run'}" for name, runs in running.items()))
            return 0 if running and all(running.values()) else 1
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
