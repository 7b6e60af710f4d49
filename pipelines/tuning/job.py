"""A sweep, seen from the driver: trials as trainings of their own, the bad ones stopped early, the best one told."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

from ray.train import ScalingConfig
from rich.console import Console

from cluster.connect import connect, nodes
from cluster.lasting import refuse_throwaway, refuse_unshared
from cluster.lease import held
from cluster.storage import StorageError
from lle.prior.weights import check_prior
from pipelines.config.loading import of_a_run
from pipelines.data.pinned import photos_of_run
from pipelines.job import AGAIN
from pipelines.reporting.closing import command, record_of, shown, there
from pipelines.signals import rearm
from pipelines.tracking.runs import TrackedRun, log_files, tag_run
from pipelines.training import TrainingError
from pipelines.training.checkpoints import forget
from pipelines.training.job import check_own_code, tell_photos, with_sample_photos
from pipelines.training.record import tracked_run
from pipelines.training.run_folder import begun, new_folder, written_places
from pipelines.training.scaling import refuse_too_large, scaling_config
from pipelines.tuning.report import Tried, print_trials, write_plots
from pipelines.tuning.search_space import Plan, remember, remembered, trial_settings
from pipelines.tuning.tuner import metric_of, run_trials

BEST = "best.yaml"


def run(plan: Plan) -> None:
    """`search_settings` with its progress on stdout; raises what that does."""
    check_prior(plan.training.settings.prior)
    search_settings(plan, Console(soft_wrap=True, highlight=False, markup=False))


def how_to_go_on(plan: Plan) -> str:
    """What to do after a stop."""
    if not remembered(plan.folder):
        return f"no trial had begun yet, and nothing is kept: {AGAIN}"
    resume = command("tune", "--resume", "--name", plan.sweep.name, "--runs", shown(plan.folder.parent))
    return f"continue with --resume --name {plan.sweep.name}: {resume}"


def search_settings(plan: Plan, console: Console) -> list[Tried]:
    """Run the trials that are left, and leave `runs/NAME/` with the best settings and the plots behind.

    A sweep that is finished stays as it is.

    Args:
        plan: a checked sweep.
        console: where progress and results go.

    Returns:
        All trials, the best first; none where it was finished.

    Raises:
        DataError, ClusterError, StorageError, TrackingError, TrainingError: one sentence each.
        KeyboardInterrupt, SystemExit: it was stopped by a signal, and can be resumed.
    """
    refuse_throwaway(written_places(plan.training.settings))
    if plan.resume and (plan.folder / BEST).exists():
        console.print(f"{plan.sweep.name} is finished, and stays as it is; for another search choose another --name")
        console.print(closing_lines(plan))
        return []
    check_own_code(plan.training.settings)
    checkpoints = plan.training.settings.checkpoints
    with sweep_folder(plan) as folder, held(str(folder), f"{checkpoints or folder.parent}/{folder.name}"):
        settings = plan.training.settings.model_copy(update={"runs": str(folder.parent)})  # trials run in other folders
        settings = with_sample_photos(settings, folder, console)
        photos = photos_of_run(
            settings.model_copy(update={"name": plan.sweep.name, "resume": plan.resume}), str(folder)
        )
        tell_photos(photos, console)
        metric = metric_of(settings, photos)
        console.print("starting Ray and MLflow ...")
        with connect(settings.cluster.address, cpus=settings.scaling.workers + 2) as resources:
            rearm()  # over the handler that Ray has just installed
            scaling = scaling_config(settings, resources)
            refuse_too_large(scaling, nodes())
            refuse_unshared("runs", settings.runs)  # trials write there, wherever they run
            at_once = concurrent_trials(plan, scaling, resources)
            named = settings.model_copy(update={"name": plan.sweep.name, "resume": plan.resume})
            with tracked_run(named, photos, folder, tell=console.print) as parent:
                if not plan.resume:
                    remember(plan, of_a_run(settings, plan.training))
                shared = replace(plan.training, settings=settings)
                console.print(f"{plan.sweep.trials} trials, {at_once} at once; the measure is {metric}")
                tried = run_trials(plan, shared, photos, parent, scaling, at_once, console)
                conclude(plan, tried, parent, metric, console)
                return tried


@contextmanager
def sweep_folder(plan: Plan) -> Iterator[Path]:
    """`runs/NAME`, new or, to resume, the one that is there; removed again when no trial was started in it.

    Raises:
        TrainingError: it exists.
    """
    folder, elsewhere = plan.folder, plan.training.settings.checkpoints
    way_on = ", or continue it with --resume"
    made = new_folder(folder, plan.resume, lambda: way_on if remembered(folder) else "")
    marked = ""
    try:
        if elsewhere and not plan.resume:  # or trials would go on from those of an older sweep
            begun(f"{elsewhere.rstrip('/')}/{folder.name}", folder.name)
            marked = f"{elsewhere.rstrip('/')}/{folder.name}"
        yield folder
    except BaseException:
        if made and not remembered(folder):
            with suppress(StorageError):
                if marked:
                    forget(marked)
                shutil.rmtree(folder, ignore_errors=True)
        raise


def concurrent_trials(plan: Plan, scaling: ScalingConfig, resources: dict[str, float]) -> int:
    """Trials at once: what the cluster holds, or fewer where fewer were asked for.

    Raises:
        TrainingError: more were asked for than fit.
    """
    workers = plan.training.settings.scaling.workers
    share = cast(dict[str, float], scaling.resources_per_worker)["CPU"]
    each = workers * share
    fits = int((resources.get("CPU", 0) - 0.25) / each)
    if scaling.use_gpu:
        fits = min(fits, int(resources.get("GPU", 0) / workers))
    wanted = plan.sweep.concurrent
    if wanted > fits or not fits:
        raise TrainingError(
            f"concurrent: {max(wanted, 1)} trials of {workers} workers with {share:g} CPUs each do not fit the cluster "
            f"({resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs), which holds {fits}; "
            "ask for fewer, or for less with --scaling.workers or --scaling.cpus_per_worker"
        )
    return min(wanted or fits, plan.sweep.trials)


def conclude(plan: Plan, tried: list[Tried], parent: TrackedRun, metric: str, console: Console) -> None:
    """Table, plots, and the best settings as a file for `train.py --preset`.

    Raises:
        TrainingError: no trial has a value.
    """
    print_trials(console, tried, metric)
    if tried[0].value is None:
        raise TrainingError(f"no trial came as far as a validation; the first failed with: {tried[0].reason}")
    best = trial_settings(tried[0].drawn, plan.training, plan.sweep.name)
    write_plots(plan, tried, parent, metric)
    title = f"# {tried[0].name}: {metric} {tried[0].value:.4f}\n"
    best_yaml = title + of_a_run(best.settings, best)
    (plan.folder / BEST).write_text(best_yaml, encoding="utf-8")  # last of all
    log_files(parent, plan.folder)
    tag_run(parent, {"sweep.best": tried[0].name, "sweep.best_run_id": tried[0].run_id})
    console.print(f"MLflow      {record_of(parent)}")
    console.print(closing_lines(plan))


def closing_lines(plan: Plan) -> str:
    """Where the best settings of a finished sweep lie, and what to do with them and with the model they gave."""
    file = plan.folder / BEST
    name = file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").partition(":")[0]
    data = plan.training.settings.data
    photos = data.dark or (str(plan.folder / "photos" / "dark"),)
    enhance = ["--model", shown(plan.folder / name / "model"), "--input", *map(there, photos)]
    return "\n".join(
        [
            f"settings    {shown(file)}",
            f"again       {command('train', '--preset', shown(file))}",
            f"its model   {command('enhance', *enhance, '--output', shown(plan.folder / 'enhanced'))}",
        ]
    )
