"""What commands print: JSON, CSV and lines of JSON for programs, tables for people."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson
import typer

from sendoff.cli.terminal.tables import Column, find_width, render
from sendoff.cli.terminal.values import for_people, printable, show_age
from sendoff.clock import SystemClock

_STEERING = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""Characters that steer a terminal or reorder what it shows. JSON may escape them, since they occur in strings only."""


class OutputFormat(StrEnum):
    """How a list is printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Output:
    """Prints a command's result as its options ask for."""

    format: OutputFormat = OutputFormat.TABLE

    @property
    def as_json(self) -> bool:
        return self.format is OutputFormat.JSON

    def document(self, fields: Mapping[str, Any]) -> None:
        """One thing: a JSON document, or a line for each of its fields."""
        (print_json if self.as_json else print_fields)(fields)

    def page(self, page: Mapping[str, Any], columns: Sequence[Column], *, empty: str = "") -> None:
        """A list, `{"data": [...], "next_cursor": …}`; its `columns` for people. `empty` says why there may be none."""
        rows, cursor = page["data"], page.get("next_cursor")
        if self.as_json:
            print_json(page)
            return
        self.rows(rows, columns, empty=empty)
        if back_to := page.get("scanned_back_to"):
            typer.echo(f"Searched back to {back_to}. Older ones: --before {cursor}", err=True)
        elif cursor is not None:
            typer.echo(f"There are more: --before {cursor}", err=True)

    def rows(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, empty: str = "") -> None:
        """The rows of a list, in any format but JSON's one document."""
        match self.format:
            case OutputFormat.CSV:
                print_csv(rows)
            case OutputFormat.NDJSON | OutputFormat.JSON:
                for row in rows:
                    print_json(row)
            case _:
                print_table(rows, columns, wide=self.format is OutputFormat.WIDE, empty=empty)


def print_json(value: Any) -> None:
    """One JSON document on one line of standard output."""
    typer.echo(_STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", orjson.dumps(value).decode()))


def print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    """All fields of the rows as CSV (RFC 4180), with a heading; what is not a text, number or truth is JSON."""
    writer = csv.writer(sys.stdout)
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer.writerow(names)
    for row in rows:
        writer.writerow([_csv_value(row.get(name)) for name in names])


def print_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, wide: bool = False, empty: str = ""
) -> None:
    """A line for each row, in the columns that fit the terminal; all of them, whole, when `wide`."""
    if not rows:
        typer.echo("None.")
        if empty:
            typer.echo(empty, err=True)
        return
    for line in render(rows, columns, width=None if wide else find_width()):
        typer.echo(line)


def print_fields(fields: Mapping[str, Any]) -> None:
    """One thing, a line for each of its fields."""
    longest = max(map(len, fields), default=0)
    for name, value in fields.items():
        typer.echo(f"{name.replace('_', ' '):{longest}}  {_with_age(value)}".rstrip())


def print_text(title: str, text: str) -> None:
    """A longer text, such as a body, under its title."""
    typer.echo(f"\n{title}")
    typer.echo("\n".join(f"  {printable(line)}" for line in text.splitlines()) or "  (empty)")


def _with_age(value: Any) -> str:
    text = for_people(value)
    is_time = isinstance(value, str) and text.endswith("Z") and text != value
    return f"{text} ({_say_age(value)})" if is_time else text


def _say_age(moment: str) -> str:
    is_past = datetime.fromisoformat(moment) <= SystemClock().now()
    return f"{show_age(moment)} ago" if is_past else f"in {show_age(moment)}"


def _csv_value(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    return orjson.dumps(value).decode()
