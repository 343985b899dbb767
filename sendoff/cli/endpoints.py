"""`sendoff endpoints`: every organization's endpoints."""

from __future__ import annotations

from typing import Annotated

import typer

from sendoff.cli.terminal import columns
from sendoff.cli.terminal.installation import Call, Installation
from sendoff.cli.terminal.options import Before, LimitOption, OrganizationOption, command, list_command
from sendoff.cli.terminal.output import Output
from sendoff.cli.terminal.serializers import serialize_endpoint
from sendoff.endpoints.fields import HIGHEST_RATE
from sendoff.operators import actions, queries
from sendoff.policy.states import EndpointState

app = typer.Typer(help="Every organization's endpoints.", no_args_is_help=True)

EndpointId = Annotated[str, typer.Argument(metavar="ID")]

_PATH = "/operator/v1/endpoints"


@app.command("list")
@list_command
def list_(
    on: Installation,
    out: Output,
    org: OrganizationOption = None,
    state: Annotated[EndpointState | None, typer.Option(help="In this state only.")] = None,
    limit: LimitOption = 50,
    before: Before = None,
) -> None:
    """Endpoints, newest first."""
    organization = on.find_any("organization", org)
    page = on.page(
        lambda context, most, start: queries.list_all_endpoints(
            context, organization_id=organization, state=state, limit=most, before=start
        ),
        serialize_endpoint,
        Call("GET", _PATH, {"organization_id": organization, "state": state}),
        limit=limit,
        before=before,
    )
    out.page(page, columns.ENDPOINTS)


@app.command()
@command
def disable(on: Installation, out: Output, endpoint: EndpointId) -> None:
    """Stop sending to an endpoint; what waits for it goes to the dead-letter store."""
    _switch(on, out, endpoint, active=False)


@app.command()
@command
def enable(on: Installation, out: Output, endpoint: EndpointId) -> None:
    """Send to an endpoint again and forget its failures; replay what is in the dead-letter store yourself."""
    _switch(on, out, endpoint, active=True)


@app.command()
@command
def limit(
    on: Installation,
    out: Output,
    endpoint: EndpointId,
    rate: Annotated[
        int | None, typer.Option(min=1, max=HIGHEST_RATE, metavar="N", help="Deliveries per second; without it, any.")
    ] = None,
) -> None:
    """Limit an endpoint's deliveries per second to --rate; without --rate, remove the limit."""
    found = on.find("endpoint", endpoint)
    changed = on.change(
        lambda context, actor: actions.limit_endpoint(context, actor, found, rate_limit=rate),
        serialize_endpoint,
        Call("PATCH", f"{_PATH}/{found}", body={"rate_limit": rate}),
    )
    out.document(changed)


def _switch(on: Installation, out: Output, endpoint: str, *, active: bool) -> None:
    found = on.find("endpoint", endpoint)
    changed = on.change(
        lambda context, actor: actions.switch_endpoint(context, actor, found, on=active),
        serialize_endpoint,
        Call("POST", f"{_PATH}/{found}/{'enable' if active else 'disable'}"),
    )
    out.document(changed)
