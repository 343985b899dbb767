"""`sendoff deliveries`: any delivery, with its attempts."""

from __future__ import annotations

from typing import Annotated

import typer

from sendoff.cli.terminal import columns
from sendoff.cli.terminal.installation import Call, Installation, as_query
from sendoff.cli.terminal.options import (
    Before,
    EndpointOption,
    LimitOption,
    OrganizationOption,
    command,
    list_command,
)
from sendoff.cli.terminal.output import Output
from sendoff.cli.terminal.rendering import print_exchange
from sendoff.cli.terminal.serializers import serialize_delivery, serialize_delivery_report
from sendoff.cli.terminal.time_options import Since, Until, parse_past
from sendoff.operators import actions, queries
from sendoff.policy.states import DeliveryState
from sendoff.publishing import history
from sendoff.store.queries.traffic.delivery_history import DeliveryFilter

app = typer.Typer(help="Any delivery, with its attempts.", no_args_is_help=True)

DeliveryId = Annotated[str, typer.Argument(metavar="ID")]

_PATH = "/operator/v1/deliveries"


@app.command("list")
@list_command
def list_(
    on: Installation,
    out: Output,
    org: OrganizationOption = None,
    endpoint: EndpointOption = None,
    event: Annotated[str | None, typer.Option(metavar="ID", help="Of this event only.")] = None,
    event_type: Annotated[str | None, typer.Option(metavar="NAME", help="Of this type only.")] = None,
    state: Annotated[list[DeliveryState] | None, typer.Option(help="In this state only, repeatable.")] = None,
    since: Since = None,
    until: Until = None,
    limit: LimitOption = 50,
    before: Before = None,
) -> None:
    """Deliveries, newest first."""
    chosen = DeliveryFilter(
        organization_id=on.find_any("organization", org),
        endpoint_id=on.find_any("endpoint", endpoint),
        event_id=on.find_any("event", event),
        event_type=event_type,
        states=tuple(state) if state else None,
        since=parse_past(since, "--since"),
        until=parse_past(until, "--until"),
    )
    page = on.page(
        lambda context, most, start: history.list_deliveries(context, chosen, limit=most, before=start),
        serialize_delivery,
        Call("GET", _PATH, _query(chosen)),
        limit=limit,
        before=before,
    )
    out.page(page, columns.DELIVERIES)


@app.command()
@command
def show(on: Installation, out: Output, delivery: DeliveryId) -> None:
    """One delivery with its attempts, and what went over the wire at the last that failed."""
    found = on.find("delivery", delivery)
    document = on.read(
        lambda context, _: queries.get_delivery(context, found),
        serialize_delivery_report,
        Call("GET", f"{_PATH}/{found}"),
    )
    print_exchange(document, out)


@app.command()
@command
def retry(on: Installation, out: Output, delivery: DeliveryId) -> None:
    """Attempt a delivery now instead of at its next scheduled time; if it fails, the schedule continues."""
    found = on.find("delivery", delivery)
    document = on.change(
        lambda context, actor: actions.retry_delivery(context, actor, found),
        serialize_delivery_report,
        Call("POST", f"{_PATH}/{found}/retry"),
    )
    print_exchange(document, out)


def _query(chosen: DeliveryFilter) -> dict[str, object]:
    query = as_query(chosen)
    states = query.pop("states", ())
    if len(states) > 1:
        raise typer.BadParameter("an API takes one state at a time; ask for one after the other", param_hint="--state")
    return query | {"state": states[0]} if states else query
