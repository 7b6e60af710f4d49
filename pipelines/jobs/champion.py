"""Who is champion in MLflow's registry: read, moved and moved back, by one promotion at a time."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from cluster.redaction import redacted
from pipelines.jobs.tracking import TrackingError, client_of, first_line, quieten

REPLACED = "lle.replaced_champion"
"""Tag of a version: the champion before it, empty for the first."""
DECISION = "lle.promotion_run"
"""Tag of a version: the run of MLflow that tells why it became champion."""
EVALUATION_SET = "lle.evaluation_set"
"""Tag of the registered model: SHA-256 of the photos of its last promotion."""
LOCK = "-promotion-lock"
LOCK_SECONDS = 30.0


class PromotionError(RuntimeError):
    """Nobody becomes champion, and everything stays as it was; the message says why."""


@dataclass(frozen=True)
class Registry:
    """One registered model of a tracking server, and the alias of its champion.

    Every method raises TrackingError where nobody answers.
    """

    uri: str
    name: str
    alias: str

    @property
    def champion(self) -> str:
        """Version of the champion; empty where there is none yet."""
        return self._champion(self._read())

    @property
    def evaluation_set(self) -> str:
        """SHA-256 of the photos of the last promotion; empty before the first."""
        return str(self._read().tags.get(EVALUATION_SET, ""))

    def version(self, which: str) -> str:
        """The version with an alias or number.

        Raises:
            PromotionError: there is none.
        """
        registered = self._read()
        version = registered.aliases.get(which, which)
        with self._answering():
            try:
                return str(self._client.get_model_version(self.name, version).version)
            except MlflowException as error:
                if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    raise
        known = ", ".join(sorted(registered.aliases)) or "none"
        raise PromotionError(
            f"candidate: {self.name} has no version or alias {which} (its aliases: {known}); name one, or register one "
            "with pipelines/train.py"
        )

    def promote(self, version: str, over: str, evaluation_set: str, run_id: str) -> None:
        """Make a version champion.

        Args:
            version: the new champion.
            over: the version it was compared with; empty where there was no champion.
            evaluation_set, run_id: kept beside it, see the tags above.

        Raises:
            PromotionError: another became champion meanwhile, or another promotion does not end.
        """
        with self._locked(), self._answering():
            present = self._champion(self._read())
            if present != over:
                raise PromotionError(
                    f"champion: version {present or 'none'} became champion while version {version} was compared with "
                    f"{over or 'the input'}; nothing was changed, run it again to compare with the new one"
                )
            self._client.set_model_version_tag(self.name, version, REPLACED, over)
            self._client.set_model_version_tag(self.name, version, DECISION, run_id)
            self._client.set_registered_model_tag(self.name, EVALUATION_SET, evaluation_set)
            self._client.set_registered_model_alias(self.name, self.alias, version)

    def roll_back(self) -> tuple[str, str]:
        """Make the version champion that the present one replaced.

        Returns:
            The versions that were and now are champion.

        Raises:
            PromotionError: there is no champion, nothing before it, or another promotion does not end.
        """
        with self._locked(), self._answering():
            present = self._champion(self._read())
            if not present:
                raise PromotionError(f"rollback: {self.name} has no champion yet; promote a version first")
            previous = self._client.get_model_version(self.name, present).tags.get(REPLACED, "")
            if not previous:
                raise PromotionError(f"rollback: version {present} of {self.name} replaced nobody as champion")
            self._client.set_registered_model_alias(self.name, self.alias, previous)  # refused if it was deleted
        return present, previous

    @property
    def _client(self) -> MlflowClient:
        return client_of(self.uri)

    def _read(self) -> RegisteredModel:
        with self._answering():
            try:
                return self._client.get_registered_model(self.name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                raise PromotionError(
                    f"model: {redacted(self.uri)} has no registered model {self.name}; check the name and "
                    "--tracking, or register one with pipelines/train.py"
                ) from error

    def _champion(self, registered: RegisteredModel) -> str:
        return str(registered.aliases.get(self.alias, ""))

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """What MLflow raises, as one sentence."""
        quieten()
        try:
            yield
        except (PromotionError, TrackingError):
            raise
        except Exception as error:
            raise TrackingError(
                f"tracking: MLflow at {redacted(self.uri)} refuses or is gone ({first_line(error)})"
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among all promotions of this model: names of registered models are unique, and the data base sees to
        it, so whoever has made the one with this name holds the lock.
        """
        lock = f"{self.name}{LOCK}"
        holder = f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        deadline = time.monotonic() + LOCK_SECONDS
        while not self._take(lock, holder):
            if time.monotonic() > deadline:
                raise PromotionError(
                    f"another promotion of {self.name} does not end ({self._holder(lock)}); if it died, delete the "
                    f"registered model {lock}"
                )
            time.sleep(0.2)
        try:
            yield
        finally:
            with self._answering():
                self._client.delete_registered_model(lock)

    def _take(self, lock: str, holder: str) -> bool:
        with self._answering():
            try:
                self._client.create_registered_model(lock, description=holder)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                return False
            return True

    def _holder(self, lock: str) -> str:
        with suppress(MlflowException):
            return str(self._client.get_registered_model(lock).description)
        return "its holder is unknown"
