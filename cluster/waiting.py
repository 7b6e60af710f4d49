"""What a job on a shared cluster waits for, and who holds it: a line every so often, instead of silence."""

from __future__ import annotations

import os
import shlex
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cluster.redaction import redacted

Amount = dict[str, float]

TELL_SECONDS = 15.0
LOOK_SECONDS = 1.0
COUNTED = ("CPU", "GPU")
NEGLIGIBLE = 0.1  # CPUs of processes that only wait, such as a trial's own


@dataclass
class Job:
    """A driver that is connected to the cluster.

    Attributes:
        name: its program, and the id that `ray job stop` takes.
        holds: what its placement groups and actors have.
        wants: what each of those that wait asks for.
        up, workers: processes with resources of their own that have started, and all.
    """

    name: str
    holds: Amount = field(default_factory=dict)
    wants: list[Amount] = field(default_factory=list)
    up: int = 0
    workers: int = 0

    def hold(self, taken: Amount) -> None:
        """Count what one more of its groups or actors has."""
        for name, value in taken.items():
            self.holds[name] = self.holds.get(name, 0) + value


@contextmanager
def told_while_waiting(
    tell: Callable[[str], object],
    begun: Callable[[], bool] = lambda: True,
    needs: Amount | None = None,
    seconds: float = TELL_SECONDS,
) -> Iterator[None]:
    """Say, for the length of a block, what this job waits for and which jobs hold it.

    A job that holds something already, and wants more, says so once for each thing it wants.

    Args:
        tell: takes a line; called from a thread.
        begun: whether there is a result; as long as there is none, the job says also that it is starting.
        needs: the least that one part of the work takes, for work that Ray keeps no account of by job (tasks).
        seconds: between two lines.
    """
    import ray

    ended, me = threading.Event(), ray.get_runtime_context().get_job_id()

    def watch() -> None:
        started, told = time.monotonic(), set[str]()
        while not ended.wait(seconds):
            try:
                wants, line, idle = _seen(me, needs or {}, begun(), time.monotonic() - started)
            except Exception:  # Ray is going, or has no time to answer: a line less, and no harm to the job
                continue
            if line and (idle or wants not in told) and not ended.is_set():
                told.add(wants)
                tell(line)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(LOOK_SECONDS)


def _seen(me: str, needs: Amount, begun: bool, seconds: float) -> tuple[str, str, bool]:
    """What a job waits for, empty for nothing; the line to say, empty for none; whether to say it again and again."""
    import ray

    jobs = jobs_on_cluster()
    mine = jobs.get(me, Job(""))
    wants = mine.wants
    if not (wants or begun or mine.holds) and needs and not fits([needs], free_by_node()):
        wants = [needs]
    if not wants:
        up = f"{mine.up} of {mine.workers} workers are up, " if mine.workers else ""
        return "", "" if begun else f"starting: {up}{seconds:.0f} s so far ...", True
    holders = [f"{job.name}: {amount(job.holds)}" for job in jobs.values() if job.holds]
    total, free = ray.cluster_resources(), ray.available_resources()
    by_tasks = total.get("CPU", 0) - free.get("CPU", 0) - sum(job.holds.get("CPU", 0) for job in jobs.values())
    others = [job.name for number, job in jobs.items() if number != me and not (job.holds or job.wants)]
    if by_tasks > NEGLIGIBLE and others:
        holders.append(f"tasks, of {' or '.join(others)}: {amount({'CPU': by_tasks})}")
    by = f"; held by {', '.join(holders)}" if holders else ""
    names = [name for name in COUNTED if any(each.get(name) for each in wants)]
    there = ", ".join(f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}s free" for name in names)
    return listed(wants), f"waiting for {listed(wants)}: {there}{by}", not mine.holds


