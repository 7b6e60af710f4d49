"""How a job ends: one line on stderr, and the same exit status in every job (docs/exit_codes.md).

0    done
1    it failed, or there is something to look at, once it had begun; or nobody answered, or another job is at work there
2    a mistake that is seen before anything begins
128 + number of a signal that stopped it
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.connect import JOINED, ClusterError
from cluster.lease import LeaseError
from pipelines.tracking.address import TrackingError

FAILED, MISTAKEN = 1, 2


def ended(error: Exception) -> int:
    """Tell a mistake or a failure in its own sentence; the exit status."""
    print(f"error: {error}", file=sys.stderr)
    may_pass = isinstance(error, ClusterError | TrackingError | LeaseError)
    return FAILED if may_pass or JOINED in getattr(error, "__notes__", []) else MISTAKEN


@contextmanager
def begun() -> Iterator[None]:
    """From here on what goes wrong is a failure, as it is while a cluster is joined."""
    try:
        yield
    except Exception as error:
        error.add_note(JOINED)
        raise
