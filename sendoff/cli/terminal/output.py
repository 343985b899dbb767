"""What commands print: JSON for programs, tables for people."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDTH_WITHOUT_TERMINAL = 250  # a file or a pipe has no width; what is cut off there is lost


_STEERING = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""Characters that steer a terminal or reorder what it shows. JSON may escape them, since they occur in strings only."""


def print_json(value: Any) -> None:
    """One JSON document on one line of standard output."""
    typer.echo(_STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", orjson.dumps(value).decode()))


def print_page(found: Sequence[Mapping[str, Any]], *, limit: int, columns: Sequence[str], as_json: bool) -> None:
    """A list: `{"data": [...], "next_cursor": …}` for programs, these `columns` of it for people.

    Shows `limit` rows; one row more in `found` means that the list continues.
    """
    rows = found[:limit]
    next_cursor = rows[-1]["id"] if len(found) > limit else None
    if as_json:
        print_json({"data": list(rows), "next_cursor": next_cursor})
        return
    print_table(rows, columns)
    if next_cursor is not None:
        typer.echo(f"There are more: --before {next_cursor}", err=True)


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A table with a row for each; the columns are names of fields."""
    if not rows:
        typer.echo("None.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=column == "id")
    for row in rows:
        table.add_row(*(Text(for_people(row[column])) for column in columns))
    _console().print(table)


def print_fields(fields: Mapping[str, Any]) -> None:
    """One thing, a line for each of its fields."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(name.replace("_", " "), Text(for_people(value)))
    _console().print(table)


def print_text(title: str, text: str) -> None:
    """A longer text, such as a body, under its title."""
    typer.echo(f"\n{title}")
    typer.echo("\n".join(f"  {printable(line)}" for line in text.splitlines()) or "  (empty)")


def for_people(value: Any) -> str:
    """A field's value as a table shows it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(for_people(one) for one in value)
    return printable(_shorten_time(str(value)))


def printable(text: str) -> str:
    """The text with control characters spelled out: what a receiver answered must not steer the terminal."""
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


def _shorten_time(text: str) -> str:
    if not text.endswith("+00:00"):
        return text
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return text


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH_WITHOUT_TERMINAL)
