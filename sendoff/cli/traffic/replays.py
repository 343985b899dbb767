"""`sendoff replay` and `sendoff replays`: send dead letters, or any finished deliveries, again."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from sendoff.cli.terminal import columns
from sendoff.cli.terminal.installation import Call, Document, Installation, as_query
from sendoff.cli.terminal.options import (
    Before,
    Deliveries,
    EndpointOption,
    LimitOption,
    OrganizationOption,
    Yes,
    command,
    list_command,
)
from sendoff.cli.terminal.output import Output, print_json
from sendoff.cli.terminal.serializers import serialize_replay
from sendoff.cli.terminal.time_options import Since, Until, parse_past
from sendoff.cli.traffic.dead_letters import EventTypeOption, Reason
from sendoff.context import Context
from sendoff.operators.replays import replay as operations
from sendoff.operators.replays.replay import DEFAULT_RATE, HIGHEST_RATE, Included, Selection
from sendoff.policy.states import DeadLetterState, ReplayState
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter

app = typer.Typer(help="Replays that were started, and how far they are.", no_args_is_help=True)

ReplayId = Annotated[str, typer.Argument(metavar="ID")]

_PATH = "/operator/v1/replays"
_POLL_SECONDS = 0.5


@command
def replay(
    on: Installation,
    out: Output,
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
    include_pending: Annotated[
        bool, typer.Option("--include-pending", help="Also what waits for its retry: it is made now.")
    ] = False,
    missing: Annotated[
        bool,
        typer.Option(
            "--missing",
            help="Also make what was never sent: events that match an endpoint as it is now. Needs --since or "
            "--since-event, and --org or --endpoint.",
        ),
    ] = False,
    since_event: Annotated[
        str | None, typer.Option(metavar="ID", help="Of this event, and of all that were accepted after it.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Send dead letters again: the open ones, or those that the options choose. The worker does it."""
    chosen = DeadLetterFilter(
        organization_id=on.find_any("organization", org),
        endpoint_id=on.find_any("endpoint", endpoint),
        event_type=event_type,
        reason=reason,
        state=state,
        since=parse_past(since, "--since"),
        until=parse_past(until, "--until"),
        since_event_id=on.find_any("event", since_event),
    )
    if delivery and chosen != DeadLetterFilter():
        raise typer.BadParameter("deliveries are chosen either by id or by the other options", param_hint="--delivery")
    ids = tuple(dict.fromkeys(on.find("delivery", one) for one in delivery)) if delivery else None
    included = (Included.DEAD, Included.PENDING) if include_pending else (Included.DEAD,)
    selection = Selection(chosen, ids, include=included, missing=missing)
    selection.check(everything=True)
    if dry_run:
        found = _count(on, selection)
        if out.as_json:
            print_json(found)
        else:
            typer.echo(f"Would send again: {_amount(found)}.")
            if missing:
                typer.echo(f"Would send for the first time: {found['missing']}.")
        return
    if not delivery:
        _check_everything(selection, everything=everything)
        confirm_replay(on, selection, yes=yes)
    start_replay(on, out, selection, rate=rate, wait=wait)


@app.command("list")
@list_command
def list_(on: Installation, out: Output, limit: LimitOption = 50, before: Before = None) -> None:
    """Replays, newest first."""
    page = on.page(
        lambda context, most, start: operations.list_replays(context, limit=most, before=start),
        serialize_replay,
        Call("GET", _PATH),
        limit=limit,
        before=before,
    )
    out.page(page, columns.REPLAYS)


@app.command()
@command
def show(on: Installation, out: Output, replay: ReplayId) -> None:
    """One replay and how far it is."""
    out.document(_read(on, on.find("replay", replay)))


@app.command()
@command
def cancel(on: Installation, out: Output, replay: ReplayId) -> None:
    """Send no more of a replay; what is sent already goes its way."""
    found = on.find("replay", replay)
    document = on.change(
        lambda context, actor: operations.cancel_replay(context, actor, found),
        serialize_replay,
        Call("POST", f"{_PATH}/{found}/cancel"),
    )
    out.document(document)


