"""How a delivery's attempts, its last request and the response to it are shown to people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from sendoff.cli.terminal.output import print_table, print_text


def print_attempts(document: Mapping[str, Any]) -> None:
    """`attempts`, `request` and `response` of a delivery or a dead letter."""
    if document["attempts"]:
        typer.echo()
        columns = ["number", "started_at", "duration_ms", "outcome", "response_status", "error"]
        print_table(document["attempts"], columns)
    request, response = document["request"], document["response"]
    print_text(f"Request to {request['url']}", _message(request["headers"], request["body"]))
    if response is not None:
        cut = " (cut short)" if response["truncated"] else ""
        print_text(f"Response {response['status']}{cut}", _message(response["headers"], response["body"]))


def _message(headers: Mapping[str, str] | None, body: str) -> str:
    lines = [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\n".join([*lines, "", body] if lines else [body])
