"""`sendoff dead-letters`: deliveries that were given up."""

from __future__ import annotations

from typing import Annotated

import typer

from sendoff.cli.terminal.output import print_fields, print_json, print_page
from sendoff.cli.terminal.rendering import print_attempts
from sendoff.cli.terminal.serializers import serialize_dead_letter, serialize_dead_letter_report
from sendoff.cli.terminal.session import (
    DEFAULT_DATA,
    AsJson,
    Before,
    Data,
    EndpointOption,
    LimitOption,
    OrganizationOption,
    change,
    run_with_context,
)
from sendoff.cli.terminal.time_options import Since, Until, parse_past
from sendoff.operators import actions, queries
from sendoff.policy.states import DeadLetterReason, DeadLetterState
from sendoff.store.queries.dead_letters import DeadLetterFilter

app = typer.Typer(help="Deliveries that were given up.", no_args_is_help=True)

DeadLetterId = Annotated[str, typer.Argument(metavar="ID")]
EventTypeOption = Annotated[str | None, typer.Option(metavar="NAME", help="Of this event type only.")]
Reason = Annotated[DeadLetterReason | None, typer.Option(help="Given up for this reason only.")]


@app.command("list")
def list_(
    org: OrganizationOption = None,
    endpoint: EndpointOption = None,
    event_type: EventTypeOption = None,
    reason: Reason = None,
    state: Annotated[DeadLetterState | None, typer.Option(help="In this state only.")] = None,
    since: Since = None,
    until: Until = None,
    limit: LimitOption = 50,
    before: Before = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Dead letters, newest first."""
    chosen = DeadLetterFilter(
        organization_id=org,
        endpoint_id=endpoint,
        event_type=event_type,
        reason=reason,
        state=state,
        since=parse_past(since, "--since"),
        until=parse_past(until, "--until"),
    )
    found = run_with_context(
        data, lambda context, _: queries.list_dead_letters(context, chosen, limit=limit + 1, before=before)
    )
    columns = ["id", "died_at", "state", "reason", "event_type", "attempt_count", "last_error", "endpoint_url"]
    print_page([serialize_dead_letter(letter) for letter in found], limit=limit, columns=columns, as_json=as_json)


@app.command()
def show(letter: DeadLetterId, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """One dead letter: the exact last request, the response to it, and every attempt."""
    document = serialize_dead_letter_report(
        run_with_context(data, lambda context, _: queries.get_dead_letter(context, letter))
    )
    if as_json:
        print_json(document)
        return
    print_fields({name: value for name, value in document.items() if name not in ("request", "response", "attempts")})
    print_attempts(document)


@app.command()
def discard(letter: DeadLetterId, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Take a dead letter off the open list; it is kept for the record."""
    discarded = change(data, lambda context, actor: actions.discard_dead_letter(context, actor, letter))
    (print_json if as_json else print_fields)(serialize_dead_letter(discarded))
