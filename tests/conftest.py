"""What every test tier shares: one thread a process, the tiers by folder, and the folder of real photos."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# Before torch is imported anywhere: tests run beside each other and beside Ray's workers.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import pytest

REPOSITORY = Path(__file__).parent.parent
SHARED = REPOSITORY.parent / "shared"
INTEGRATION_TIMEOUT = 900  # seconds; starting Ray's workers alone can take more than a minute

# As in a terminal: where these are ignored, as behind `&` or nohup, what the tests start would ignore them, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folder decides the tier: nobody has to remember the markers."""
    for item in items:
        tier = item.path.relative_to(REPOSITORY / "tests").parts[0]
        if tier == "integration":
            item.add_marker(pytest.mark.integration)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(INTEGRATION_TIMEOUT))
        elif tier == "gpu":
            item.add_marker(pytest.mark.gpu)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real photos, published weights and reference outputs, which are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip("the folder `shared` with real photos and reference outputs is not beside the repository")
    return SHARED


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY
