"""`sendoff deliveries`: any delivery, with its attempts."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sendoff.cli.terminal.output import print_fields, print_json, print_page
from sendoff.cli.terminal.rendering import print_attempts
from sendoff.cli.terminal.serializers import serialize_delivery_report, shape_listed_delivery
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
from sendoff.policy.states import DeliveryState
from sendoff.publishing import history
from sendoff.store.queries.delivery_history import DeliveryFilter

app = typer.Typer(help="Any delivery, with its attempts.", no_args_is_help=True)

DeliveryId = Annotated[str, typer.Argument(metavar="ID")]


@app.command("list")
def list_(
    org: OrganizationOption = None,
    endpoint: EndpointOption = None,
    event: Annotated[str | None, typer.Option(metavar="ID", help="Of this event only.")] = None,
    event_type: Annotated[str | None, typer.Option(metavar="NAME", help="Of this type only.")] = None,
    state: Annotated[list[DeliveryState] | None, typer.Option(help="In this state only, repeatable.")] = None,
    since: Since = None,
    until: Until = None,
    limit: LimitOption = 50,
    before: Before = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Deliveries, newest first."""
    chosen = DeliveryFilter(
        organization_id=org,
        endpoint_id=endpoint,
        event_id=event,
        event_type=event_type,
        states=tuple(state) if state else None,
        since=parse_past(since, "--since"),
        until=parse_past(until, "--until"),
    )
    found = run_with_context(
        data, lambda context, _: history.list_deliveries(context, chosen, limit=limit + 1, before=before)
    )
    columns = ["id", "state", "event_type", "attempt_count", "last_response_status", "next_attempt_at", "endpoint_id"]
    print_page([shape_listed_delivery(one) for one in found], limit=limit, columns=columns, as_json=as_json)


@app.command()
def show(delivery: DeliveryId, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """One delivery with its attempts, and what went over the wire at the last that failed."""
    report = run_with_context(data, lambda context, _: queries.get_delivery(context, delivery))
    _print_report(serialize_delivery_report(report), as_json=as_json)


@app.command()
def retry(delivery: DeliveryId, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Attempt a delivery now instead of at its next scheduled time; if it fails, the schedule continues."""
    report = change(data, lambda context, actor: actions.retry_delivery(context, actor, delivery))
    _print_report(serialize_delivery_report(report), as_json=as_json)


def _print_report(document: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    print_fields({name: value for name, value in document.items() if name not in ("request", "response", "attempts")})
    print_attempts(document)
