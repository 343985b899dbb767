"""`sendoff replay` and `sendoff replays`: send dead letters, or any finished deliveries, again."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sendoff.cli.dead_letters import EventTypeOption, Reason
from sendoff.cli.terminal.output import print_fields, print_json, print_page
from sendoff.cli.terminal.serializers import serialize_replay
from sendoff.cli.terminal.session import (
    DEFAULT_DATA,
    AsJson,
    Before,
    Data,
    Deliveries,
    EndpointOption,
    LimitOption,
    OrganizationOption,
    change,
    run_with_context,
)
from sendoff.cli.terminal.time_options import Since, Until, parse_past
from sendoff.context import Context
from sendoff.operators import replay as operations
from sendoff.operators.replay import DEFAULT_RATE, HIGHEST_RATE, ReplayReport, Selection
from sendoff.policy.states import DeadLetterState, ReplayState
from sendoff.store.queries.dead_letters import DeadLetterFilter

app = typer.Typer(help="Replays that were started, and how far they are.", no_args_is_help=True)

ReplayId = Annotated[str, typer.Argument(metavar="ID")]

_POLL_SECONDS = 0.5


def replay(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be sent.")] = False,
    org: OrganizationOption = None,
    endpoint: EndpointOption = None,
    event_type: EventTypeOption = None,
    reason: Reason = None,
    state: Annotated[
        DeadLetterState | None, typer.Option(help="Dead letters in this state; default: the open ones.")
    ] = None,
    since: Since = None,
    until: Until = None,
    delivery: Deliveries = None,
    rate: Annotated[
        int, typer.Option(min=1, max=HIGHEST_RATE, metavar="N", help="How many are sent per second at most.")
    ] = DEFAULT_RATE,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until all deliveries have ended; exit code 1 unless all succeeded.")
    ] = False,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Every open dead letter of every organization; needed when nothing is chosen."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again: the open ones, or those that the options choose. The worker does it."""
    chosen = DeadLetterFilter(
        organization_id=org,
        endpoint_id=endpoint,
        event_type=event_type,
        reason=reason,
        state=state,
        since=parse_past(since, "--since"),
        until=parse_past(until, "--until"),
    )
    if delivery and chosen != DeadLetterFilter():
        raise typer.BadParameter("deliveries are chosen either by id or by the other options", param_hint="--delivery")
    selection = Selection(chosen, tuple(dict.fromkeys(delivery)) if delivery else None)
    if dry_run:
        _count(data, selection, as_json=as_json)
        return
    if not delivery:
        _confirm(data, selection, everything=everything, yes=yes)
    report = _start(data, selection, rate=rate, wait=wait)
    _print_one(serialize_replay(report), as_json=as_json)
    if wait and report.progress.succeeded < report.replay.total:
        raise typer.Exit(1)


@app.command("list")
def list_(limit: LimitOption = 50, before: Before = None, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Replays, newest first."""
    found = run_with_context(data, lambda context, _: operations.list_replays(context, limit=limit + 1, before=before))
    columns = ["id", "state", "total", "replayed", "succeeded", "failed", "created_at", "requested_by"]
    print_page([serialize_replay(report) for report in found], limit=limit, columns=columns, as_json=as_json)


@app.command()
def show(replay: ReplayId, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """One replay and how far it is."""
    report = run_with_context(data, lambda context, _: operations.get_replay(context, replay))
    _print_one(serialize_replay(report), as_json=as_json)


@app.command()
def cancel(replay: ReplayId, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Send no more of a replay; what is sent already goes its way."""
    report = change(data, lambda context, actor: operations.cancel_replay(context, actor, replay))
    _print_one(serialize_replay(report), as_json=as_json)


def _count(data: Path, selection: Selection, *, as_json: bool) -> None:
    count, endpoints = run_with_context(data, lambda context, _: operations.count_replay(context, selection))
    if as_json:
        print_json({"count": count, "endpoints": endpoints})
    else:
        typer.echo(f"Would send again: {_amount(count, endpoints)}.")


def _confirm(data: Path, selection: Selection, *, everything: bool, yes: bool) -> None:
    """Ask for confirmation with a count on a terminal. Without a terminal, --yes is needed."""
    chosen_nothing = selection.filter == DeadLetterFilter()
    if chosen_nothing and not everything:
        raise typer.BadParameter(
            "nothing is selected; use a filter such as --org or --reason, or --all",
            param_hint="--all",
        )
    if everything and not chosen_nothing:
        raise typer.BadParameter("it cannot be combined with other choices: leave it out", param_hint="--all")
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            "a replay that is not chosen by --delivery needs --yes where no terminal can ask; --dry-run counts it",
            param_hint="--yes",
        )
    count, endpoints = run_with_context(data, lambda context, _: operations.count_replay(context, selection))
    typer.confirm(f"Send {_amount(count, endpoints)} again?", abort=True, err=True)


def _amount(deliveries: int, endpoints: int) -> str:
    return (
        f"{deliveries} {'delivery' if deliveries == 1 else 'deliveries'} "
        f"to {endpoints} {'endpoint' if endpoints == 1 else 'endpoints'}"
    )


def _start(data: Path, selection: Selection, *, rate: int, wait: bool) -> ReplayReport:
    started = change(data, lambda context, actor: operations.start_replay(context, actor, selection, rate=rate))
    return run_with_context(data, lambda context, _: _wait_until_ended(context, started.replay.id)) if wait else started


async def _wait_until_ended(context: Context, replay_id: str) -> ReplayReport:
    while True:
        report = await operations.get_replay(context, replay_id)
        if report.replay.state != ReplayState.RUNNING:
            return report
        await asyncio.sleep(_POLL_SECONDS)


def _print_one(document: dict[str, Any], *, as_json: bool) -> None:
    (print_json if as_json else print_fields)(document)
