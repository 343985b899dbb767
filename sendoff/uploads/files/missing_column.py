"""Why a CSV has no column of the wanted name, and what to change so that it has."""

from __future__ import annotations

import csv
import difflib
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from sendoff.uploads.files.phone_numbers import is_valid

DELIMITER_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
"""What separates cells, by the names that refusals use."""

_SHOWN_COLUMNS, _SHOWN_LENGTH = 20, 60
_MOST_ALIKE = 3
_OTHER_DELIMITERS = re.compile(r"[~^:#\x1e\x1f\x01]| {2,}")


class Beginning(NamedTuple):
    """The first lines of a file, decoded, with the header among them."""

    lines: Sequence[str]
    is_utf: bool
    """Whether they were UTF-8 or UTF-16; other encodings are read as Windows-1252, which they may not be."""


def position(columns: Sequence[str], wanted: str) -> int | None:
    """Where the column is: of that very name, or else regardless of case, blanks and invisible characters."""
    if wanted in columns:
        return columns.index(wanted)
    alike, sought = [_comparable(column) for column in columns], _comparable(wanted)
    return alike.index(sought) if sought and sought in alike else None


def explain(columns: Sequence[str], wanted: str, delimiter: str, beginning: Beginning) -> str:
    """The sentences of the refusal: what was read, and what to do about it."""
    listed = ", ".join(repr(_short(column)) for column in columns[:_SHOWN_COLUMNS])
    more = f" and {len(columns) - _SHOWN_COLUMNS:,} more" if len(columns) > _SHOWN_COLUMNS else ""
    taken = DELIMITER_NAMES.get(delimiter, repr(delimiter))
    return (
        f"The file has no column {_short(wanted)!r}. With the {taken} as delimiter its columns are: {listed}{more}. "
        + (
            _other_format(beginning)
            or _no_header(columns)
            or _header_further_down(wanted, beginning)
            or _other_delimiter(columns, wanted)
            or _other_quotes(columns, wanted)
            or _other_encoding(wanted, beginning)
            or _other_name(columns, wanted)
        )
    )


def _short(text: str) -> str:
    return text[:_SHOWN_LENGTH]


def _comparable(column: str) -> str:
    """The name without invisible differences: case, form of accents, spaces, zero-width characters, marks."""
    visible = "".join(c for c in unicodedata.normalize("NFKC", column) if unicodedata.category(c) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", visible.casefold()).split())


def _other_format(beginning: Beginning) -> str | None:
    first = next((line.strip() for line in beginning.lines if line.strip()), "")
    if first.startswith("<"):
        return "It looks like HTML or XML; save it as CSV (UTF-8)."
    if first.startswith(("{", "[{", '["')) or first == "[":
        return "It looks like JSON; send that as the body, with Content-Type: application/json."
    return None


def _no_header(columns: Sequence[str]) -> str | None:
    if any(map(is_valid, columns)):
        return "The first row holds a phone number: if it is data, put a row with the columns' names above it."
    return None


def _header_further_down(wanted: str, beginning: Beginning) -> str | None:
    """Not taken for the header by itself: the name may be a value, such as `phone` under `preferred contact`."""
    for delimiter in DELIMITER_NAMES:
        reader = csv.reader(beginning.lines, delimiter=delimiter)
        line = 1
        try:
            for row in reader:
                if position(row, wanted) is not None and line > 1:
                    above = "line 1" if line == 2 else f"lines 1 to {line - 1}"
                    return f"Line {line} has it: if that is the header, remove {above}."
                line = reader.line_num + 1
        except csv.Error:
            continue
    return None


def _other_delimiter(columns: Sequence[str], wanted: str) -> str | None:
    if len(columns) > 1 or not _OTHER_DELIMITERS.search(columns[0]):
        return None
    if position([part.strip("'\" ") for part in _OTHER_DELIMITERS.split(columns[0])], wanted) is None:
        return None
    return "Something else stands between its cells; save it with commas, semicolons, tabs or bars."


def _other_quotes(columns: Sequence[str], wanted: str) -> str | None:
    if len(columns) == 1 and any(position(columns[0].split(mark), wanted) is not None for mark in DELIMITER_NAMES):
        return "Each line is in quotes as a whole; remove the quotes around the lines."
    if position([column.strip().strip("'") for column in columns], wanted) is not None:
        return "Its cells are in single quotes; save it with double quotes."
    return None


def _other_encoding(wanted: str, beginning: Beginning) -> str | None:
    if wanted.isascii() or beginning.is_utf:
        return None
    return "It is not in UTF-8, so letters beyond ASCII may have been misread; save it as CSV (UTF-8)."


def _other_name(columns: Sequence[str], wanted: str) -> str:
    """Those that are spelled or named alike come first, since the list may be too long to show them."""
    sought = _comparable(wanted)[: 2 * _SHOWN_LENGTH]
    names = {_comparable(column[: 2 * _SHOWN_LENGTH]): column for column in reversed(columns)}
    close = difflib.get_close_matches(sought, names, n=_MOST_ALIKE)
    holding = [name for name in names if sought and sought in name and name not in close]
    alike = [names[name] for name in (*close, *reversed(holding)) if name][:_MOST_ALIKE]
    shown = " or ".join(repr(_short(column)) for column in alike)
    return f"Name one of them in phone_column{f', such as {shown}' if shown else ''}."
