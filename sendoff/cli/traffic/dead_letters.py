"""`sendoff dead-letters`: deliveries that were given up."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sendoff.cli.terminal import columns
from sendoff.cli.terminal.installation import Call, Document, Installation, as_query
from sendoff.cli.terminal.options import (
    Before,
    EndpointOption,
    LimitOption,
    OrganizationOption,
    Yes,
    command,
    list_command,
)
from sendoff.cli.terminal.output import Output
from sendoff.cli.terminal.rendering import print_exchange
from sendoff.cli.terminal.serializers import serialize_dead_letter, serialize_dead_letter_report
from sendoff.cli.terminal.time_options import Since, Until, parse_past
from sendoff.operators import actions, queries
from sendoff.operators.replays.replay import Selection, count_replay
from sendoff.policy.states import DeadLetterReason, DeadLetterState
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter

app = typer.Typer(help="Deliveries that were given up.", no_args_is_help=True)

DeadLetterId = Annotated[str, typer.Argument(metavar="ID")]
EventTypeOption = Annotated[str | None, typer.Option(metavar="NAME", help="Of this event type only.")]
Reason = Annotated[DeadLetterReason | None, typer.Option(help="Given up for this reason only.")]

_PATH = "/operator/v1/dead-letters"


@app.command("list")
@list_command
def list_(
    on: Installation,
    out: Output,
    org: OrganizationOption = None,
    endpoint: EndpointOption = None,
    event_type: EventTypeOption = None,
    reason: Reason = None,
    state: Annotated[DeadLetterState | None, typer.Option(help="In this state only.")] = None,
    since: Since = None,
    until: Until = None,
    limit: LimitOption = 50,
    before: Before = None,
) -> None:
    """Dead letters, newest first."""
    chosen = DeadLetterFilter(
        organization_id=on.find_any("organization", org),
        endpoint_id=on.find_any("endpoint", endpoint),
        event_type=event_type,
        reason=reason,
        state=state,
        since=parse_past(since, "--since"),
        until=parse_past(until, "--until"),
    )
    page = on.page(
        lambda context, most, start: queries.list_dead_letters(context, chosen, limit=most, before=start),
        serialize_dead_letter,
        Call("GET", _PATH, as_query(chosen)),
        limit=limit,
        before=before,
    )
    out.page(page, columns.DEAD_LETTERS)


@app.command()
@command
def show(on: Installation, out: Output, letter: DeadLetterId) -> None:
    """One dead letter: the exact last request, the response to it, and every attempt."""
    found = on.find("dead letter", letter)
    document = on.read(
        lambda context, _: queries.get_dead_letter(context, found),
        serialize_dead_letter_report,
        Call("GET", f"{_PATH}/{found}"),
    )
    print_exchange(document, out)


@app.command()
@command
def discard(
    on: Installation,
    out: Output,
    letter: Annotated[str | None, typer.Argument(metavar="[ID]", help="One; without it, all that are chosen.")] = None,
    org: OrganizationOption = None,
    endpoint: EndpointOption = None,
    event_type: EventTypeOption = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every open dead letter of every organization; needed when nothing is chosen.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Take a dead letter, or all open ones that the options choose, off the open list; they are kept for the record."""
    chosen = DeadLetterFilter(
        organization_id=on.find_any("organization", org),
        endpoint_id=on.find_any("endpoint", endpoint),
        event_type=event_type,
        reason=reason,
        since=parse_past(since, "--since"),
        until=parse_past(until, "--until"),
    )
    if letter is None:
        _discard_all(on, out, chosen, everything=everything, yes=yes)
        return
    if everything or chosen != DeadLetterFilter():
        raise typer.BadParameter("give an ID, or other choices, and not both", param_hint="ID")
    found = on.find("dead letter", letter)
    discarded = on.change(
        lambda context, actor: actions.discard_dead_letter(context, actor, found),
        serialize_dead_letter,
        Call("POST", f"{_PATH}/{found}/discard"),
    )
    out.document(discarded)


def _discard_all(on: Installation, out: Output, chosen: DeadLetterFilter, *, everything: bool, yes: bool) -> None:
    if chosen == DeadLetterFilter() and not everything:
        raise typer.BadParameter("nothing is selected; use a filter, or --all", param_hint="--all")
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("where no terminal can ask, it needs --yes", param_hint="--yes")
        typer.confirm(f"Discard {_count(on, chosen)} dead letters on {on.name}?", abort=True, err=True)
    done = on.change(
        lambda context, actor: actions.discard_dead_letters(context, actor, chosen, everything=everything),
        lambda number: {"discarded": number},
        Call("POST", f"{_PATH}/discard", body={"filter": as_query(chosen), "all": everything}),
    )
    out.document(done)


def _count(on: Installation, chosen: DeadLetterFilter) -> int:
    found: Document = on.read(
        lambda context, _: count_replay(context, Selection(chosen)),
        lambda counted: {"count": counted[0]},
        Call("POST", "/operator/v1/replays", body={"filter": as_query(chosen), "dry_run": True}),
    )
    return int(found["count"])