def jobs_on_cluster() -> dict[str, Job]:
    """The jobs that run on the connected cluster, by Ray's id, with what they hold and want.

    Tasks are not in it: Ray accounts for them by node only.
    """
    from ray._private.state import state
    from ray.core.generated import gcs_pb2 as generated

    gcs_pb2: Any = generated  # without type information
    accessor = state._connect_and_get_accessor()  # Ray's public list of states needs the dashboard
    jobs = dict[str, Job]()
    for data in accessor.get_job_table(skip_submission_job_info_field=True, skip_is_running_tasks_field=True):
        job = gcs_pb2.JobTableData.FromString(data)
        if not job.is_dead and not job.entrypoint.startswith("ray::"):  # Ray's own
            name = program(job.entrypoint)
            submission = job.config.metadata.get("job_submission_id", "")
            jobs[job.job_id.hex()] = Job(redacted(f"{name} (job {submission or job.job_id.hex()})"))
    for data in accessor.get_placement_group_table():
        group = gcs_pb2.PlacementGroupTableData.FromString(data)
        if owner := jobs.get(group.creator_job_id.hex()):
            bundles = [_counted(each.unit_resources) for each in group.bundles]
            if group.state == gcs_pb2.PlacementGroupTableData.CREATED:
                for each in bundles:
                    owner.hold(each)
            elif group.state != gcs_pb2.PlacementGroupTableData.REMOVED:
                owner.wants += [each for each in bundles if each]
    for data in accessor.get_actor_table(None, None):
        actor = gcs_pb2.ActorTableData.FromString(data)
        taken = _counted(actor.required_resources)
        owner = jobs.get(actor.job_id.hex())
        in_group = bool(actor.placement_group_id.strip(b"\xff"))  # has what its group has, under other names
        if not owner or not (taken or in_group) or actor.state == gcs_pb2.ActorTableData.DEAD:
            continue
        up = actor.state == gcs_pb2.ActorTableData.ALIVE
        owner.up, owner.workers = owner.up + up, owner.workers + 1
        if in_group:
            continue
        if up:
            owner.hold(taken)
        else:
            owner.wants.append(taken)
    for job in jobs.values():
        if max(job.holds.values(), default=0) < NEGLIGIBLE:
            job.holds.clear()
    return jobs


def fits(bundles: Sequence[Amount], nodes: Sequence[Amount]) -> bool:
    """Whether all bundles have room on the nodes together, each on one of them; the largest is placed first."""
    left = [dict(node) for node in nodes]
    for bundle in sorted(bundles, key=lambda each: (each.get("GPU", 0), each.get("CPU", 0)), reverse=True):
        room = next((node for node in left if all(node.get(name, 0) >= bundle[name] - 1e-4 for name in bundle)), None)
        if room is None:
            return False
        for name in bundle:
            room[name] = room.get(name, 0) - bundle[name]
    return True


def free_by_node() -> list[Amount]:
    """What is free on each node of the connected cluster."""
    from ray._private.state import state

    return list(state.available_resources_per_node().values())


def program(entrypoint: str) -> str:
    """The program of a command line, and nothing of its arguments, which may hold what is secret."""
    try:
        words = shlex.split(entrypoint)
    except ValueError:
        words = entrypoint.split()
    words = [word for word in words if "=" not in word and not word.startswith("-")]
    scripts = [word for word in words if word.endswith(".py")]
    return os.path.basename((scripts or words or ["a program"])[0])


def listed(bundles: Sequence[Amount]) -> str:
    """Bundles in words, such as `2 x 0.5 CPU`."""
    counts = Counter(amount(each) for each in bundles)
    return ", ".join(f"{count} x {text}" if count > 1 else text for text, count in counts.items())


def amount(resources: Amount) -> str:
    """CPUs and GPUs in words, such as `1 CPU and 1 GPU`."""
    return " and ".join(f"{round(resources[name], 2):g} {name}" for name in COUNTED if resources.get(name))


def _counted(resources: Mapping[str, float]) -> Amount:
    return {name: value for name, value in resources.items() if name in COUNTED and value}
