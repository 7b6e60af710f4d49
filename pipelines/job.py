"""How every job runs and ends: one sentence on stderr, and the same exit status in all (docs/exit_codes.md).

0    done
1    it failed, or there is something to look at, once it had begun; or nobody answered, or another job is at work there
2    a mistake that is seen before anything begins
128 + number of a signal that stopped it

This module imports neither torch nor ray, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar, TypeVar

from cluster.connect import JOINED, ClusterError, quieten_ray
from pipelines.signals import number_of, raising

FAILED, MISTAKEN = 1, 2
AGAIN = "the same command begins anew"
S = TypeVar("S")


class UserError(ValueError):
    """What a user can mend, or wait for, told in one sentence; the base of all that `pipelines` raises for users.

    Attributes:
        status: of a job that ends with it before it has begun.
    """

    status: ClassVar[int] = MISTAKEN


def run_job(job: Callable[[S], object], settings: S, advice: str | Callable[[S], str] = AGAIN) -> int:
    """Run a job until it ends, fails or is stopped.

    Args:
        job: takes the settings; what it gives is the exit status if that is a number, else the status is 0.
        settings: checked.
        advice: how to go on after a stop, for the sentence on stderr.

    Returns:
        The job's status, or 128 + the number of the signal that stopped it.
    """
    quieten_ray()
    try:
        with raising():
            found = job(settings)
            return found if isinstance(found, int) else 0
    except Exception as error:
        if not isinstance(error, told_in_one_sentence()):
            raise
        return ended(error)
    except (KeyboardInterrupt, SystemExit) as end:
        number = number_of(end)
    print(f"stopped; {advice if isinstance(advice, str) else advice(settings)}", file=sys.stderr)
    return 128 + number


def told_in_one_sentence() -> tuple[type[Exception], ...]:
    """The errors whose message is meant for users: ours, and those of lle and cluster."""
    from cluster.storage import StorageError  # these take seconds, which --help need not wait for
    from lle.exporting import ExportError
    from lle.prior.weights import PriorError
    from lle.training.checkpoint import CheckpointError

    return (UserError, ClusterError, StorageError, CheckpointError, ExportError, PriorError)


def ended(error: Exception) -> int:
    """Tell a mistake or a failure in its own sentence; the exit status."""
    from cluster.lease import LeaseError

    print(f"error: {error}", file=sys.stderr)
    if isinstance(error, ClusterError | LeaseError) or JOINED in getattr(error, "__notes__", []):
        return FAILED
    return error.status if isinstance(error, UserError) else MISTAKEN


@contextmanager
def begun() -> Iterator[None]:
    """From here on what goes wrong is a failure, as it is while a cluster is joined."""
    try:
        yield
    except Exception as error:
        error.add_note(JOINED)
        raise
