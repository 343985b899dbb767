"""Reading a CSV that a stranger wrote: a row at a time, bounded in every direction.

What is accepted: a header row, with line breaks in quoted cells; comma, semicolon, tab or bar between the cells,
whichever gives the header the wanted column, or the one that a first line such as `sep=;` names, behind PowerShell's
`#TYPE` line if there is one; blanks before quotes and quotes escaped by a backslash, where the first rows have them
(csv_dialect.py); any of the three line ends; UTF-8 with or without a byte order mark, UTF-16 with or without one,
UTF-32 with one, and Windows-1252 for every byte that isn't UTF-8, so that a file of mixed encodings loses no row. Blank
lines are skipped, and above the header rows of empty cells as well. What is refused, as `Invalid` with field `file` and
a sentence: everything that would make the reader hold much of the file at once or guess where a row ends. Above all a
title over the header is not skipped: missing_column.py says which lines to remove.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import NamedTuple

from sendoff.errors import Invalid
from sendoff.uploads.files.csv_dialect import choose_dialect, read_sample
from sendoff.uploads.files.missing_column import Beginning, explain, position

MOST_COLUMNS = 1_000
"""Columns of a file. Each takes memory in every row that is read."""

LONGEST_CELL = 1_048_576
LONGEST_ROW = 2 * LONGEST_CELL
"""Characters. The reader holds a row of many short cells in 20 times as many bytes, two or three rows at once."""

MOST_FILLED_CELLS = 100_000_000
"""Cells that rows shorter than the header lack, all together: each is a byte in both result files, so that a small file
of short rows becomes results as large as those of the largest file, and no larger."""

_SEPARATOR_LINE = re.compile(r"\"?sep=(?P<delimiter>[^\"\r\n])\"?\s*", re.IGNORECASE).fullmatch
_POWERSHELL_TYPE = ("#TYPE ", '"#TYPE ')
"""How the line begins that PowerShell's Export-Csv writes before the header."""

_OTHER_FORMATS = {
    b"PK\x03\x04": "a spreadsheet or an archive",
    b"\xd0\xcf\x11\xe0": "a spreadsheet",
    b"\x1f\x8b": "compressed by gzip",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ\x00": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"7z\xbc\xaf": "an archive",
    b"Rar!": "an archive",
    b"%PDF-": "a PDF",
    b"{\\rtf": "a text document",
    b"PAR1": "a Parquet file",
    b"SQLite format 3\x00": "a database",
}
"""What files begin with that people take for CSVs, or send as they were packed."""

_BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_EMPTY_CELLS = re.compile(r"[\s,;|\"]*").fullmatch
_LOOKED_AT_BYTES = 256
_MOST_EXPLAINED_CHARACTERS = 65_536
# Fed behind the last line: a row of its own, unless a quote is open. Lines of the file hold no NUL.
_END = "\0"


class CsvFormat(NamedTuple):
    """How a CSV is written, so that its results can be written alike."""

    delimiter: str = ","
    line_ending: str = "\r\n"
    byte_order_mark: bool = False


class CsvTable(NamedTuple):
    """An open CSV, behind its header."""

    columns: list[str]
    """The header's cells as they were written."""
    phone_index: int
    """Where the phone number is; a row may be too short to have it."""
    rows: Iterator[list[str]]
    """Rows as they were written: possibly shorter or longer than the header. Raises Invalid in mid-file."""
    format: CsvFormat

    def phone(self, row: list[str]) -> str:
        return row[self.phone_index] if self.phone_index < len(row) else ""


@contextmanager
def open_table(path: Path, phone_column: str) -> Iterator[CsvTable]:
    """Opens the CSV and finds `phone_column`: exactly, or else regardless of case, blanks and invisible characters.

    Raises Invalid, with field `phone_column` if there is no such column (the message names those there are).
    """
    with path.open("rb") as binary:
        start = binary.read(_LOOKED_AT_BYTES)
        binary.seek(0)
        encoding = _encoding(start)
        with TextIOWrapper(binary, encoding, errors=_FALLBACK, newline="") as text:
            lines = _PhysicalLines(text)
            first = _first_line(lines)
            if first.startswith(_POWERSHELL_TYPE):
                first = _first_line(lines)
            named = _SEPARATOR_LINE(first)
            sample = read_sample(_first_line(lines) if named else first, _until_end(lines))
            dialect = choose_dialect(sample, phone_column, named["delimiter"] if named else None)
            reader = dialect.reader(itertools.chain(sample.lines, lines))
            rows = _rows(reader, lines)
            columns = _header(rows)
            index = position(columns, phone_column)
            if index is None:
                raise Invalid(
                    explain(columns, phone_column, dialect.delimiter, _read_beginning(path, encoding)),
                    field="phone_column",
                )
            marked = start.startswith(_BYTE_ORDER_MARKS)
            yield CsvTable(
                columns,
                index,
                _bounded(rows, len(columns)),
                CsvFormat(dialect.delimiter, sample.line_ending, marked),
            )


