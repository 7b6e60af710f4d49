"""Text that may be shown: without the passwords of URIs and the keys of the environment."""

from __future__ import annotations

import os
import re

SECRETS = (
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN",
    "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "RAY_AUTH_TOKEN",
)  # fmt: skip
PASSWORDS = re.compile(r"(://)[^/\s]*@|\b((?:password|token|secret)=)[^&\s]+", re.IGNORECASE)


def redacted(text: str) -> str:
    """A text with `...` in place of user and password in URIs, of passwords in their queries, and of the keys that
    the environment holds.
    """
    for name in SECRETS:
        if secret := os.environ.get(name):
            text = text.replace(secret, "...")
    return PASSWORDS.sub(lambda found: f"{found[1]}...@" if found[1] else f"{found[2]}...", text)


def without_password(uri: str) -> str:
    """An address without its password, so that it may be written down; the user of a data base stays in it."""
    uri = re.sub(r"^(https?://)[^/\s]*@", r"\1", uri, flags=re.IGNORECASE)
    uri = re.sub(r"(://[^/:@\s]*):[^/\s]*@", r"\1@", uri)
    return re.sub(r"(?<=[?&])(?:password|token|secret)=[^&\s]*&?", "", uri, flags=re.IGNORECASE).rstrip("?&")
