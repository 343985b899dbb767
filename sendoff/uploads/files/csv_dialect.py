"""Which dialect a CSV is written in, judged by its sample."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sendoff.uploads.files.missing_column import DELIMITER_NAMES, position

# Of a header with more line breaks in its cells, only the columns before count.
_MOST_HEADER_LINES = 100
_MOST_SAMPLE_LINES = 1_000
_MOST_SAMPLE_CHARACTERS = 65_536
"""How much of the file is read to choose the dialect, which takes a few milliseconds. What is peculiar to its dialect
must occur here to be noticed."""


class CsvDialect(NamedTuple):
    """How cells are told from each other."""

    delimiter: str
    skips_blanks: bool = False
    """Whether blanks between a delimiter and a quote belong to neither cell: `"Lovelace, Ada", "+1415…"`."""
    escape: str | None = None
    """What makes a quote part of a cell, besides a second quote: `"Grace \\"Amazing\\" Hopper"`."""

    def reader(self, lines: Iterable[str], *, strict: bool = False) -> Iterator[list[str]]:
        """The rows of the lines. `strict` raises csv.Error for text between a closing quote and the delimiter."""
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            skipinitialspace=self.skips_blanks,
            escapechar=self.escape,
            strict=strict,
        )


class CsvSample(NamedTuple):
    """The first lines of a file, which are read again for the rows."""

    lines: Sequence[str]
    header_lines: int
    """How many of them the header may take, under whichever delimiter."""

    @property
    def line_ending(self) -> str:
        last = self.lines[self.header_lines - 1]
        return last[len(last.rstrip("\r\n")) :] or "\r\n"


def read_sample(first: str, lines: Iterator[str]) -> CsvSample:
    """Reads on behind the `first` line: the header under every delimiter, and some rows.

    A quoted cell may hold line breaks, and the delimiter decides where a cell begins: under another one than the
    file's the header may go on into the rows.
    """
    read = [first]

    def header() -> Iterator[str]:
        yield from read
        while len(read) < _MOST_HEADER_LINES:
            line = next(lines, None)
            if line is None:
                return
            read.append(line)
            yield line

    for delimiter in DELIMITER_NAMES:
        _first_row(CsvDialect(delimiter), header())
    header_lines, size = len(read), sum(map(len, read))
    while size < _MOST_SAMPLE_CHARACTERS and len(read) < _MOST_SAMPLE_LINES:
        line = next(lines, None)
        if line is None:
            break
        read.append(line)
        size += len(line)
    return CsvSample(read, header_lines)


def choose_dialect(sample: CsvSample, wanted: str, named: str | None) -> CsvDialect:
    """The dialect under which the header has the `wanted` column; `named` is the delimiter that the file itself names.

    Of several delimiters, or of none, it is the one that is most frequent outside quotes.
    """
    header = sample.lines[: sample.header_lines]
    fitting = [delimiter for delimiter in DELIMITER_NAMES if _has_column(delimiter, header, wanted)]
    bare = "".join("".join(header).split('"')[::2])
    plain = CsvDialect(named or max(fitting or DELIMITER_NAMES, key=bare.count))
    spaced, escaped = plain._replace(skips_blanks=True), plain._replace(escape="\\")
    if _has_blanks_before_quotes(plain, sample.lines) and _is_even(spaced, sample.lines):
        return spaced
    if not _is_strict(plain, sample.lines) and _is_strict(escaped, sample.lines):
        return escaped
    return plain


def _has_column(delimiter: str, header: Sequence[str], wanted: str) -> bool:
    readings = (CsvDialect(delimiter), CsvDialect(delimiter, skips_blanks=True))
    return any(position(_first_row(dialect, header), wanted) is not None for dialect in readings)


def _first_row(dialect: CsvDialect, lines: Iterable[str]) -> list[str]:
    return next(_readable(dialect, lines), [])


def _readable(dialect: CsvDialect, lines: Iterable[str]) -> Iterator[list[str]]:
    """The rows up to one that cannot be read, which is refused with a sentence when it is read for its cells."""
    try:
        yield from dialect.reader(lines)
    except csv.Error:
        return


def _has_blanks_before_quotes(dialect: CsvDialect, lines: Sequence[str]) -> bool:
    cells = (cell for row in _readable(dialect, lines) for cell in row[1:])
    return any(cell.startswith(" ") and cell.lstrip(" ").startswith('"') for cell in cells)


def _is_even(dialect: CsvDialect, lines: Sequence[str]) -> bool:
    """Whether all rows but the last, which may be cut off, have as many cells as the header."""
    widths = [len(row) for row in _readable(dialect, lines) if row]
    return len(set(widths[:-1] or widths)) == 1 and widths[0] > 1


def _is_strict(dialect: CsvDialect, lines: Sequence[str]) -> bool:
    try:
        for _ in dialect.reader(lines, strict=True):
            pass
    except csv.Error as error:
        return "unexpected end" in str(error)  # the last row may be cut off
    return True