class _PhysicalLines:
    """The file's lines; `since_row` counts the characters handed out since the reader completed a row."""

    def __init__(self, text: TextIOWrapper) -> None:
        self._readline = text.readline
        self.since_row = 0
        self.ended = False

    def __iter__(self) -> _PhysicalLines:
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
            raise Invalid(
                "The file holds NUL bytes, so it is not a CSV in UTF-8. Save it as CSV (UTF-8).", field="file"
            )
        return line

    def _read(self) -> str:
        try:
            return self._readline(LONGEST_ROW + 1)
        except UnicodeError:  # only UTF-16 and UTF-32 get here; the other encodings have an answer to every byte
            raise Invalid(
                "The file begins like UTF-16 or UTF-32 and is not; save it as CSV (UTF-8).", field="file"
            ) from None


def _until_end(lines: _PhysicalLines) -> Iterator[str]:
    """The file's own lines. The mark behind the last one is handed out once more, behind the last row."""
    for line in lines:
        if line == _END:
            lines.ended = False
            return
        yield line


def _rows(reader: Iterator[list[str]], lines: _PhysicalLines) -> Iterator[list[str]]:
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
        problem = (
            f"has a cell of more than {LONGEST_CELL:,} characters"
            if "limit" in str(error)
            else f"cannot be read: {error}"
        )
        raise Invalid(f"Row {number + 1} of the file {problem}.", field="file") from None


def _bounded(rows: Iterator[list[str]], width: int) -> Iterator[list[str]]:
    """The rows. Raises Invalid once results that fill up the short ones would become too large."""
    missing = 0
    for row in rows:
        if len(row) < width:
            missing += width - len(row)
            check_missing_cells(missing, width)
        yield row


def check_missing_cells(missing: int, width: int) -> None:
    """Raise Invalid if rows of a table with `width` columns lack too many cells."""
    if missing > MOST_FILLED_CELLS:
        raise Invalid(
            f"The rows lack more than {MOST_FILLED_CELLS:,} cells of the header's {width:,} columns; "
            "remove the columns that are not needed.",
            field="file",
        )


def _check_end(row: list[str], number: int) -> None:
    if row != [_END]:
        raise Invalid(f"Row {number + 1} of the file opens a quote that is never closed.", field="file")


def _first_line(lines: Iterator[str]) -> str:
    for line in lines:
        text = line.lstrip("\ufeff")
        if text != _END and not _is_empty(text):
            return text
    raise Invalid("The file is empty: it needs a header row.", field="file")


def _is_empty(line: str) -> bool:
    """Whether its cells are; a quote that it opens begins a cell with a line break."""
    return _EMPTY_CELLS(line) is not None and line.count('"') % 2 == 0


def _header(rows: Iterator[list[str]]) -> list[str]:
    columns = next(rows)
    if len(columns) > MOST_COLUMNS:
        raise Invalid(f"The file has {len(columns):,} columns; at most {MOST_COLUMNS:,} are read.", field="file")
    return columns


def _read_beginning(path: Path, encoding: str) -> Beginning:
    """What to explain a missing column with."""
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        text = file.read(_MOST_EXPLAINED_CHARACTERS).replace(_END, "")
    return Beginning(list(StringIO(text, newline="")), is_utf="\ufffd" not in text)


def _encoding(start: bytes) -> str:
    for mark, other in _OTHER_FORMATS.items():
        if start.startswith(mark):
            raise Invalid(f"The file is {other}; save it as CSV (UTF-8) and send that as it is.", field="file")
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    # Without a mark: the ASCII characters of the header (delimiters, line ends) have a zero byte, always on one side.
    even, odd = start[0::2], start[1::2]
    if odd.count(0) > len(odd) // 8 + 1 and not even.count(0):
        return "utf-16-le"
    if even.count(0) > len(even) // 8 + 1 and not odd.count(0):
        return "utf-16-be"
    return "utf-8-sig"


def _as_windows_1252(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError) or not error.encoding.startswith("utf-8"):
        raise error
    return error.object[error.start : error.end].decode("cp1252", errors="replace"), error.end


_FALLBACK = "sendoff.windows-1252"
codecs.register_error(_FALLBACK, _as_windows_1252)
csv.field_size_limit(LONGEST_CELL)
