"""Reading a CSV that a stranger wrote: a row at a time, bounded in every direction.

What is accepted: a header row, with line breaks in quoted cells; comma, semicolon, tab or bar between the cells,
whichever gives the header the wanted column, or the one that a first line such as `sep=;` names, behind PowerShell's
`#TYPE` line if there is one; any of the three line
ends; UTF-8 with or without a byte order mark, UTF-16 with or without one, and Windows-1252 for every byte that isn't
UTF-8, so that a file of mixed encodings loses no row. Blank lines are skipped. What is refused, as `Invalid` with field
`file` and a sentence: everything that would make the reader hold much of the file at once or guess where a row ends.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import NamedTuple

from sendoff.errors import Invalid

MOST_COLUMNS = 1_000
LONGEST_ROW = 1_048_576
LONGEST_CELL = 131_072
MOST_FILLED_CELLS = 100_000_000
"""Cells that rows shorter than the header lack, all together: each is a byte in both result files, so that a small file
of short rows becomes results as large as those of the largest file, and no larger."""

_DELIMITERS = ",;\t|"
_DELIMITER_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_SEPARATOR_LINE = re.compile(r"\"?sep=(?P<delimiter>[^\"\r\n])\"?\s*", re.IGNORECASE).fullmatch
_POWERSHELL_TYPE = ("#TYPE ", '"#TYPE ')
"""How the line begins that PowerShell's Export-Csv writes before the header."""

_SPREADSHEET_MARKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_SHOWN_COLUMNS, _SHOWN_LENGTH = 20, 60
_LOOKED_AT_BYTES = 256
# Looked at to choose the delimiter; of a header with more line breaks in its cells, only the columns before count.
_MOST_HEADER_LINES = 100
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
            header, readings = _read_header(_first_line(lines) if named else first, lines)
            delimiter = named["delimiter"] if named else _choose_delimiter(header, readings, phone_column)
            line_ending = header[-1][len(header[-1].rstrip("\r\n")) :] or "\r\n"
            reader = csv.reader(itertools.chain(header, lines), delimiter=delimiter)
            rows = _rows(reader, lines)
            columns = _header(rows)
            index = _find_column(columns, phone_column, delimiter)
            marked = start.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            yield CsvTable(columns, index, _bounded(rows, len(columns)), CsvFormat(delimiter, line_ending, marked))


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
        except UnicodeError:  # only UTF-16 gets here; the other encodings have an answer to every byte
            raise Invalid("The file is not valid UTF-16; save it as CSV (UTF-8).", field="file") from None


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
        raise Invalid(f"Row {number + 1} of the file cannot be read: {error}.", field="file") from None


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
        if text.strip() and text != _END:
            return text
    raise Invalid("The file is empty: it needs a header row.", field="file")


def _header(rows: Iterator[list[str]]) -> list[str]:
    columns = next(rows)
    if len(columns) > MOST_COLUMNS:
        raise Invalid(f"The file has {len(columns):,} columns; at most {MOST_COLUMNS:,} are read.", field="file")
    return columns


def _find_column(columns: list[str], wanted: str, delimiter: str) -> int:
    index = _position(columns, wanted)
    if index is not None:
        return index
    listed = ", ".join(repr(column[:_SHOWN_LENGTH]) for column in columns[:_SHOWN_COLUMNS])
    more = ", …" if len(columns) > _SHOWN_COLUMNS else ""
    taken = _DELIMITER_NAMES.get(delimiter, repr(delimiter))
    raise Invalid(
        f"The file has no column {wanted[:_SHOWN_LENGTH]!r}. With the {taken} as delimiter its columns are: "
        f"{listed}{more}. Name one of them in phone_column.",
        field="phone_column",
    )


def _position(columns: list[str], wanted: str) -> int | None:
    if wanted in columns:
        return columns.index(wanted)
    alike, sought = [_comparable(column) for column in columns], _comparable(wanted)
    return alike.index(sought) if sought and sought in alike else None


def _comparable(column: str) -> str:
    """The name without invisible differences: case, form of accents, spaces, zero-width characters, marks."""
    visible = "".join(c for c in unicodedata.normalize("NFKC", column) if unicodedata.category(c) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", visible.casefold()).split())


def _read_header(first: str, lines: _PhysicalLines) -> tuple[list[str], dict[str, list[str]]]:
    """The lines read for the header row, and its cells as each delimiter reads them.

    A quoted cell may hold line breaks, and the delimiter decides where a cell begins: under another one than the
    file's the header may go on into the rows. The caller reads all lines again.
    """
    header = [first]

    def read() -> Iterator[str]:
        yield from header
        while len(header) < _MOST_HEADER_LINES:
            line = next(lines, _END)
            if line == _END:
                lines.ended = False  # it is handed out once more, behind the last row
                return
            header.append(line)
            yield line

    return header, {delimiter: _first_row(read(), delimiter) for delimiter in _DELIMITERS}


def _first_row(lines: Iterator[str], delimiter: str) -> list[str]:
    try:
        return next(csv.reader(lines, delimiter=delimiter), [])
    except csv.Error:  # raised again, with a sentence, if this is the delimiter that the rows are read with
        return []


def _choose_delimiter(header: list[str], readings: dict[str, list[str]], wanted: str) -> str:
    """One that gives the header the wanted column; of several, or of none, the most frequent outside quotes."""
    fitting = [delimiter for delimiter, columns in readings.items() if _position(columns, wanted) is not None]
    bare = "".join("".join(header).split('"')[::2])
    return max(fitting or _DELIMITERS, key=bare.count)


def _encoding(start: bytes) -> str:
    if start.startswith(_SPREADSHEET_MARKS):
        raise Invalid("The file is a spreadsheet or an archive; save it as CSV (UTF-8).", field="file")
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
