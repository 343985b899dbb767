"""`sendoff events`: why an event was sent to an endpoint, or not."""

from __future__ import annotations

from typing import Annotated

import typer

from sendoff.cli.terminal.output import print_fields, print_json, print_table
from sendoff.cli.terminal.serializers import serialize_explanation
from sendoff.cli.terminal.session import DEFAULT_DATA, AsJson, Data, run_with_context
from sendoff.operators.explain import explain_event

app = typer.Typer(help="Why an event was sent to an endpoint, or not.", no_args_is_help=True)

EventId = Annotated[str, typer.Argument(metavar="ID", help="The event's id: evt_ and 24 hexadecimal digits.")]


@app.command()
def explain(event: EventId, data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """A verdict for every endpoint of the event's organization: delivered, waiting, or why it was not sent."""
    document = serialize_explanation(run_with_context(data, lambda context, _: explain_event(context, event)))
    if as_json:
        print_json(document)
        return
    print_fields(document["event"])
    typer.echo()
    print_table(document["endpoints"], ["verdict", "because", "url", "endpoint_id"])
