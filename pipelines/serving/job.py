"""Serving as a job: find the models, put the application on the cluster, keep to moved aliases, take it away again.

Ray Serve is one for a cluster, and its port too; applications of several people stand beside each other by name and
route. None of others is replaced or ended.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

import ray
from ray import serve
from ray.serve._private.client import ServeControllerClient
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException

import pipelines
from cluster.allocator import ALLOCATOR
from cluster.connect import connect
from cluster.waiting import Amount, told_while_waiting
from pipelines.config.serve import ServeSettings
from pipelines.inference.job import say
from pipelines.job import FAILED, UserError
from pipelines.models.named import ModelError, NamedModel
from pipelines.models.resolve import find_model
from pipelines.reporting.closing import IN_A_JOB
from pipelines.serving.endpoint import CANARY, CHAMPION, Endpoint
from pipelines.serving.enhancing import BATCHES, MOST_PHOTOS, Enhancing
from pipelines.tracking.address import TrackingError, tracking_uri

RUNS = "runs"
FOR_THE_ENDPOINT = 0.1  # CPUs: it passes files on
SPARE_REQUESTS = 64  # above those under way, to be told at once that they are too many
LOOK_SECONDS = 1.0
HEALTH_SECONDS = 2.0  # until a process that died is missed, and replaced
ENDING_SECONDS = 10.0  # for what is under way when a process is to end
PATIENCE = {  # with processes on a busy machine, which would be ended for being slow to start or to answer
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "30",
}
NODES_SHOWN = 3
SHOWN = 300  # characters of Ray's reasons


class ServingError(UserError):
    """The application cannot be served; the message says what to change."""

    status = FAILED


def run(settings: ServeSettings) -> None:
    """Serve until interrupted; raises what is told in one sentence."""
    tracking = tracking_uri(settings.tracking.uri, RUNS)
    models = {role: find_model(uri, tracking) for role, uri in uris_of(settings).items()}
    cores = settings.cpus * sum(processes(settings, role) for role in models)
    logging.getLogger("ray.serve").setLevel(logging.CRITICAL)  # what goes wrong is raised
    with connect(settings.cluster.address, cpus=cores + 1) as resources:
        if resources.get("CPU", 0) < cores + FOR_THE_ENDPOINT:
            raise ServingError(
                f"replicas: they want {cores} cores, and the cluster has {resources.get('CPU', 0):g}; lower "
                "--replicas, --canary.replicas or --cpus"
            )
        address = served_at(settings)
        refuse_what_is_taken(settings)
        try:
            deploy(settings, models, resources)
            open_to_requests(settings)
            say(f"{address}{settings.route}  enhances with {named(models)}; Ctrl-C ends it")
            say(f"for Prometheus: {', '.join(meters())}")
            stay(settings, models, tracking, resources)
        except (RayServeException, ray.exceptions.RayError) as error:
            raise ServingError(f"cluster.address: the cluster does not answer any more ({reason(error)})") from error
        finally:
            with suppress(RayServeException, ray.exceptions.RayError, TimeoutError):  # it may be gone already
                for name in own_applications(settings):
                    serve.delete(name)


def uris_of(settings: ServeSettings) -> dict[str, str]:
    """The models' URIs by what they are for."""
    return {CHAMPION: settings.model} | ({CANARY: settings.canary.model} if settings.canary.model else {})


def processes(settings: ServeSettings, role: str) -> int:
    """How many enhance with a model."""
    return settings.canary.replicas if role == CANARY else settings.replicas


def named(models: dict[str, NamedModel]) -> str:
    """The models, for people."""
    return ", ".join(f"{model.found_at or model.uri} ({role})" for role, model in models.items())


def served_at(settings: ServeSettings) -> str:
    """The cluster's Ray Serve, started if it does not run: `http://HOST:PORT`.

    Raises:
        ServingError: its port cannot be had.
    """
    if _get_global_client(raise_if_no_controller_running=False) is None:
        refuse_a_taken_port(settings)
    try:
        serve.start(
            http_options={"host": settings.host, "port": settings.port},
            controller_options={"runtime_env": {"env_vars": PATIENCE}},
        )
    except (RuntimeError, ValueError, TimeoutError, RayServeException, ray.exceptions.RayError) as error:
        raise ServingError(
            f"port: Ray Serve does not start at {settings.host}:{settings.port} ({reason(error)}); "
            "choose another --port"
        ) from error
    options = _client().http_config
    if (options.host, options.port) != (settings.host, settings.port):
        say(f"port: Ray Serve runs on this cluster already, at {options.host}:{options.port}, and is joined there")
    return f"http://{options.host}:{options.port}"


