"""`sendoff alert-endpoints`: where operational events go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from sendoff.cli.terminal import columns
from sendoff.cli.terminal.installation import Call, Installation
from sendoff.cli.terminal.options import Before, LimitOption, command, list_command
from sendoff.cli.terminal.output import Output, print_text
from sendoff.cli.terminal.serializers import serialize_alert_endpoint, serialize_registered_alert, serialize_trial
from sendoff.endpoints.fields import AlertEndpointChanges, NewAlertEndpoint
from sendoff.endpoints.manage import EndpointChange
from sendoff.errors import Invalid, PingFailed, SendoffError
from sendoff.operators import alert_endpoints
from sendoff.policy.operational_events import OperationalEventType

app = typer.Typer(help="Where operational events go: webhooks, Slack, e-mail.", no_args_is_help=True)

AlertEndpointId = Annotated[str, typer.Argument(metavar="ID")]
Events = Annotated[
    list[str] | None,
    typer.Option("--event", metavar="TYPE", help="Such as `endpoint.disabled` or `endpoint.*`; repeatable."),
]
Organizations = Annotated[
    list[str] | None, typer.Option("--org", metavar="ID", help="What concerns this organization; repeatable.")
]

_NOUN = "alert endpoint"
_PATH = "/operator/v1/alert-endpoints"


@app.command()
@command
def create(
    on: Installation,
    out: Output,
    url: Annotated[str, typer.Argument(metavar="URL", help="https://…, or mailto:oncall@example.com.")],
    event: Events = None,
    org: Organizations = None,
    dialect: Annotated[
        str | None, typer.Option(metavar="NAME", help="`slack` for an incoming webhook of Slack; else as of a webhook.")
    ] = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="What it is for.")] = None,
) -> None:
    """Send a ping to a URL and, if it is answered, operational events from now on: all, unless --event names some."""
    given = {"url": url, "events": event, "dialect": dialect, "description": description}
    fields = {name: value for name, value in given.items() if value is not None} | _organizations(on, org)
    new = _checked(NewAlertEndpoint, fields)
    with _naming_the_cause():
        created = on.change(
            lambda context, actor: alert_endpoints.create_alert_endpoint(context, actor, new),
            serialize_registered_alert,
            Call("POST", _PATH, body=fields),
        )
    out.document(created)


@app.command("list")
@list_command
def list_(on: Installation, out: Output, limit: LimitOption = 50, before: Before = None) -> None:
    """Alert endpoints, newest first."""
    page = on.page(
        lambda context, most, start: alert_endpoints.list_alert_endpoints(context, limit=most, before=start),
        serialize_alert_endpoint,
        Call("GET", _PATH),
        limit=limit,
        before=before,
    )
    out.page(page, columns.ENDPOINTS, empty="No alert endpoint yet: no one is alerted when an endpoint is disabled.")


@app.command()
@command
def show(on: Installation, out: Output, alert_endpoint: AlertEndpointId) -> None:
    """One alert endpoint."""
    found = on.find(_NOUN, alert_endpoint)
    shown = on.read(
        lambda context, _: alert_endpoints.get_alert_endpoint(context, found),
        serialize_alert_endpoint,
        Call("GET", f"{_PATH}/{found}"),
    )
    out.document(shown)


@app.command()
@command
def update(
    on: Installation,
    out: Output,
    alert_endpoint: AlertEndpointId,
    url: Annotated[
        str | None, typer.Option("--new-url", metavar="URL", help="Another place; it gets a ping first.")
    ] = None,
    event: Events = None,
    org: Organizations = None,
    all_orgs: Annotated[bool, typer.Option("--all-orgs", help="What concerns any organization.")] = False,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="What it is for.")] = None,
    active: Annotated[bool | None, typer.Option("--on/--off", help="Send to it, or pause it.")] = None,
) -> None:
    """Change an alert endpoint; what is not given stays."""
    found = on.find(_NOUN, alert_endpoint)
    given = {"url": url, "events": event, "description": description, "is_active": active}
    fields = {name: value for name, value in given.items() if value is not None} | _organizations(on, org)
    if all_orgs:
        fields["organization_ids"] = None
    change = EndpointChange(_checked(AlertEndpointChanges, fields).given())
    with _naming_the_cause():
        changed = on.change(
            lambda context, actor: alert_endpoints.update_alert_endpoint(context, actor, found, change),
            serialize_alert_endpoint,
            Call("PATCH", f"{_PATH}/{found}", body=fields),
        )
    out.document(changed)


@app.command()
@command
def delete(on: Installation, out: Output, alert_endpoint: AlertEndpointId) -> None:
    """Send nothing more to an alert endpoint."""
    found = on.find(_NOUN, alert_endpoint)
    on.change(
        lambda context, actor: alert_endpoints.delete_alert_endpoint(context, actor, found),
        lambda _: None,
        Call("DELETE", f"{_PATH}/{found}"),
    )
    out.document({"id": found, "deleted": True})


@app.command("rotate-secret")
@command
def rotate_secret(on: Installation, out: Output, alert_endpoint: AlertEndpointId) -> None:
    """Make a new signing secret; the former one signs as well for the installation's overlap."""
    found = on.find(_NOUN, alert_endpoint)
    rotated = on.change(
        lambda context, actor: alert_endpoints.rotate_alert_secret(context, actor, found),
        serialize_registered_alert,
        Call("POST", f"{_PATH}/{found}/rotate-secret", body={}),
    )
    out.document(rotated)


@app.command("test")
@command
def try_(
    on: Installation,
    out: Output,
    alert_endpoint: AlertEndpointId,
    event: Annotated[
        OperationalEventType, typer.Option("--event", metavar="TYPE", help="What is to have happened.")
    ] = OperationalEventType.ENDPOINT_DISABLED,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the message and send nothing.")] = False,
) -> None:
    """Send an example of an operational event, and show what was answered. Nothing has happened."""
    found = on.find(_NOUN, alert_endpoint)
    trial: dict[str, Any] = on.change(
        lambda context, _: alert_endpoints.try_alert_endpoint(context, found, event_type=event, dry_run=dry_run),
        serialize_trial,
        Call("POST", f"{_PATH}/{found}/test", body={"type": event, "dry_run": dry_run}),
    )
    if out.as_json:
        out.document(trial)
        return
    response = trial["response"]
    out.document(
        {
            "matched": trial["matched"],
            "because": trial["because"],
            "answer": response["status"] if response else trial["error"],
        }
    )
    if trial["request"]:
        print_text("Message", trial["request"]["body"])


Fields = TypeVar("Fields", bound=BaseModel)


def _checked(model: type[Fields], fields: dict[str, Any]) -> Fields:
    """What the fields say. Raises Invalid, as the API refuses them."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0])
        message = str(first["msg"]).removeprefix("Value error, ")
        raise Invalid(f"`{name}`: {message}.", field=name) from None


@contextmanager
def _naming_the_cause() -> Iterator[None]:
    """An unanswered ping is reported with what went wrong."""
    try:
        yield
    except PingFailed as error:
        raise SendoffError(error.underlying_error or error.message) from None


def _organizations(on: Installation, given: list[str] | None) -> dict[str, Any]:
    return {"organization_ids": [on.find("organization", one) for one in given]} if given else {}
