"""Tables for people: one line a row, in the columns that fit the width."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer
from rich.cells import cell_len, set_cell_size

from sendoff.cli.terminal.values import for_people, printable, shorten_id

GAP = 2
"""Spaces between two columns."""

_COLOURS = {
    "delivered": "green",
    "active": "green",
    "ok": "green",
    "✓": "green",
    "✗": "red",
    "dead": "red",
    "disabled": "red",
    "gone": "red",
    "failed": "red",
    "in_flight": "cyan",
    "running": "cyan",
    "pending": "yellow",
    "held": "yellow",
    "queued": "yellow",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A field as a table shows it.

    Where the table is narrow, the columns of the highest `rank` are left out first; those of rank 0 always stay. A
    column with a `least` width is cut down to that many cells; the others are never cut.
    """

    field: str
    title: str = ""
    show: Callable[[Any], str] | None = None
    rank: int = 0
    least: int | None = None
    is_id: bool = False
    is_url: bool = False
    right: bool = False


def render(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, width: int | None) -> list[str]:
    """The lines of the table with its heading, none wider than `width` cells; None is any width, with whole ids."""
    columns = [one for one in columns if any(one.field in row for row in rows)]
    cells = {column: [_cell(column, row, short=width is not None) for row in rows] for column in columns}
    natural = {column: max(map(cell_len, [_title(column), *cells[column]])) for column in columns}
    shown = list(columns) if width is None else _those_that_fit(columns, natural, width)
    widths = natural if width is None else _share(shown, natural, width)
    heading = _line([(column, _title(column)) for column in shown], widths, style=False)
    is_too_wide = width is not None and sum(widths[one] for one in shown) + GAP * (len(shown) - 1) > width
    style = _is_coloured() and not is_too_wide
    lines = [heading, *(_line([(one, cells[one][i]) for one in shown], widths, style=style) for i in range(len(rows)))]
    return [set_cell_size(line, width).rstrip() for line in lines] if width is not None and is_too_wide else lines


def find_width() -> int | None:
    """The columns that a line may take: COLUMNS, or the terminal's; None where the output goes to a file or a pipe."""
    if os.environ.get("COLUMNS", "").isdigit() or sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return None


def _cell(column: Column, row: Mapping[str, Any], *, short: bool) -> str:
    value = row.get(column.field)
    if column.is_id and isinstance(value, str):
        return printable(shorten_id(value) if short else value)
    return printable(column.show(value)) if column.show else for_people(value)


def _title(column: Column) -> str:
    return (column.title or column.field.replace("_", " ")).upper()


def _least(column: Column, natural: Mapping[Column, int]) -> int:
    return natural[column] if column.least is None else min(natural[column], column.least)


def _those_that_fit(columns: Sequence[Column], natural: Mapping[Column, int], width: int) -> list[Column]:
    shown = list(columns)
    while len(shown) > 1 and sum(_least(one, natural) for one in shown) + GAP * (len(shown) - 1) > width:
        dropped = max(shown, key=lambda one: (one.rank, shown.index(one)))
        if dropped.rank == 0:
            break
        shown.remove(dropped)
    return shown


def _share(shown: Sequence[Column], natural: Mapping[Column, int], width: int) -> dict[Column, int]:
    """The least widths, and what is left given to the columns that are cut, to each the same."""
    widths = {column: _least(column, natural) for column in shown}
    left = width - sum(widths.values()) - GAP * (len(shown) - 1)
    while left > 0:
        cut = [column for column in shown if widths[column] < natural[column]]
        if not cut:
            break
        for column in cut[:left]:
            widths[column] += 1
            left -= 1
    return widths


def _line(cells: Sequence[tuple[Column, str]], widths: Mapping[Column, int], *, style: bool) -> str:
    parts = []
    for column, text in cells:
        fitting = cut(text, widths[column], in_the_middle=column.is_url)
        padding = " " * (widths[column] - cell_len(fitting))
        painted = typer.style(fitting, fg=_COLOURS[text]) if style and text in _COLOURS else fitting
        parts.append(padding + painted if column.right else painted + padding)
    return (" " * GAP).join(parts).rstrip()


def cut(text: str, width: int, *, in_the_middle: bool) -> str:
    """The text in that many cells; an ellipsis stands for what is left out."""
    if cell_len(text) <= width:
        return text
    if not in_the_middle or width < 5:
        return set_cell_size(text, width - 1).rstrip() + "…"
    end = (width - 1) // 2
    kept = text
    while cell_len(kept) > end:
        kept = kept[1:]
    return set_cell_size(text, width - 1 - end).rstrip() + "…" + kept


def _is_coloured() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
