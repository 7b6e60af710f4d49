"""Settings that several jobs share."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator


def _without_password(uri: str) -> str:
    if re.search(r"^https?://[^/]*@|://[^/]*:[^/]*@|\b(password|token|secret)=", uri, re.IGNORECASE):
        raise ValueError(
            "holds a password, which every record of the run would repeat; leave it out, and export "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or the whole URI as MLFLOW_TRACKING_URI"
        )
    return uri


TrackingUri = Annotated[str, AfterValidator(_without_password)]
