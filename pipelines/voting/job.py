"""Asking people as a job: a page on this machine that shows two pictures of a photo and takes their vote.

Nothing that reaches the browser says whose a picture is: it asks for the left or right one of a trial by its number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from cluster.storage import explain, local_path
from pipelines.config.vote import VotingSettings
from pipelines.models.resolve import find_models
from pipelines.reporting.closing import command
from pipelines.reporting.html_report import template
from pipelines.reporting.local_page import Refusal, check_origin, headers, listening, local_app, serve
from pipelines.reporting.tables import printable
from pipelines.tracking.address import tracking_uri
from pipelines.voting.booth import LONGEST_NAME, Booth, on_its_device
from pipelines.voting.report import verdicts, votes_table
from pipelines.voting.votes import VoteError, begin, read, win_rates

RUNS = "runs"
HEADERS = headers(pictures="data: 'self'")


def run(settings: VotingSettings) -> None:
    """Serve the page until interrupted, then count; or only count. Raises what is told in one sentence."""
    console, file = Console(soft_wrap=True, highlight=False, markup=False), Path(local_path(settings.votes, "votes"))
    if settings.tally:
        if not file.exists():
            raise VoteError(f"votes: there is no {settings.votes} yet; collect some without --tally")
        tell(file, console)
        return
    models = find_models(settings.models, tracking_uri(settings.tracking.uri, RUNS))
    booth = Booth(settings, models, file)
    for name, reason in booth.refused.items():
        console.print(f"skipped: {name}: {reason}")
    begin(file)
    on_its_device(models)
    listener = listening(settings.port)
    about = f"{len(booth.photos)} photos, {len(models)} models; votes go to {settings.votes}"
    try:
        serve(voting_app(booth), listener, about, settings.open)
    finally:
        tell(file, console)
        console.print(f"count again: {command('vote', '--votes', settings.votes, '--tally')}")


def tell(file: Path, console: Console) -> None:
    """Print what the votes of a file say."""
    rates = win_rates(read(file))
    if not rates:
        console.print("no votes yet")
        return
    console.print(printable(votes_table(rates)))
    for sentence in verdicts(rates):
        console.print(sentence)
    left = sum(each.on_the_left * (each.wins + each.losses) for each in rates)
    decided = sum(each.wins + each.losses for each in rates)
    if decided:
        console.print(f"the left picture was chosen in {100 * left / decided:.0f} % of {decided} decided votes")


def voting_app(booth: Booth) -> Starlette:
    """The page at `/`; `/trial`, what is asked next; `/picture`, one of its pictures; `/vote`, which takes a choice."""
    one_at_a_time = asyncio.Lock()
    page = template("vote.html").render(longest_name=LONGEST_NAME)

    async def show(request: Request) -> Response:
        return HTMLResponse(page, headers=HEADERS)

    async def trial(request: Request) -> Response:
        number = request.query_params.get("trial")
        return JSONResponse(booth.asked(_voter(request), None if number is None else _number(number)), headers=HEADERS)

    async def picture(request: Request) -> Response:
        asked = _voter(request), _number(request.query_params.get("trial")), request.query_params.get("side", "")
        async with one_at_a_time:
            jpeg = await run_in_threadpool(booth.picture, *asked)
        return Response(jpeg, media_type="image/jpeg", headers=HEADERS)

    async def vote(request: Request) -> Response:
        check_origin(request)
        words = request.query_params
        number, seconds = _number(words.get("trial")), _number(words.get("seconds"), float)
        async with one_at_a_time:
            await run_in_threadpool(booth.vote, _voter(request), number, words.get("choice", ""), seconds)
        return JSONResponse(booth.asked(_voter(request)), headers=HEADERS)

    routes = [Route("/", show), Route("/trial", _told(trial)), Route("/picture", _told(picture))]
    return local_app([*routes, Route("/vote", _told(vote), methods=["POST"])])


def _told(answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """An endpoint whose refusals are answered in one sentence."""

    async def told(request: Request) -> Response:
        try:
            found: Response = await answer(request)
        except Refusal as refusal:
            return JSONResponse({"error": refusal.reason}, refusal.status, HEADERS)
        except OSError as error:
            return JSONResponse({"error": f"the vote cannot be written ({explain(error)})"}, 500, HEADERS)
        return found

    return told


def _voter(request: Request) -> str:
    return request.query_params.get("voter", "")


def _number(text: str | None, kind: type = int) -> Any:
    try:
        return kind(text)
    except (TypeError, ValueError):
        raise Refusal(f"{text}: no number", 400) from None
