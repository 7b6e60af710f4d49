"""Leases in a real S3 server: one wins, silent holders are followed by the server's clock, lost answers do no harm."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, replace

import pytest

from cluster import lease
from cluster.lease import Holder, LeaseError, held
from cluster.storage import LEASE, list_files, s3_client
from tests.integration.conftest import Stack, use_environment, wait_for
from tests.integration.unreliable import Request, Trouble, UnreliableServer

BUCKET = "leases"


@pytest.fixture(scope="module")
def bucket(stack: Stack) -> str:
    with pytest.MonkeyPatch.context() as patch:
        use_environment(patch, stack.environment)
        s3_client().create_bucket(Bucket=BUCKET)
    return BUCKET


@pytest.fixture
def server(stack: Stack, bucket: str, proxy: UnreliableServer, monkeypatch: pytest.MonkeyPatch) -> UnreliableServer:
    """The proxy, calm, for this process; a lease lasts 3 s."""
    proxy.calm()
    use_environment(monkeypatch, stack.environment | {"AWS_ENDPOINT_URL": proxy.url, "AWS_MAX_ATTEMPTS": "2"})
    for name, seconds in (("TTL", 3.0), ("BEAT", 1.0), ("LOOK", 0.2), ("SETTLE", 2.0)):
        monkeypatch.setattr(lease, f"{name}_SECONDS", seconds)
    return proxy


def found(prefix: str) -> Holder | None:
    client = s3_client()
    try:
        return Holder.of(client.get_object(Bucket=BUCKET, Key=f"{prefix}/{LEASE}")["Body"].read())
    except client.exceptions.NoSuchKey:
        return None


def elsewhere(prefix: str) -> None:
    """The lease of a process on another machine."""
    holder = replace(Holder.here(), machine="another", host="box", user="anna", process=7, since="2026-01-02 03:04:05")
    s3_client().put_object(Bucket=BUCKET, Key=f"{prefix}/{LEASE}", Body=json.dumps(asdict(holder)).encode())


def test_of_many_at_once_one_wins_and_nobody_sees_its_lease_as_a_file(server: UnreliableServer):
    outcomes, reasons, gate, ended = list[str](), list[str](), threading.Barrier(5), threading.Event()

    def rival() -> None:
        gate.wait()
        try:
            with held(f"s3://{BUCKET}/many", lost=reasons.append):
                outcomes.append("held")
                ended.wait(30)
        except LeaseError:
            outcomes.append("refused")

    rivals = [threading.Thread(target=rival) for _ in range(5)]
    for each in rivals:
        each.start()
    wait_for(lambda: len(outcomes) == 5, 60, "five outcomes")
    assert list(list_files(f"s3://{BUCKET}/many")) == [] and found("many") is not None
    ended.set()
    for each in rivals:
        each.join()
    assert sorted(outcomes) == ["held"] + ["refused"] * 4 and found("many") is None and reasons == []


def test_a_silent_holder_is_followed_and_notices_when_it_is_heard_of_again(
    server: UnreliableServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    elsewhere("silent")
    reasons = list[str]()
    with held(f"s3://{BUCKET}/silent", lost=reasons.append):
        assert "held by process 7 of anna on box since 2026-01-02 03:04:05 UTC; seeing" in capsys.readouterr().out
        mine = found("silent")
        assert mine and mine.host != "box"
        renewed = s3_client().head_object(Bucket=BUCKET, Key=f"silent/{LEASE}")["LastModified"]
        wait_for(
            lambda: s3_client().head_object(Bucket=BUCKET, Key=f"silent/{LEASE}")["LastModified"] > renewed,
            20,
            "a beat",
        )
        monkeypatch.setattr(lease, "BEAT_SECONDS", 1000.0)  # it falls asleep
        time.sleep(1)
        elsewhere("silent")
        monkeypatch.setattr(lease, "BEAT_SECONDS", 0.5)
        wait_for(lambda: bool(reasons), 20, "the loss to be noticed")
    assert "was taken over by process 7 of anna on box" in reasons[0]
    assert found("silent").host == "box"  # type: ignore[union-attr]


def test_a_holder_that_renews_is_left_alone(server: UnreliableServer):
    elsewhere("renewed")

    def renew() -> None:
        for _ in range(5):  # the store tells whole seconds, and may take one to write
            time.sleep(0.5)
            elsewhere("renewed")

    thread = threading.Thread(target=renew)
    thread.start()
    with pytest.raises(LeaseError) as refused, held(f"s3://{BUCKET}/renewed"):
        pytest.fail("two hold one place")
    thread.join()
    assert "renewed is in use by process 7 of anna on box" in str(refused.value)


def test_answers_that_are_lost_and_an_outage_cost_nothing(server: UnreliableServer, capsys: pytest.CaptureFixture[str]):
    unheard = iter([Trouble(unheard=True)] * 2)
    server.trouble = lambda request: next(unheard, None) if request.method in ("PUT", "DELETE") else None
    reasons = list[str]()
    with held(f"s3://{BUCKET}/troubled", lost=reasons.append):
        mine = found("troubled")

        def down(request: Request) -> Trouble | None:
            return Trouble(status=503)

        server.trouble = down
        said = list[str]()
        wait_for(lambda: said.append(capsys.readouterr().err) or "cannot be renewed" in "".join(said), 90, "the outage")
        server.calm()
        wait_for(lambda: any(request.method == "PUT" for request in server.seen), 90, "the next beat")
        assert found("troubled") == mine
        server.trouble = lambda request: Trouble(unheard=True) if request.method == "DELETE" else None
    server.calm()
    assert reasons == [] and found("troubled") is None
