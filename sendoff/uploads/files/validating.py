"""Counting an upload's valid rows. Every row with a valid number counts, a number that comes twice counts twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from sendoff.uploads.files.csv_reader import open_table
from sendoff.uploads.files.phone_numbers import is_valid

REPORT_EVERY = 5_000
"""Rows between two reports of progress. Fewer make more messages between the sandbox and its caller."""

Progress = Callable[[int], None]
"""Called with the number of rows read, now and then."""


class Counts(msgspec.Struct, frozen=True):
    """Rows with a valid number, and all others; together all rows behind the header."""

    valid: int
    invalid: int
    missing_cells: int = 0
    """Cells that the valid rows lack of the header's columns; the results fill them up."""


def validate_csv(source: Path, phone_column: str, progress: Progress) -> Counts:
    """Reads the file once, a row at a time. Raises Invalid as reading.open_table and its rows do."""
    valid = total = missing = 0
    with open_table(source, phone_column) as table:
        width = len(table.columns)
        for total, row in enumerate(table.rows, start=1):
            if is_valid(table.phone(row)):
                valid += 1
                missing += max(width - len(row), 0)
            if total % REPORT_EVERY == 0:
                progress(total)
    return Counts(valid, total - valid, missing)