def meters() -> list[str]:
    """Where each node of the cluster tells Prometheus what it has counted."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    return [f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics" for node in alive[:NODES_SHOWN]]


def refuse_a_taken_port(settings: ServeSettings) -> None:
    """See that nobody listens there: Ray Serve would share the port with that of another cluster.

    Raises:
        ServingError: somebody does.
    """
    try:
        socket.create_server((settings.host, settings.port)).close()
    except OSError as error:
        raise ServingError(
            f"port: {settings.host}:{settings.port} cannot be had ({error.strerror}); choose another --port"
        ) from error


def refuse_what_is_taken(settings: ServeSettings) -> None:
    """See that no application of somebody else's has this name or route.

    Raises:
        ServingError: one has.
    """
    there, own = _client().get_serve_details()["applications"], own_applications(settings)
    taken = next((name for name in own if name in there), "")
    if taken and not settings.replace:
        raise ServingError(
            f"name: an application {taken} is served on this cluster already; choose another --name and --route, "
            "or, where it is yours and its `lle serve` was killed, add --replace"
        )
    for name, told in there.items():
        if name not in own and told["route_prefix"] == settings.route:
            raise ServingError(f"route: {settings.route} belongs to the application {name}; choose another --route")


def deploy(settings: ServeSettings, models: dict[str, NamedModel], resources: Amount) -> None:
    """Put models on the cluster, each as an application of its own: where one has changed, the rest stays.

    Its old processes answer until new ones can.

    Raises:
        ServingError: one does not come up.
    """
    gpus = min(1.0, resources.get("GPU", 0) / sum(processes(settings, role) for role in uris_of(settings)))
    for role, model in models.items():
        enhancing = serve.deployment(
            name=role,
            num_replicas=processes(settings, role),
            ray_actor_options={"num_cpus": settings.cpus, "num_gpus": gpus, "runtime_env": environment()},
            max_ongoing_requests=BATCHES * MOST_PHOTOS,
            health_check_period_s=HEALTH_SECONDS,
            graceful_shutdown_timeout_s=ENDING_SECONDS,
        )(Enhancing)
        _run(enhancing.bind(model, settings), applications(settings)[role], None)


def open_to_requests(settings: ServeSettings) -> None:
    """Put the endpoint in front of its models.

    Raises:
        ServingError: it does not come up.
    """
    endpoint = serve.deployment(
        name="endpoint",
        ray_actor_options={"num_cpus": FOR_THE_ENDPOINT, "runtime_env": environment()},
        max_ongoing_requests=settings.max_waiting + SPARE_REQUESTS,
        graceful_shutdown_timeout_s=ENDING_SECONDS,
    )(Endpoint)
    _run(endpoint.bind(applications(settings), settings), settings.name, settings.route)


def applications(settings: ServeSettings) -> dict[str, str]:
    """Names of the applications that hold a model, by what it is for."""
    return {role: _named_for(settings, role) for role in uris_of(settings)}


def own_applications(settings: ServeSettings) -> tuple[str, ...]:
    """Every name that is ours on the cluster: the endpoint's first, and a canary's, also where there is none now."""
    return settings.name, *(_named_for(settings, role) for role in (CHAMPION, CANARY))


def _named_for(settings: ServeSettings, role: str) -> str:
    return f"{settings.name}-{role}"


def _run(target: serve.Application, name: str, route: str | None) -> None:
    try:
        with told_while_waiting(say, lambda: False):
            serve.run(target, name=name, route_prefix=route)
    except (RuntimeError, RayServeException, ray.exceptions.RayError) as error:
        raise ServingError(f"name: the application {name} does not come up ({reason(error)})") from error


def stay(settings: ServeSettings, models: dict[str, NamedModel], tracking: str, resources: Amount) -> None:
    """Until interrupted: serve what the aliases name.

    Raises:
        ServingError: somebody else has ended the application.
    """
    looked = time.monotonic()
    while True:
        time.sleep(LOOK_SECONDS)
        if settings.name not in serve.status().applications:
            raise ServingError(f"name: the application {settings.name} was ended by somebody else")
        if settings.follow and time.monotonic() > looked + settings.follow:
            moved = find_moved(models, tracking)
            if moved:
                deploy(settings, moved, resources)
                models = models | moved
                say(f"now with {named(moved)}")
            looked = time.monotonic()


def find_moved(models: dict[str, NamedModel], tracking: str) -> dict[str, NamedModel]:
    """Models whose alias names another version now; where MLflow does not tell, what is served stays."""
    found = {}
    for role, model in models.items():
        if not model.found_at:
            continue
        from pipelines.models.registry import resolve_model

        try:
            if resolve_model(model.uri, tracking) != model.found_at:
                found[role] = find_model(model.uri, tracking)
        except (ModelError, TrackingError) as error:
            say(f"{role} stays {model.found_at}: {error}")
    return found


def reason(error: BaseException) -> str:
    """The last line of what Ray tells, which is why."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()[:SHOWN]


def _client() -> ServeControllerClient:
    """What Ray Serve tells of itself: its address and the routes of all applications are in no public part."""
    client = _get_global_client()
    assert client is not None, "Ray Serve was started"
    return client


def environment() -> dict[str, dict[str, str]]:
    """What our processes on the cluster need: the place of our packages among it, unless a submitted job brings them.

    Without it they would look where the one looked who happened to start Ray Serve.
    """
    if os.environ.get(IN_A_JOB):
        return {"env_vars": ALLOCATOR}
    here = str(Path(pipelines.__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH", ""))))
    return {"env_vars": ALLOCATOR | {"PYTHONPATH": path}}
