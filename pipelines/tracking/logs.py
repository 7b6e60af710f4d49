"""Logs for machines: one JSON object a line on stderr, with the run and the rank, for whatever ships Ray's logs."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

LOGGER = logging.getLogger("lle")


def structured(run_id: str, rank: int) -> logging.Logger:
    """The logger of a worker.

    Args:
        run_id: of the run in MLflow.
        rank: of the worker.

    Returns:
        A logger; `logger.info("text", extra={"values": {...}})` adds values to the line.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines({"run": run_id, "rank": rank}))
    LOGGER.handlers = [handler]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    return LOGGER


class JsonLines(logging.Formatter):
    """Time (UTC), level, message, the values of the record and those of the process.

    Args:
        constant: values of every line.
    """

    def __init__(self, constant: dict[str, Any]) -> None:
        super().__init__()
        self._constant = constant

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            **self._constant,
            "message": record.getMessage(),
            **getattr(record, "values", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
