"""Reading a CSV that a stranger wrote: a row at a time, bounded in every direction.

What is accepted: a header row; comma, semicolon, tab or bar between the cells (the header line tells which); quoted
cells, with line breaks too; any of the three line ends; UTF-8 with or without a mark at the start, UTF-16 with one,
and Windows-1252 for every byte that isn't UTF-8, so that a file of mixed encodings loses no row. Blank lines are no
rows. What is refused, as `Invalid` with field `file` and a sentence: everything that would make the reader hold much
of the file at once or guess where a row ends.
"""

from __future__ import annotations

import codecs
import csv
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import NamedTuple

from sendoff.errors import Invalid

MOST_COLUMNS = 1_000
LONGEST_ROW = 1_048_576
LONGEST_CELL = 131_072

_DELIMITERS = ",;\t|"
_SPREADSHEET_MARKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_SHOWN_COLUMNS, _SHOWN_LENGTH = 20, 60
# Fed behind the last line: a row of its own, unless a quote is open. Lines of the file hold no NUL.
_END = "\0"


class Table(NamedTuple):
    """An open CSV, behind its header."""

    columns: list[str]
    """The header's cells as they were written."""
    phone_index: int
    """Where the phone number is; a row may be too short to have it."""
    rows: Iterator[list[str]]
    """Rows as they were written: possibly shorter or longer than the header. Raises Invalid in mid-file."""

    def phone(self, row: list[str]) -> str:
        return row[self.phone_index] if self.phone_index < len(row) else ""


@contextmanager
def open_table(path: Path, phone_column: str) -> Iterator[Table]:
    """Opens the CSV and finds `phone_column`: exactly, or else regardless of case and surrounding blanks.

    Raises Invalid, with field `phone_column` if there is no such column (the message names those there are).
    """
    with path.open("rb") as binary, TextIOWrapper(binary, _encoding(binary), errors=_FALLBACK, newline="") as text:
        lines = _PrefetchBuffer(text)
        first = _first_line(lines)
        reader = csv.reader(itertools.chain([first], lines), delimiter=_delimiter(first))
        rows = _rows(reader, lines)
        columns = _header(rows)
        yield Table(columns, _find_column(columns, phone_column), rows)


class _PrefetchBuffer:
    """The file's lines; `since_row` counts the characters handed out since the reader completed a row."""

    def __init__(self, text: TextIOWrapper) -> None:
        self._readline = text.readline
        self.since_row = 0
        self.ended = False

    def __iter__(self) -> _PrefetchBuffer:
        return self

    def __next__(self) -> str:
        line = self._read()
        if not line:
            if self.ended:
                raise StopIteration
            self.ended = True
            return _END
        self.since_row += len(line)
        if self.since_row > LONGEST_ROW:
            raise Invalid(f"The file has a row of more than {LONGEST_ROW:,} characters.", field="file")
        if _END in line:
            raise Invalid("The file holds NUL bytes: it is no CSV in UTF-8. Save it as CSV (UTF-8).", field="file")
        return line

    def _read(self) -> str:
        try:
            return self._readline(LONGEST_ROW + 1)
        except UnicodeError:  # only UTF-16 gets here; the other encodings have an answer to every byte
            raise Invalid("The file claims to be UTF-16 but is not.", field="file") from None


def _rows(reader: Iterator[list[str]], lines: _PrefetchBuffer) -> Iterator[list[str]]:
    number = 0
    try:
        for row in reader:
            lines.since_row = 0
            if lines.ended:
                _check_end(row, number)
                return
            if row:
                number += 1
                yield row
    except csv.Error as error:
        raise Invalid(f"Row {number + 1} of the file cannot be read: {error}.", field="file") from None


def _check_end(row: list[str], number: int) -> None:
    if row != [_END]:
        raise Invalid(f"Row {number + 1} of the file opens a quote that is never closed.", field="file")


def _first_line(lines: Iterator[str]) -> str:
    for line in lines:
        if line.strip() and line != _END:
            return line
    raise Invalid("The file is empty: it needs a header row.", field="file")


def _header(rows: Iterator[list[str]]) -> list[str]:
    columns = next(rows)
    if len(columns) > MOST_COLUMNS:
        raise Invalid(f"The file has {len(columns):,} columns; at most {MOST_COLUMNS:,} are read.", field="file")
    return columns


def _find_column(columns: list[str], wanted: str) -> int:
    if wanted in columns:
        return columns.index(wanted)
    alike = [_comparable(column) for column in columns]
    if wanted.strip() and _comparable(wanted) in alike:
        return alike.index(_comparable(wanted))
    shown = ", ".join(repr(column[:_SHOWN_LENGTH]) for column in columns[:_SHOWN_COLUMNS])
    more = ", …" if len(columns) > _SHOWN_COLUMNS else ""
    raise Invalid(
        f"The file has no column {wanted[:_SHOWN_LENGTH]!r}. Its columns are: {shown}{more}.", field="phone_column"
    )


def _comparable(column: str) -> str:
    return column.strip().casefold()


def _delimiter(line: str) -> str:
    """Whichever is most frequent outside quotes; the comma if there is none."""
    bare = "".join(line.split('"')[::2])
    return max(_DELIMITERS, key=bare.count)


def _encoding(binary: BufferedReader) -> str:
    start = binary.peek(4)[:4]
    if start.startswith(_SPREADSHEET_MARKS):
        raise Invalid("The file is a spreadsheet or an archive; save it as CSV (UTF-8).", field="file")
    return "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def _as_windows_1252(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError) or not error.encoding.startswith("utf-8"):
        raise error
    return error.object[error.start : error.end].decode("cp1252", errors="replace"), error.end


_FALLBACK = "sendoff.windows-1252"
codecs.register_error(_FALLBACK, _as_windows_1252)
