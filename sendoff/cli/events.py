"""`sendoff events`: why an event was sent to an endpoint, or not."""

from __future__ import annotations

from typing import Annotated

import typer

from sendoff.cli.terminal import columns
from sendoff.cli.terminal.installation import Call, Installation
from sendoff.cli.terminal.options import command
from sendoff.cli.terminal.output import Output, print_fields, print_json, print_table
from sendoff.cli.terminal.serializers import serialize_explanation
from sendoff.operators.explain import explain_event

app = typer.Typer(help="Why an event was sent to an endpoint, or not.", no_args_is_help=True)

EventId = Annotated[str, typer.Argument(metavar="ID", help="The event's id: evt_ and 24 hexadecimal digits.")]


@app.command()
@command
def explain(on: Installation, out: Output, event: EventId) -> None:
    """A verdict for every endpoint of the event's organization: delivered, waiting, or why it was not sent."""
    found = on.find("event", event)
    document = on.read(
        lambda context, _: explain_event(context, found),
        serialize_explanation,
        Call("GET", f"/operator/v1/events/{found}/explain"),
    )
    if out.as_json:
        print_json(document)
        return
    print_fields(document["event"])
    typer.echo()
    print_table(document["endpoints"], columns.VERDICTS)
