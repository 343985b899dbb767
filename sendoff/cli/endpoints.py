"""`sendoff endpoints`: every organization's endpoints."""

from __future__ import annotations

from typing import Annotated

import typer

from sendoff.cli.terminal.output import print_fields, print_json, print_page
from sendoff.cli.terminal.serializers import serialize_endpoint
from sendoff.cli.terminal.session import (
    DEFAULT_DATA,
    AsJson,
    Before,
    Data,
    LimitOption,
    OrganizationOption,
    change,
    run_with_context,
)
from sendoff.endpoints.fields import HIGHEST_RATE
from sendoff.operators import actions, queries
from sendoff.policy.states import EndpointState

app = typer.Typer(help="Every organization's endpoints.", no_args_is_help=True)

EndpointId = Annotated[str, typer.Argument(metavar="ID")]


@app.command("list")
def list_(
    org: OrganizationOption = None,
    state: Annotated[EndpointState | None, typer.Option(help="In this state only.")] = None,
    limit: LimitOption = 50,
    before: Before = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Endpoints, newest first."""
    found = run_with_context(
        data,
        lambda context, _: queries.list_all_endpoints(
            context, organization_id=org, state=state, limit=limit + 1, before=before
        ),
    )
    rows = [serialize_endpoint(endpoint) for endpoint in found]
    columns = ["id", "state", "url", "events", "consecutive_failures", "last_success_at", "organization_id"]
    print_page(rows, limit=limit, columns=columns, as_json=as_json)


@app.command()
def disable(endpoint: EndpointId, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Stop sending to an endpoint; what waits for it goes to the dead-letter store."""
    changed = change(data, lambda context, actor: actions.switch_endpoint(context, actor, endpoint, on=False))
    (print_json if as_json else print_fields)(serialize_endpoint(changed))


@app.command()
def enable(endpoint: EndpointId, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Send to an endpoint again and forget its failures; replay what is in the dead-letter store yourself."""
    changed = change(data, lambda context, actor: actions.switch_endpoint(context, actor, endpoint, on=True))
    (print_json if as_json else print_fields)(serialize_endpoint(changed))


@app.command()
def limit(
    endpoint: EndpointId,
    rate: Annotated[
        int | None, typer.Option(min=1, max=HIGHEST_RATE, metavar="N", help="Deliveries per second; without it, any.")
    ] = None,
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Limit an endpoint's deliveries per second to --rate; without --rate, remove the limit."""
    changed = change(data, lambda context, actor: actions.limit_endpoint(context, actor, endpoint, rate_limit=rate))
    (print_json if as_json else print_fields)(serialize_endpoint(changed))