def _count(on: Installation, selection: Selection) -> Document:
    async def count(context: Context, _actor: object) -> Document:
        count, endpoints = await operations.count_replay(context, selection)
        missing = {"missing": await operations.count_missing(context, selection)} if selection.missing else {}
        return {"count": count, "endpoints": endpoints, **missing}

    found: Document = on.read(count, lambda counted: counted, Call("POST", _PATH, body=_body(selection, dry_run=True)))
    return found


def _read(on: Installation, replay_id: str) -> Document:
    found: Document = on.read(
        lambda context, _: operations.get_replay(context, replay_id),
        serialize_replay,
        Call("GET", f"{_PATH}/{replay_id}"),
    )
    return found


def _body(selection: Selection, **fields: Any) -> dict[str, Any]:
    """The body of the API's call. That everything is meant was said or confirmed before."""
    if selection.delivery_ids is not None:
        return {"filter": {"delivery_ids": list(selection.delivery_ids)}, **fields}
    chosen = as_query(selection.filter) | ({"missing": True} if selection.missing else {})
    return {"filter": chosen, "include": list(selection.include), "all": True, **fields}


def confirm_replay(on: Installation, selection: Selection, *, yes: bool) -> None:
    """Ask for confirmation with a count on a terminal. Without a terminal, --yes is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            "a replay that is not chosen by --delivery needs --yes where no terminal can ask; --dry-run counts it",
            param_hint="--yes",
        )
    typer.confirm(f"Send {_amount(_count(on, selection))} again on {on.name}?", abort=True, err=True)


def _check_everything(selection: Selection, *, everything: bool) -> None:
    """Raise BadParameter unless something is chosen, or everything is meant."""
    chosen_nothing = selection.filter == DeadLetterFilter()
    if chosen_nothing and not everything:
        raise typer.BadParameter(
            "nothing is selected; use a filter such as --org or --reason, or --all",
            param_hint="--all",
        )
    if everything and not chosen_nothing:
        raise typer.BadParameter("it cannot be combined with other choices: leave it out", param_hint="--all")


def _amount(counted: Document) -> str:
    deliveries, endpoints = counted["count"], counted["endpoints"]
    return (
        f"{deliveries} {'delivery' if deliveries == 1 else 'deliveries'} "
        f"to {endpoints} {'endpoint' if endpoints == 1 else 'endpoints'}"
    )


def start_replay(
    on: Installation, out: Output, selection: Selection, *, rate: int = DEFAULT_RATE, wait: bool = False
) -> None:
    """Start it, wait until it has ended if asked to, and print it. Exit code 1 then unless all were delivered."""
    started = on.change(
        lambda context, actor: operations.start_replay(context, actor, selection, rate=rate),
        serialize_replay,
        Call("POST", _PATH, body=_body(selection, rate=rate)),
    )
    if not wait:
        out.document(started)
        return
    if not out.as_json:
        typer.echo(f"replay {started['id']}: {started['total']} at {rate}/s", err=True)
    ended = _wait_until_ended(on, started)
    out.document(ended)
    if ended["succeeded"] < ended["total"]:
        raise typer.Exit(1)


def _wait_until_ended(on: Installation, started: Document) -> Document:
    """Shows how far it is, on a terminal. Ctrl-C ends the waiting, not the replay, and says so."""
    with on.open() as opened:
        try:
            while True:
                report = _read(opened, started["id"])
                _show_progress(report)
                if report["state"] != ReplayState.RUNNING:
                    return report
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            typer.echo(
                f"\nThe replay goes on. `sendoff replays show {started['id']}` shows how far it is, "
                f"`sendoff replays cancel {started['id']}` stops it.",
                err=True,
            )
            raise


def _show_progress(report: Document) -> None:
    if not sys.stderr.isatty():
        return
    done = report["succeeded"] + report["failed"]
    share = done / report["total"] if report["total"] else 1
    bar = ("█" * round(20 * share)).ljust(20, "░")
    end = "" if report["state"] == ReplayState.RUNNING else "\n"
    typer.echo(f"\r{bar} {done}/{report['total']}  {report['failed']} failed {end}", err=True, nl=False)
