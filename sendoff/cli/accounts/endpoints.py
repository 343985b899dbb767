"""`sendoff endpoints`: every organization's endpoints."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import orjson
import typer

from sendoff.audit import Actor
from sendoff.cli.terminal import columns
from sendoff.cli.terminal.installation import Call, Installation
from sendoff.cli.terminal.options import (
    Before,
    LimitOption,
    OrganizationOption,
    Yes,
    command,
    event_command,
    url_list_command,
)
from sendoff.cli.terminal.output import Output, print_fields, print_json
from sendoff.cli.terminal.rendering import print_messages
from sendoff.cli.terminal.serializers import serialize_endpoint, serialize_endpoint_report, serialize_trial
from sendoff.cli.traffic.replays import confirm_replay, start_replay
from sendoff.clock import parse_duration
from sendoff.context import Context
from sendoff.endpoints.fields import HIGHEST_RATE
from sendoff.endpoints.secrets import rotate_secret
from sendoff.endpoints.trial import Trial, try_endpoint
from sendoff.operators import actions, queries
from sendoff.operators.replays.replay import Included, Selection
from sendoff.policy.states import EndpointState
from sendoff.publishing.publish import NewEvent
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter

app = typer.Typer(help="Every organization's endpoints.", no_args_is_help=True)

EndpointId = Annotated[str, typer.Argument(metavar="ID")]

_PATH = "/operator/v1/endpoints"


class Order(StrEnum):
    """What endpoints are ordered by."""

    CREATED = "created"
    FAILURES = "failures"


@app.command("list")
@url_list_command
def list_(
    on: Installation,
    out: Output,
    url: str | None,
    org: OrganizationOption = None,
    state: Annotated[EndpointState | None, typer.Option(help="In this state only.")] = None,
    failing: Annotated[bool, typer.Option("--failing", help="Whose last attempt failed.")] = False,
    sort: Annotated[Order, typer.Option(help="By creation, or by failures in a row.")] = Order.CREATED,
    limit: LimitOption = 50,
    before: Before = None,
) -> None:
    """Endpoints, newest first."""
    organization = on.find_any("organization", org)
    by_failures = sort is Order.FAILURES
    query = {
        "organization_id": organization,
        "state": state,
        "url": url,
        "failing": failing or None,
        "order": "-consecutive_failures" if by_failures else None,
    }
    page = on.page(
        lambda context, most, start: queries.list_all_endpoints(
            context,
            organization_id=organization,
            state=state,
            limit=most,
            before=start,
            url=url,
            failing=failing,
            most_failures_first=by_failures,
        ),
        serialize_endpoint,
        Call("GET", _PATH, query),
        limit=limit,
        before=before,
    )
    out.page(page | ({"next_cursor": None} if by_failures else {}), columns.ENDPOINTS)


@app.command()
@command
def show(on: Installation, out: Output, endpoint: EndpointId) -> None:
    """One endpoint, with what waits for it and what happened at it in the last hour."""
    found = on.find("endpoint", endpoint)
    document = on.read(
        lambda context, _: queries.report_on_endpoint(context, found),
        serialize_endpoint_report,
        Call("GET", f"{_PATH}/{found}"),
    )
    out.document(document)


@app.command("test")
@event_command
def send_test(
    on: Installation,
    out: Output,
    content: dict[str, Any] | None,
    endpoint: EndpointId,
    event_type: Annotated[str, typer.Option("--type", metavar="NAME", help="Of which event.")] = "upload.completed",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")] = False,
) -> None:
    """Send a test event, and show the answer. It is neither stored nor counted. Exit code 1 unless it is a 2xx.

    With --url the key needs the scope webhooks:manage, and the endpoint is its organization's.
    """
    data = {"test": True} if content is None else content

    async def work(context: Context, _actor: Actor) -> Trial:
        found = await queries.get_endpoint(context, endpoint_id)
        event = NewEvent(event_type, orjson.dumps(data))
        return await try_endpoint(context, found.organization_id, found.id, event, dry_run=dry_run)

    endpoint_id = on.find("endpoint", endpoint)
    body = {"type": event_type, "data": data, "dry_run": dry_run}
    trial = on.change(work, serialize_trial, Call("POST", f"/api/v1/webhooks/{endpoint_id}/test", body=body))
    if out.as_json:
        print_json(trial)
    else:
        print_fields({name: trial[name] for name in ("matched", "because", "error")})
        if trial["request"] is not None:
            print_messages(trial["request"], trial["response"])
    answered = trial["response"] is not None and 200 <= trial["response"]["status"] < 300
    if not (answered or (dry_run and trial["matched"])):
        raise typer.Exit(1)


@app.command()
@command
def retry(on: Installation, out: Output, endpoint: EndpointId, yes: Yes = False) -> None:
    """Send everything that an endpoint lacks: its open dead letters, and what waits for a retry, which is made now."""
    found = on.find("endpoint", endpoint)
    selection = Selection(DeadLetterFilter(endpoint_id=found), include=(Included.DEAD, Included.PENDING))
    confirm_replay(on, selection, yes=yes)
    start_replay(on, out, selection)


@app.command("rotate-secret")
@command
def rotate_secret_(
    on: Installation,
    out: Output,
    endpoint: EndpointId,
    overlap: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="How long the former secret signs as well; 0s ends it at once."),
    ] = None,
) -> None:
    """Give an endpoint a new signing secret, and print it, this once.

    With --url the key needs the scope webhooks:manage, and the endpoint is its organization's.
    """
    endpoint_id, seconds = on.find("endpoint", endpoint), _seconds(overlap)

    async def work(context: Context, actor: Actor) -> str:
        found = await queries.get_endpoint(context, endpoint_id)
        rotated = await rotate_secret(context, found.organization_id, actor, found.id, overlap_seconds=seconds)
        return rotated.public_key or rotated.secret

    body = {} if seconds is None else {"overlap_seconds": seconds}
    answer = on.change(
        work,
        lambda secret: {"id": endpoint_id, "secret": secret},
        Call("POST", f"/api/v1/webhooks/{endpoint_id}/rotate-secret", body=body),
    )
    secret = answer["secret"] or answer.get("public_key")
    if out.as_json:
        print_json({"id": endpoint_id, "secret": secret})
    else:
        typer.echo(secret)
        typer.echo("It is not shown again.", err=True)


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


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--overlap") from None
