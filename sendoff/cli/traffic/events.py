"""`sendoff events`: find an event, see it, and why it was sent to an endpoint, or not."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer

from sendoff.cli.terminal import columns
from sendoff.cli.terminal.cursors import decode_cursor
from sendoff.cli.terminal.installation import Call, Document, Installation, as_query
from sendoff.cli.terminal.options import Before, OrganizationOption, command, list_command
from sendoff.cli.terminal.output import Output, print_fields, print_json, print_table, print_text
from sendoff.cli.terminal.serializers import (
    serialize_event_report,
    serialize_explanation,
    serialize_listed_events,
    serialize_search,
)
from sendoff.cli.terminal.time_options import Since, Until, parse_past
from sendoff.errors import NotFound
from sendoff.operators.events import get_event_report, list_events
from sendoff.operators.explain import explain_event
from sendoff.operators.search import search
from sendoff.store.queries.traffic.event_lists import EventFilter

app = typer.Typer(help="Find an event, see it, and why it was sent to an endpoint, or not.", no_args_is_help=True)

EventId = Annotated[
    str,
    typer.Argument(metavar="EVENT", help="Its id or the end of it; or a tag, a request id or a text in its data."),
]
Limit = Annotated[int, typer.Option(min=1, max=100, metavar="N", help="How many to show at most.")]

_PATH = "/operator/v1/events"


@app.command("list")
@list_command
def list_(
    on: Installation,
    out: Output,
    org: OrganizationOption = None,
    event_type: Annotated[str | None, typer.Option(metavar="NAME", help="Of this type only.")] = None,
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="With this tag only.")] = None,
    request_id: Annotated[str | None, typer.Option(metavar="ID", help="Published by this request only.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Published with this Idempotency-Key in the last 24 hours.")
    ] = None,
    contains: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Whose data contains this text as it was sent.")
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    before: Before = None,
) -> None:
    """Events, newest first. What has no index is looked for among the newest 50,000; the next page goes on below."""
    chosen = EventFilter(
        organization_id=on.find_any("organization", org),
        event_type=event_type,
        tag=tag,
        request_id=request_id,
        since=parse_past(since, "--since"),
        until=parse_past(until, "--until"),
    )
    if contains is not None and org is None:
        if chosen != EventFilter() or idempotency_key:
            raise typer.BadParameter("together with other choices it needs --org", param_hint="--contains")
        page = {"data": [_as_listed(_read(on, one)) for one in _search(on, contains)], "next_cursor": None}
    else:
        page = _list(on, EventFilter(**{**as_fields(chosen), "q": contains}), idempotency_key, limit, before)
    out.page(page, columns.EVENTS)


@app.command()
@command
def show(on: Installation, out: Output, event: EventId) -> None:
    """One event with its data, and what became of it for each endpoint, and why."""
    found = _find(on, event)
    document = _read(on, found)
    if out.as_json:
        print_json(document)
        return
    print_fields({name: value for name, value in document.items() if name not in ("data", "deliveries")})
    print_text("Data", orjson.dumps(document["data"], option=orjson.OPT_INDENT_2).decode())
    typer.echo()
    print_table(_explain(on, found)["endpoints"], columns.VERDICTS)


@app.command()
@command
def explain(on: Installation, out: Output, event: EventId) -> None:
    """A verdict for every endpoint of the event's organization: delivered, waiting, or why it was not sent."""
    document = _explain(on, _find(on, event))
    if out.as_json:
        print_json(document)
        return
    print_fields(document["event"])
    typer.echo()
    print_table(document["endpoints"], columns.VERDICTS)


def as_fields(chosen: EventFilter) -> dict[str, Any]:
    """The filter's fields by name."""
    return {name: getattr(chosen, name) for name in chosen.__slots__}


def _list(
    on: Installation, chosen: EventFilter, idempotency_key: str | None, limit: int, before: str | None
) -> Document:
    start = decode_cursor(before)
    found: Document = on.read(
        lambda context, _: list_events(context, chosen, limit=limit + 1, before=start, idempotency_key=idempotency_key),
        lambda listed: serialize_listed_events(listed, limit),
        Call("GET", _PATH, as_query(chosen) | {"idempotency_key": idempotency_key, "limit": limit, "cursor": before}),
    )
    return found


def _read(on: Installation, event_id: str) -> Document:
    found: Document = on.read(
        lambda context, _: get_event_report(context, event_id),
        serialize_event_report,
        Call("GET", f"{_PATH}/{event_id}"),
    )
    return found


def _as_listed(document: Document) -> Document:
    """An event as a list has it: without its data, and with the number of its deliveries."""
    listed = {name: value for name, value in document.items() if name != "data"}
    return listed | {"deliveries": len(document["deliveries"])}


def _explain(on: Installation, event_id: str) -> Document:
    found: Document = on.read(
        lambda context, _: explain_event(context, event_id),
        serialize_explanation,
        Call("GET", f"{_PATH}/{event_id}/explain"),
    )
    return found


def _search(on: Installation, text: str) -> list[str]:
    """The ids of the events that the text means, newest first."""
    found = on.read(
        lambda context, _: search(context, text), serialize_search, Call("GET", "/operator/v1/search", {"q": text})
    )
    return [one["id"] for one in found["data"] if one["type"] == "event"]


def _find(on: Installation, given: str) -> str:
    """The event that is meant: by its id, or else the newest that anything else finds; says which others there are."""
    if given.startswith(("evt_", "…")):
        return on.find("event", given)
    found = _search(on, given)
    if len(found) > 1:
        typer.echo(f"The newest of {len(found)} that match; the others: {', '.join(found[1:4])}", err=True)
    if found:
        return found[0]
    if set(given.lower()) <= set("0123456789abcdef"):
        return on.find("event", given)
    raise NotFound("No event matches, by id, tag, request id or text, or its retention has ended.")
