"""Turning the JSON mode's entries into the CSV that the rest of the way reads.

`phone_numbers` becomes one column `phone`; `contacts` becomes `phone` and every other member that any contact has, in
the order in which they first appear. The CSV says what was sent, unchanged: formulas are neutralized in the results.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sendoff.errors import Invalid, TooLarge
from sendoff.uploads.files.csv_reader import LONGEST_CELL, MOST_COLUMNS, check_missing_cells
from sendoff.uploads.files.json_entries import Kind, NumberText, read_entries
from sendoff.uploads.files.phone_numbers import is_valid
from sendoff.uploads.files.validating import REPORT_EVERY, Counts, Progress

PHONE_COLUMN = "phone"

MOST_FILE_BYTES = 100 * 1024 * 1024
"""Of a CSV, sent or made of JSON."""

_LONGEST_NAME = 200


class Converted(Counts, frozen=True):
    """The other members of the JSON object."""

    filename: str | None = None
    skip_mobile_lookup: bool = False


def convert_json(source: Path, target: Path, progress: Progress) -> Converted:
    """Writes the CSV; an entry without a phone number counts as an invalid row.

    Raises Invalid, which names the entry, for one of another shape than a phone number or contact, TooLarge for a CSV
    of more than MOST_FILE_BYTES, and what read_entries raises.
    """
    survey = _Survey(progress)
    members = read_entries(source, survey.entry)
    with target.open("w", encoding="utf-8", errors="replace", newline="") as file:
        # All quoted: no character of a name can be mistaken for a delimiter.
        write = csv.writer(file, quoting=csv.QUOTE_ALL).writerow
        written, missing = write(survey.columns), 0

        def write_entry(_kind: Kind, _index: int, entry: Any) -> None:
            nonlocal written, missing
            cells = _cells(entry, survey.columns)
            missing += len(survey.columns) - len(cells)
            check_missing_cells(missing, len(survey.columns))
            written += write(cells)
            if written > MOST_FILE_BYTES:
                raise TooLarge(
                    f"As a table with {len(survey.columns):,} columns the contacts are larger than "
                    f"{MOST_FILE_BYTES // 1024 // 1024} MB; send them in parts, or with fewer members."
                )

        read_entries(source, write_entry)
    return Converted(survey.valid, survey.invalid, missing, _filename(members), _skip_mobile_lookup(members))


class _Survey:
    """The first reading: checks every entry, counts the numbers, collects the columns."""

    def __init__(self, progress: Progress) -> None:
        self.valid = 0
        self.invalid = 0
        self.columns = {PHONE_COLUMN: 0}
        """The place of each."""
        self._progress = progress

    def entry(self, kind: Kind, index: int, entry: Any) -> None:
        contact = {PHONE_COLUMN: entry} if kind == "phone_numbers" else entry
        if not isinstance(contact, dict):
            raise Invalid(f"{kind}[{index}] must be an object with a member phone.", field=kind)
        for name, value in contact.items():
            _check(kind, index, name, value)
            if name not in self.columns:
                self._add_column(name)
        phone = contact.get(PHONE_COLUMN)
        if isinstance(phone, str) and is_valid(phone):
            self.valid += 1
        else:
            self.invalid += 1
        if (index + 1) % REPORT_EVERY == 0:
            self._progress(index + 1)

    def _add_column(self, name: str) -> None:
        if len(name) > _LONGEST_NAME or "\0" in name:
            raise Invalid(
                f"The members of contacts need names of at most {_LONGEST_NAME} characters, without NUL.",
                field="contacts",
            )
        if len(self.columns) == MOST_COLUMNS:
            raise Invalid(f"The contacts have more than {MOST_COLUMNS:,} different members.", field="contacts")
        self.columns[name] = len(self.columns)


def _check(kind: Kind, index: int, name: str, value: Any) -> None:
    where = f"{kind}[{index}]" if kind == "phone_numbers" else f"{kind}[{index}].{name[:_LONGEST_NAME]}"
    if isinstance(value, (dict, list)):
        raise Invalid(f"{where} must be text, a number, true, false or null.", field=kind)
    if name == PHONE_COLUMN and isinstance(value, bool):
        raise Invalid(f"{where} must be a phone number.", field=kind)
    if isinstance(value, str) and ("\0" in value or len(value) > LONGEST_CELL):
        raise Invalid(f"{where} holds NUL or more than {LONGEST_CELL:,} characters.", field=kind)


def _cells(entry: Any, columns: Mapping[str, int]) -> list[str]:
    """The row up to its last cell with a value: `{}` must cost neither the time nor the bytes of a thousand cells."""
    contact = entry if isinstance(entry, dict) else {PHONE_COLUMN: entry}
    values = {columns[name]: text for name, value in contact.items() if (text := _cell(value))}
    cells = [""] * (1 + max(values, default=0))
    for place, text in values.items():
        cells[place] = text
    return cells


def _cell(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else str(value).lower()


def _filename(members: dict[str, Any]) -> str | None:
    filename = members.get("filename")
    if filename is not None and (not isinstance(filename, str) or isinstance(filename, NumberText)):
        raise Invalid("filename must be a string.", field="filename")
    return filename


def _skip_mobile_lookup(members: dict[str, Any]) -> bool:
    value = members.get("skip_mobile_lookup")
    if value is not None and not isinstance(value, bool):
        raise Invalid("skip_mobile_lookup must be true or false.", field="skip_mobile_lookup")
    return bool(value)
