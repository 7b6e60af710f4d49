"""Where the record of a job is: known without MLflow, whose import takes a second."""

from __future__ import annotations

import os
from pathlib import Path

from cluster.redaction import without_password
from cluster.storage import SQLITE, StorageError, local_path, sqlite_path, sqlite_uri
from pipelines.job import FAILED, UserError


class TrackingError(UserError):
    """The tracking server does not answer; the message names the setting."""

    status = FAILED


def tracking_uri(given: str, runs: str) -> str:
    """The URI that was given, else MLFLOW_TRACKING_URI, else SQLite in the folder of the runs; never with a password.

    Settings, records and notes of Tune repeat it; `reachable` adds the password again. Paths become absolute, for
    workers have other working directories; a file is one of SQLite, a folder MLflow's own.

    Raises:
        TrackingError: a path that none can be.
    """
    uri = given or without_password(os.environ.get("MLFLOW_TRACKING_URI", ""))
    try:
        if not uri:
            return sqlite_uri(f"{local_path(runs, 'runs')}/mlflow.db")
        if uri.startswith(SQLITE):
            return uri if "?" in uri or ":memory:" in uri else sqlite_uri(sqlite_path(uri))
        if uri.startswith("databricks") or ("://" in uri and not uri.startswith("file:")):
            return uri
        path = Path(local_path(uri))
    except StorageError as error:
        raise TrackingError(f"tracking: {error}") from error
    return sqlite_uri(str(path)) if path.suffix in (".db", ".sqlite") else path.as_uri()
