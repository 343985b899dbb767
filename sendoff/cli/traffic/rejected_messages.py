"""`sendoff rejected-messages`: what `sendoff consume` could not accept."""

from __future__ import annotations

from typing import Annotated

import typer

from sendoff.cli.terminal import columns
from sendoff.cli.terminal.cursors import decode_cursor, encode_cursor
from sendoff.cli.terminal.installation import Installation
from sendoff.cli.terminal.options import Before, LimitOption, command, list_command
from sendoff.cli.terminal.output import Output
from sendoff.cli.terminal.serializers import serialize_rejected_message, serialize_rejected_message_in_list
from sendoff.operators.rejected_messages import get_rejected_message, list_rejected_messages

app = typer.Typer(help="Messages of brokers that can never be accepted, and why.", no_args_is_help=True)


@app.command("list")
@list_command
def list_(
    on: Installation,
    out: Output,
    source: Annotated[
        str | None, typer.Option("--from", metavar="NAME", help="From this one only, such as `rabbitmq:orders`.")
    ] = None,
    limit: LimitOption = 50,
    before: Before = None,
) -> None:
    """Rejected messages, newest first."""
    start = decode_cursor(before)
    found = on.run(lambda context, _: list_rejected_messages(context, source=source, limit=limit + 1, before=start))
    shown = [serialize_rejected_message_in_list(message) for message in found[:limit]]
    cursor = encode_cursor(shown[-1]["id"]) if len(found) > limit else None
    out.page({"data": shown, "next_cursor": cursor}, columns.REJECTED_MESSAGES)


@app.command()
@command
def show(
    on: Installation,
    out: Output,
    message: Annotated[str, typer.Argument(metavar="ID", help="Its whole id, as `list --wide` shows it.")],
) -> None:
    """One rejected message, with its headers and body."""
    out.document(serialize_rejected_message(on.run(lambda context, _: get_rejected_message(context, message))))
