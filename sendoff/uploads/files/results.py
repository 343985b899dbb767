"""The two files that processing writes.

`processed` holds every valid row, in order: the columns of the header, then `phone_e164`, `phone_region`,
`phone_line_type` and `phone_time_zone` (with `_2` … appended if the file has such a column already). A row that is
shorter than the header is filled up with empty cells; cells beyond the header have no column and are left out.

`processed-filtered` holds the rows worth calling: the first of each number, and unless the upload skips the mobile
look-up only lines that a person may carry (`mobile`, `fixed_line_or_mobile`; North America's plan does not tell the
two apart), so no toll-free, premium, personal, VoIP-only or company numbers.

Both are CSV in UTF-8 as RFC 4180 has it. A cell that a spreadsheet would run as a formula gets an apostrophe in
front; what is plainly a number (`-5`, `+1 415-555-2671`, and so every E.164 number) stays as it is.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from sendoff.uploads.files.csv_reader import Table, open_table
from sendoff.uploads.files.number_set import NumberSet
from sendoff.uploads.files.phone_numbers import PhoneNumber, parse_number
from sendoff.uploads.files.validating import REPORT_EVERY, Progress

ADDED_COLUMNS = ("phone_e164", "phone_region", "phone_line_type", "phone_time_zone")
CARRIED_BY_PEOPLE = frozenset({"mobile", "fixed_line_or_mobile"})

# The starts that OWASP's "CSV injection" names, and their full-width twins.
_FORMULA_STARTS = frozenset("=+-@\t\r\n＝＋－＠")
_PLAIN_NUMBER = re.compile(r"[+-][0-9 ().,/-]*[0-9)]").fullmatch


class Written(msgspec.Struct, frozen=True):
    """How many rows went into each file."""

    processed: int
    filtered: int


def write_results(
    source: Path,
    phone_column: str,
    *,
    processed: Path,
    filtered: Path,
    valid_rows: int,
    skip_line_types: bool,
    progress: Progress,
) -> Written:
    """Reads the upload's original and writes both files; memory does not grow with the file, but for 7 bytes a row.

    `valid_rows` is what validation counted; `progress` hears the number of rows read, now and then. Raises Invalid
    if the file cannot be read (again), which validation has ruled out unless the file changed.
    """
    seen = NumberSet(valid_rows)
    processed_rows = filtered_rows = 0
    with (
        open_table(source, phone_column) as table,
        _writer(processed, table.columns) as write_processed,
        _writer(filtered, table.columns) as write_filtered,
    ):
        for row, number in _valid_rows(table, progress):
            cells = [*_original_cells(row, len(table.columns)), *number]
            write_processed(cells)
            processed_rows += 1
            if seen.add(number.e164) and (skip_line_types or number.line_type in CARRIED_BY_PEOPLE):
                write_filtered(cells)
                filtered_rows += 1
    return Written(processed_rows, filtered_rows)


def neutralize(cell: str) -> str:
    """The cell with an apostrophe in front if a spreadsheet would take it for a formula."""
    if cell[:1] not in _FORMULA_STARTS or _PLAIN_NUMBER(cell):
        return cell
    return "'" + cell


def _valid_rows(table: Table, progress: Progress) -> Iterator[tuple[list[str], PhoneNumber]]:
    for count, row in enumerate(table.rows, start=1):
        number = parse_number(table.phone(row))
        if number is not None:
            yield row, number
        if count % REPORT_EVERY == 0:
            progress(count)


def _original_cells(row: list[str], width: int) -> list[str]:
    cells = [neutralize(cell) if cell[:1] in _FORMULA_STARTS else cell for cell in row[:width]]
    return cells + [""] * (width - len(cells))


@contextmanager
def _writer(path: Path, columns: list[str]) -> Iterator[Callable[[Iterable[str]], Any]]:
    # A lone surrogate has no UTF-8; nothing that was read holds one, so "replace" is for the header's sake alone.
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        write = csv.writer(file).writerow
        write([neutralize(column) for column in (*columns, *_added_columns(columns))])
        yield write


def _added_columns(columns: list[str]) -> list[str]:
    taken = set(columns)
    return [_free_name(name, taken) for name in ADDED_COLUMNS]


def _free_name(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
