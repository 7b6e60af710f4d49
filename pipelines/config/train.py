"""A training as a job: the method's settings, and where it runs and is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import model_validator

from lle.config.fields import Settings, setting
from lle.config.train import TrainSettings
from pipelines.config.fields import Cluster, Experiment


class ScalingSettings(Settings):
    """Workers of the distributed training."""

    workers: int = setting(1, "Ray Train workers, one process each.", unit="workers", ge=1, le=4096)
    min_workers: int = setting(
        0,
        "Workers that training begins and goes on with while machines are missing; 0: always `workers`. What is left "
        "of a batch that their number does not divide is left out of the step.",
        unit="workers",
        ge=0,
        le=4096,
    )
    gpu: Literal["auto", "true", "false"] = setting(
        "auto", "auto: a GPU for each worker where the cluster has that many, or `min_workers`."
    )
    cpus_per_worker: float = setting(
        0.0,
        "CPUs reserved for each worker; 0: what the cluster has, shared out, one at most.",
        unit="CPUs",
        ge=0,
        le=256,
    )
    threads_per_worker: int = setting(
        0,
        "torch threads of a worker; 0: the cores of its machine divided by the workers.",
        unit="threads",
        ge=0,
        le=256,
    )
    max_failures: int = setting(
        2, "Times a lost worker is replaced and training goes on from the last checkpoint.", ge=0, le=1000
    )
    replace_lost: bool = setting(
        False,
        "A lost worker is replaced alone: the others wait for the new one as long as `hang_limit`, hand it what they "
        "hold, and go on with the step that failed. On CPUs, with a fixed number of workers.",
        needs="scaling.workers!=1",
    )
    grow_every: float = setting(
        60.0,
        "How often training with fewer than `workers` looks for machines that came; it goes on with them from its last "
        "checkpoint.",
        unit="s",
        ge=1,
        le=86400,
    )
    hang_limit: float = setting(
        1800.0,
        "Time without a step after which a worker counts as hung: it says where it stood, ends, and is replaced.",
        unit="s",
        ge=1,
        le=86400,
    )

    @property
    def is_elastic(self) -> bool:
        """Whether the number of workers may change during a training."""
        return 0 < self.min_workers < self.workers

    @model_validator(mode="after")
    def _fewest_and_most(self) -> ScalingSettings:
        if self.min_workers > self.workers:
            raise ValueError(
                f"scaling.min_workers: {self.min_workers} is more than scaling.workers ({self.workers}); choose fewer"
            )
        if self.replace_lost and self.is_elastic:
            raise ValueError(
                "scaling.replace_lost: the others wait for a new worker where one is lost, so their number stays; "
                "leave scaling.min_workers at 0, or this at false"
            )
        return self


class TrackingSettings(Experiment):
    """The record in MLflow."""

    model_name: str = setting("lle-enhancer", "Registered model.", min_length=1, max_length=250)
    alias: str = setting(
        "challenger", "Alias the new version gets.", min_length=1, max_length=250, pattern=r"^[a-zA-Z0-9_-]+$"
    )
    register_model: bool = setting(True, "Register the trained model.")
    terms: str = setting(
        "", "Who may use the trained model for what, for its card; empty: the card says that nobody stated it."
    )
    pictures: int = setting(4, "Validation pictures in each before/after grid.", unit="pictures", ge=1, le=64)


class ClusterSettings(Cluster):
    """Where it runs."""

    wait_minutes: float = setting(
        0.0,
        "How long a training waits for machines that the cluster's autoscaler brings; 0: it takes what is there.",
        unit="minutes",
        ge=0,
        le=1440,
    )


class RunSettings(TrainSettings):
    """A training as a job: what it does, where it runs, and where its record goes."""

    name: str = setting(
        "", "Name of the run and its folder; empty: preset and time.", pattern=r"^[A-Za-z0-9._-]{0,100}$"
    )
    runs: str = setting(
        "runs",
        "Folder that holds the run folders; with several machines, one that all of them see, or name `checkpoints`.",
        unit="folder or URI",
        min_length=1,
    )
    checkpoints: str = setting(
        "",
        "Folder or s3:// prefix for checkpoints, one folder each run; empty: the run's folder. Machines that share no "
        "file system need an object store.",
        unit="folder or URI",
    )
    resume: bool = setting(False, "Continue the run `name` from its last checkpoint.", needs="name!=")
    init_from: str = setting(
        "",
        "Model whose weights the network begins with, of the same `enhancer` settings: bundled, models:/NAME@ALIAS, "
        "runs:/ID, published:NAME=FILE, or the folder of a saved model; empty: a fresh network.",
        unit="model",
    )
    rests: tuple[str, ...] = setting(
        (),
        "Parts of that model that stay as they are, by name, such as denoiser; what it does not have is left out, and "
        "a fresh network learns whole.",
        source="ours",
    )
    scaling: ScalingSettings = setting(ScalingSettings(), "Workers.")
    tracking: TrackingSettings = setting(TrackingSettings(), "MLflow.")
    cluster: ClusterSettings = setting(ClusterSettings(), "Ray.")

    RENAMED: ClassVar[Mapping[str, str]] = {
        "data.pairs_low": "data.pairs_dark",
        "data.pairs_high": "data.pairs_truth",
        "enhancer.kind": "enhancer.arch",
        "enhancer.look": "enhancer.thumbnail_size",
        "optimiser.decay": "optimiser.lr_schedule",
        "loop.measure": "loop.metric",
        "schedule.least_gap": "schedule.min_gap",
    }

    @property
    def resting(self) -> tuple[str, ...]:
        """Parts of the enhancer that do not learn."""
        return self.rests if self.init_from else ()

    @model_validator(mode="after")
    def _fits_its_workers(self) -> RunSettings:
        micro = self.scaling.workers * self.optimiser.accumulate
        for name in ("enhancement", "prompts"):
            if (size := getattr(self.batch, name)) % micro:
                raise ValueError(
                    f"batch.{name}: {size} pictures cannot be shared equally by {self.scaling.workers} workers x "
                    f"{self.optimiser.accumulate} micro-batches (scaling.workers, optimiser.accumulate); "
                    f"choose a multiple of {micro}"
                )
        if "denoiser" in self.resting and self.phases.denoising.steps:
            raise ValueError(
                "rests: the denoiser is what the phase denoising teaches; leave it out, or skip the phase with "
                "schedule.denoising.steps 0"
            )
        if self.resume and not self.name:
            raise ValueError("resume: say which run to continue with --name")
        return self
