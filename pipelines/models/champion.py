"""Who is champion in MLflow's registry: read, moved and moved back, by one promotion at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from cluster.lease import Holder
from cluster.redaction import redacted
from pipelines.job import UserError
from pipelines.tracking.address import TrackingError
from pipelines.tracking.runs import client_of, first_line, quieten

REPLACED = "lle.replaced_champion"
"""Tag of a version: the champion before it, empty for the first."""
DECISION = "lle.promotion_run"
"""Tag of a version: the run of MLflow that tells why it became champion."""
EVALUATION_SET = "lle.evaluation_set"
"""Tag of the registered model: SHA-256 of the photos of its last promotion."""
LAST = "lle.last_"
"""Tag of the registered model, with the alias behind it: version of the last champion, which may be deleted since."""
GONE = "RESOURCE_DOES_NOT_EXIST"
LOCK = "-promotion-lock"
HOLDER = "lle.holder"
"""Tag of the lock: whose it is."""
LOCK_SECONDS = 60.0
"""Nobody holds the lock for longer: it is there for a handful of requests."""
PATIENCE_SECONDS = 300.0
RELEASE_SECONDS = 15.0
LOOK_SECONDS = 0.2
SETTLE_SECONDS = 2.0  # before looking whether one of two that took a lock over has removed the other's

_held = set[str]()  # tokens of the locks that this process means to hold


class PromotionError(UserError):
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
    def deleted_champion(self) -> str:
        """Version of the last champion, where it is champion no more because it was deleted; else empty."""
        registered = self._read()
        last = str(registered.tags.get(f"{LAST}{self.alias}", ""))
        return last if last and not self._champion(registered) and not self._exists(last) else ""

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
        if self._exists(version):
            return str(version)
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
        with self._locked() as lock, self._answering():
            present = self._champion(self._read())
            if present != over:
                happened = f"version {present} became" if present else f"version {over} was deleted or is no longer"
                raise PromotionError(
                    f"champion: {happened} champion while version {version} was compared with "
                    f"{over or 'the input'}; nothing was changed, run it again to compare anew"
                )
            if not self._exists(version):
                raise PromotionError(f"candidate: version {version} of {self.name} was deleted; promote another")
            self._client.set_model_version_tag(self.name, version, REPLACED, over)
            self._client.set_model_version_tag(self.name, version, DECISION, run_id)
            self._client.set_registered_model_tag(self.name, EVALUATION_SET, evaluation_set)
            self._move_alias(version, lock)

    def roll_back(self) -> tuple[str, str]:
        """Make the version champion that the present one replaced.

        Returns:
            The versions that were and now are champion.

        Raises:
            PromotionError: there is no champion, nothing before it, or another promotion does not end.
        """
        self.way_back()  # or a lock would be made for nothing
        with self._locked() as lock, self._answering():
            present, previous = self.way_back()
            self._move_alias(previous, lock)
        return present, previous

    def way_back(self) -> tuple[str, str]:
        """The champion, and the version that it replaced.

        Raises:
            PromotionError: there is no champion, nothing before it, or one of them was deleted.
        """
        present = self.champion
        if not present and self.evaluation_set:
            deleted = self.deleted_champion
            happened = f"version {deleted}, was deleted" if deleted else "which was deleted or has lost its alias"
            raise PromotionError(
                f"rollback: the champion of {self.name}, {happened}; what it replaced is not known any more; "
                "promote a version with --candidate VERSION"
            )
        if not present:
            raise PromotionError(f"rollback: {self.name} has no champion yet; promote a version first")
        with self._answering():
            previous = str(self._client.get_model_version(self.name, present).tags.get(REPLACED, ""))
        if not previous:
            raise PromotionError(f"rollback: version {present} of {self.name} replaced nobody as champion")
        if not self._exists(previous):
            raise PromotionError(
                f"rollback: version {previous} of {self.name}, which version {present} had replaced, was deleted; "
                f"version {present} stays champion until another is promoted with --candidate VERSION"
            )
        return present, previous

    @property
    def _client(self) -> MlflowClient:
        return client_of(self.uri)

    def _read(self) -> RegisteredModel:
        with self._answering():
            try:
                return self._client.get_registered_model(self.name)
            except MlflowException as error:
                if error.error_code != GONE:
                    raise
                raise PromotionError(
                    f"model: {redacted(self.uri)} has no registered model {self.name}; check the name and "
                    "--tracking.uri, or register one with pipelines/train.py"
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

    def _exists(self, version: str) -> bool:
        with self._answering():
            try:
                self._client.get_model_version(self.name, version)
            except MlflowException as error:
                if error.error_code not in (GONE, "INVALID_PARAMETER_VALUE"):
                    raise
                return False
            return True

    def _move_alias(self, version: str, lock: Lock) -> None:
        """Make a version champion, if the lock is still ours."""
        self._client.set_registered_model_tag(self.name, f"{LAST}{self.alias}", version)
        if not lock.is_ours():
            raise PromotionError(
                f"champion: the lock of {self.name} was taken over, for MLflow was too slow; nobody became champion, "
                "run it again"
            )
        try:
            self._client.set_registered_model_alias(self.name, self.alias, version)
        except Exception:  # the answer may be all that was lost
            if self.champion != version:
                raise

    @contextmanager
    def _locked(self) -> Iterator[Lock]:
        """Alone among all promotions of this model."""
        lock = Lock(self._client, f"{self.name}{LOCK}")
        with self._answering():
            try:
                lock.take()
                yield lock
            finally:
                lock.give_back()


class Lock:
    """A registered model that is there as long as somebody works: names of registered models are unique, and the data
    base sees to it, so whoever has made the one with this name holds the lock. One that stays behind is taken over.

    Args:
        client: of the tracking server.
        name: of the registered model.
    """

    def __init__(self, client: MlflowClient, name: str) -> None:
        self._client, self._name, self._ours = client, name, Holder.here()

    def take(self) -> None:
        """Wait until it is ours.

        Raises:
            PromotionError: others hold it, one after the other, all the time.
            MlflowException: nobody answers.
        """
        _held.add(self._ours.token)
        end, watched, since = time.monotonic() + PATIENCE_SECONDS, "", time.monotonic()
        while not self._make():
            holder, token = self._holder()
            if token == self._ours.token:  # whatever was heard of the request for it
                return
            if token != watched:
                watched, since = token, time.monotonic()
            if token and (_is_dead(holder) or time.monotonic() > since + LOCK_SECONDS):
                self._delete()
                if self._make():
                    time.sleep(SETTLE_SECONDS)
                    if self.is_ours():
                        return
            if time.monotonic() > end:
                raise PromotionError(f"other promotions do not end ({holder} holds {self._name}); try again later")
            time.sleep(LOOK_SECONDS)

    def is_ours(self) -> bool:
        """Whether nobody has taken it over."""
        return self._holder()[1] == self._ours.token

    def give_back(self) -> None:
        """Remove it, if it is ours; where nobody answers it stays, and the next promotion takes it over."""
        end = time.monotonic() + RELEASE_SECONDS
        while True:
            try:
                if self.is_ours():
                    self._delete()
                break
            except Exception:
                if time.monotonic() > end:
                    break
                time.sleep(LOOK_SECONDS)
        _held.discard(self._ours.token)

    def _make(self) -> bool:
        tags = {HOLDER: json.dumps(asdict(self._ours))}
        try:
            self._client.create_registered_model(self._name, tags=tags, description=f"held by {self._ours}")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return False
        return True

    def _holder(self) -> tuple[Holder, str]:
        """Who holds it, and a text that no two locks have in common, empty where nobody does."""
        try:
            found = self._client.get_registered_model(self._name)
        except MlflowException as error:
            if error.error_code != GONE:
                raise
            return Holder.of(b""), ""
        holder = Holder.of(str(found.tags.get(HOLDER, "")).encode())
        return holder, holder.token or f"made {found.creation_timestamp}"

    def _delete(self) -> None:
        try:
            self._client.delete_registered_model(self._name)
        except MlflowException as error:
            if error.error_code != GONE:
                raise


def _is_dead(holder: Holder) -> bool:
    """Of a holder on this machine: whether its process has ended, or has given up on the lock and is this very one."""
    if not holder.is_here:
        return False
    own = Holder.here()
    mine = (holder.process, holder.started) == (own.process, own.started)
    return holder.token not in _held if mine else not holder.lives
