"""The workers of a training: how many, what each reserves, and whether the cluster has room for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from ray.train import ScalingConfig

from cluster.waiting import amount, fits
from pipelines.config.train import RunSettings
from pipelines.training import TrainingError


def wanted(settings: RunSettings) -> list[dict[str, float]]:
    """What the workers will reserve, and a CPU for decoding."""
    chosen = settings.scaling
    worker = {"CPU": chosen.cpus_per_worker or 1.0} | ({"GPU": 1.0} if chosen.gpu == "true" else {})
    return [worker] * chosen.workers + [{"CPU": 1.0}]


def scaling_config(settings: RunSettings, resources: dict[str, float]) -> ScalingConfig:
    """Workers and what each reserves, from the settings and what the cluster has.

    Raises:
        TrainingError: the cluster cannot hold the workers.
    """
    chosen, cpus, gpus = settings.scaling, resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    fewest = chosen.min_workers or chosen.workers
    use_gpu = chosen.gpu == "true" or (chosen.gpu == "auto" and gpus >= fewest)
    # One CPU stays free for decoding.
    share = chosen.cpus_per_worker or min(1.0, max(cpus - 1, 0) / chosen.workers)
    if share * fewest > cpus - 0.25 or share <= 0:
        setting = "min_workers" if chosen.min_workers else "workers"
        raise TrainingError(
            f"scaling.{setting}: {fewest} workers do not fit the cluster's {cpus:g} CPUs beside the decoding; "
            "take fewer workers, or fewer CPUs for each with --scaling.cpus_per_worker, or wait for machines that an "
            "autoscaler brings with --cluster.wait_minutes"
        )
    if use_gpu and gpus < fewest:
        raise TrainingError(
            f"scaling.gpu: {fewest} workers want a GPU each, the cluster has {gpus:g}; take fewer workers, or "
            "wait for machines that an autoscaler brings with --cluster.wait_minutes"
        )
    if use_gpu and chosen.replace_lost:
        raise TrainingError(
            "scaling.replace_lost: on GPUs workers do not notice at once that another is lost; leave it at false, or "
            "train on CPUs with --scaling.gpu false"
        )
    workers = (chosen.min_workers, chosen.workers) if chosen.is_elastic else chosen.workers
    return ScalingConfig(
        num_workers=workers,  # type: ignore[arg-type]  # of Train V2
        use_gpu=use_gpu,
        resources_per_worker={"CPU": share},
        elastic_resize_monitor_interval_s=chosen.grow_every,  # type: ignore[call-arg]  # of Train V2
    )


def refuse_too_large(scaling: ScalingConfig, machines: Sequence[dict[str, float]]) -> None:
    """See that the workers have room on the machines, whoever uses those now; each must be on one of them.

    Raises:
        TrainingError: they never would.
    """
    asked: Any = scaling.num_workers
    fewest = asked[0] if isinstance(asked, tuple) else asked or 1
    each = worker_resources(scaling)
    if not fits([each] * fewest, machines):
        raise TrainingError(
            f"scaling.cpus_per_worker: {fewest} workers with {amount(each)} each do not fit on the cluster's machines, "
            f"which have {', '.join(filter(None, map(amount, machines)))}; take fewer workers, or fewer CPUs for each"
        )


def worker_resources(scaling: ScalingConfig) -> dict[str, float]:
    """What one worker reserves; its streams, its validation and its own threads all live on that."""
    reserved = cast(dict[str, float], scaling.resources_per_worker or {})
    return reserved | ({"GPU": 1.0} if scaling.use_gpu else {})
