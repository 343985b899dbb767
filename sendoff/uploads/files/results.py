"""The two files that processing writes.

`processed` holds every valid row, in order: the columns of the header, then `phone_e164`, `phone_region`,
`phone_line_type` and `phone_time_zone` (with `_2` … appended if the file has such a column already). A row that is
shorter than the header is filled up with empty cells; cells beyond the header's columns come last, behind
the added ones.

`processed-filtered` holds the rows worth calling: the first of each number, and unless the upload skips the mobile
look-up only lines that a person may carry (`mobile`, `fixed_line_or_mobile`; North America's plan does not tell the
two apart), so no toll-free, premium, personal, VoIP-only or company numbers.

Both are CSV in UTF-8, with the original's delimiter, line ending and byte order mark. A cell that a spreadsheet would
run as a formula gets an apostrophe in front, inside a cell as well where a spreadsheet that takes another delimiter
would begin one; what is plainly a number (`-5`, `+1 415-555-2671`, and so every E.164 number) stays as it is. Cells
that hold a delimiter of any kind, a quote or a line break, or begin like a formula, are quoted.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from sendoff.errors import Invalid
from sendoff.uploads.files.csv_reader import CsvFormat, CsvTable, open_table
from sendoff.uploads.files.number_set import NumberSet
from sendoff.uploads.files.phone_numbers import PhoneNumber, parse_number
from sendoff.uploads.files.validating import REPORT_EVERY, Progress

MOST_RESULT_BYTES = 1024 * 1024 * 1024
"""Bytes of one result file, in the temporary folder and in the storage. The largest upload of bare numbers makes
600 MB; a file whose every cell grows by quotes and apostrophes would make several times as much, and fails."""

ADDED_COLUMNS = ("phone_e164", "phone_region", "phone_line_type", "phone_time_zone")
CARRIED_BY_PEOPLE = frozenset({"mobile", "fixed_line_or_mobile"})

# The starts that OWASP's "CSV injection" names, and their full-width twins.
_FORMULA_STARTS = frozenset("=+-@\t\r\n＝＋－＠")
# Where a cell would begin for a spreadsheet that takes another delimiter, with a formula and not with a plain number.
_INNER_FORMULA = re.compile(r"([,;\t|\r\n]\"*)(?=[=@＝＠]|[+\-＋－](?![0-9 ()./-]*(?:[,;\t|\r\n\"]|$)))")
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

    `valid_rows` is what validation counted; `progress` is called with the number of rows read. Raises Invalid
    if a result would be larger than MOST_RESULT_BYTES, or if the file cannot be read (again), which validation has
    ruled out unless the file changed.
    """
    seen = NumberSet(valid_rows)
    processed_rows = filtered_rows = 0
    with (
        open_table(source, phone_column) as table,
        _writer(processed, table) as write_processed,
        _writer(filtered, table) as write_filtered,
    ):
        width, line_of = len(table.columns), _line_maker(table.format)
        head = line_of([neutralize(column) for column in (*table.columns, *_added_columns(table.columns))])
        write_processed(head)
        write_filtered(head)
        for row, number in _valid_rows(table, progress):
            original = [neutralize(cell) for cell in row]
            filled = [""] * (width - len(row))
            line = line_of([*original[:width], *filled, *number, *original[width:]])
            write_processed(line)
            processed_rows += 1
            if seen.add(number.e164) and (skip_line_types or number.line_type in CARRIED_BY_PEOPLE):
                write_filtered(line)
                filtered_rows += 1
    return Written(processed_rows, filtered_rows)


def neutralize(cell: str) -> str:
    """The cell with an apostrophe in front of what a spreadsheet would take for a formula."""
    mark = "'" if cell[:1] in _FORMULA_STARTS and not _PLAIN_NUMBER(cell) else ""
    return mark + _INNER_FORMULA.sub(r"\1'", cell)


def _valid_rows(table: CsvTable, progress: Progress) -> Iterator[tuple[list[str], PhoneNumber]]:
    for count, row in enumerate(table.rows, start=1):
        number = parse_number(table.phone(row))
        if number is not None:
            yield row, number
        if count % REPORT_EVERY == 0:
            progress(count)


@contextmanager
def _writer(path: Path, table: CsvTable) -> Iterator[Callable[[bytes], None]]:
    with path.open("wb") as file:
        size = 0

        def write(line: bytes) -> None:
            nonlocal size
            size += len(line)
            if size > MOST_RESULT_BYTES:
                raise Invalid(
                    f"The results are larger than {MOST_RESULT_BYTES // 1024 // 1024:,} MB; send the file in parts.",
                    field="file",
                )
            file.write(line)

        if table.format.byte_order_mark:
            write(codecs.BOM_UTF8)
        yield write


def _line_maker(written: CsvFormat) -> Callable[[list[str]], bytes]:
    """Makes the line of a row's cells."""
    needs_quotes, delimiter, line_ending = _quoting(written), written.delimiter, written.line_ending

    def line_of(cells: list[str]) -> bytes:
        quoted = [f'"{cell.replace(chr(34), chr(34) * 2)}"' if cell and needs_quotes(cell) else cell for cell in cells]
        # A lone surrogate has no UTF-8; nothing that was read holds one, so "replace" is for the header's sake alone.
        return (delimiter.join(quoted) + line_ending).encode(errors="replace")

    return line_of


def _quoting(written: CsvFormat) -> Callable[[str], object]:
    """Tells which cells are quoted."""
    return re.compile(rf'[,;\t|"\r\n{re.escape(written.delimiter)}]|^[=+\-@＝＋－＠]').search


def _added_columns(columns: list[str]) -> list[str]:
    taken = set(columns)
    return [_free_name(name, taken) for name in ADDED_COLUMNS]


def _free_name(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
