"""Reading the JSON mode's body an entry at a time, so that 250,000 contacts are never in memory at once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from io import TextIOBase
from pathlib import Path
from typing import Any, Literal

from sendoff.errors import Invalid, TooLarge, unknown_name

MOST_ENTRIES = 250_000
"""Numbers in one JSON upload; a CSV file is the way for more."""

LONGEST_ENTRY = 262_144
"""Characters of one entry, which bounds the memory while the body is read piece by piece."""

Kind = Literal["phone_numbers", "contacts"]
OnEntry = Callable[[Kind, int, Any], None]

_LISTS: tuple[Kind, Kind] = ("phone_numbers", "contacts")
_MEMBERS = ("filename", "skip_mobile_lookup", *_LISTS)
_PIECE = 65_536
_BLANKS = re.compile(r"[ \t\r\n]*").match


class NumberText(str):
    """A JSON number, digit for digit."""


def read_entries(path: Path, on_entry: OnEntry) -> dict[str, Any]:
    """Calls `on_entry(kind, index, entry)` for every entry; returns the object's other members, and `kind`.

    Numbers arrive as NumberText. Raises Invalid for anything but one JSON object with exactly one of
    the two lists, and TooLarge at the first entry beyond the limit.
    """
    members: dict[str, Any] = {}
    try:
        with path.open(encoding="utf-8-sig") as stream:
            _read_object(_Text(stream), members, on_entry)
    except UnicodeDecodeError:
        raise Invalid("The body is not UTF-8.") from None
    except RecursionError:
        raise Invalid("The body is nested too deeply.") from None
    if "kind" not in members:
        raise Invalid("Send exactly one of phone_numbers and contacts; there is neither.")
    return members


def _read_object(text: _Text, members: dict[str, Any], on_entry: OnEntry) -> None:
    text.expect("{", "The body must be a JSON object.")
    for _ in text.separated("}"):
        if text.peek() != '"':
            raise Invalid("The body is not valid JSON: a member's name must be a string.")
        name = text.value()
        text.expect(":")
        if name in _LISTS and text.peek() == "[":
            _read_list(text, name, members, on_entry)
        else:
            _keep(name, text.value(), members)
    if text.peek():
        raise Invalid("The body is not valid JSON: something follows the object.")


def _read_list(text: _Text, name: Kind, members: dict[str, Any], on_entry: OnEntry) -> None:
    if "kind" in members:
        raise Invalid("Send exactly one of phone_numbers and contacts, once.")
    members["kind"] = name
    text.expect("[")
    for index in text.separated("]"):
        if index >= MOST_ENTRIES:
            raise TooLarge(f"{name} has more than {MOST_ENTRIES:,} entries.")
        on_entry(name, index, text.value())


def _keep(name: str, value: Any, members: dict[str, Any]) -> None:
    if name in _LISTS and value is not None:
        raise Invalid(f"{name} must be a list.", field=name)
    if name not in _MEMBERS:
        raise unknown_name(name, _MEMBERS)
    members[name] = value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class _Text:
    """A JSON text of which only a piece is held."""

    def __init__(self, stream: TextIOBase) -> None:
        self._stream = stream
        self._piece = ""
        self._position = 0
        self._ended = False
        self._decode = json.JSONDecoder(
            parse_int=NumberText, parse_float=NumberText, parse_constant=_refuse_constant
        ).raw_decode

    def peek(self) -> str:
        """The next character other than white space; empty at the end."""
        while True:
            blank = _BLANKS(self._piece, self._position)
            self._position = blank.end() if blank else self._position
            if self._position < len(self._piece):
                return self._piece[self._position]
            if self._ended:
                return ""
            self._read_on()

    def expect(self, character: str, message: str | None = None) -> None:
        found = self.peek()
        if found != character:
            raise Invalid(message or f"The body is not valid JSON: {character!r} expected, not {found or 'the end'!r}.")
        self._position += 1

    def separated(self, closing: str) -> Iterator[int]:
        """Counts what the caller reads, up to the closing bracket."""
        if self.peek() == closing:
            self._position += 1
            return
        index = 0
        while True:
            yield index
            index += 1
            if self.peek() == closing:
                self._position += 1
                return
            self.expect(",")

    def value(self) -> Any:
        """The next value, however it is cut into pieces."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._piece, self._position)
            except ValueError as error:
                self._give_up_or_read_on(error)
                continue
            if end == len(self._piece) and not self._ended:
                self._read_on()  # a number may go on in the next piece
                continue
            self._position = end
            return value

    def _give_up_or_read_on(self, error: ValueError) -> None:
        if self._ended:
            raise Invalid("The body is not valid JSON.") from error
        if len(self._piece) - self._position > LONGEST_ENTRY:
            raise Invalid(
                f"The body is not valid JSON, or a single entry is longer than {LONGEST_ENTRY:,} characters."
            ) from error
        self._read_on()

    def _read_on(self) -> None:
        rest = self._piece[self._position :]
        more = self._stream.read(max(_PIECE, len(rest)))
        self._piece, self._position, self._ended = rest + more, 0, not more
