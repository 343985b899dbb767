"""How a delivery's attempts, its last request and the response to it are shown to people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from sendoff.cli.terminal import columns
from sendoff.cli.terminal.output import Output, print_fields, print_json, print_table, print_text

_LONG = ("request", "response", "attempts")


def print_exchange(document: Mapping[str, Any], out: Output) -> None:
    """A delivery or a dead letter with its attempts, and what went over the wire at the last that failed."""
    if out.as_json:
        print_json(document)
        return
    print_fields({name: value for name, value in document.items() if name not in _LONG})
    if document["attempts"]:
        typer.echo()
        print_table(document["attempts"], columns.ATTEMPTS)
    print_messages(document["request"], document["response"])


def print_messages(request: Mapping[str, Any], response: Mapping[str, Any] | None) -> None:
    """A request and the response to it, if there is one."""
    print_text(f"Request to {request['url']}", _message(request["headers"], request["body"]))
    if response is not None:
        cut = " (cut short)" if response["truncated"] else ""
        print_text(f"Response {response['status']}{cut}", _message(response["headers"], response["body"]))


def _message(headers: Mapping[str, str] | None, body: str) -> str:
    lines = [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\n".join([*lines, "", body] if lines else [body])
