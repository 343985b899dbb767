"""Phone numbers: any common shape becomes E.164, and only numbers of the United States and Canada count.

The `phonenumbers` library decides. It takes about 100 µs for a number, which is two minutes for a million rows, so
two short cuts stand in front of it; both give the library's own answer, which the tests hold them to:

- The shapes that people write most (`4155552671`, `(415) 555-2671`, `+1 415-555-2671` …) are read by one regular
  expression. Everything else (extensions, letters, full-width digits, `tel:` …) is read by the library.
- Region and line type of a ten-digit number hang on its first four digits, or six where the plan is finer, so
  the library's verdict is kept for each such prefix.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import phonenumbers
from phonenumbers.phonenumberutil import is_number_type_geographical
from phonenumbers.tzdata import TIMEZONE_DATA

REGIONS = frozenset({"US", "CA"})

# What the library would skip or strip: blanks around it, one set of brackets, single separators.
_COMMON_SHAPE = re.compile(
    r"[ \t]*(?:\+?1[ .-]?)?\(?([2-9][0-9]{2})\)?[ .-]?([0-9]{3})[ .-]?([0-9]{4})[ \t\r\n]*"
).fullmatch

_LINE_TYPES = {value: name.lower() for name, value in vars(phonenumbers.PhoneNumberType).items() if name.isupper()}
_COUNTRY_CODE = 1
_LONGEST_ZONE_PREFIX, _SHORTEST_ZONE_PREFIX = 7, 4
_FINE_AREA, _FINE_DIGITS, _COARSE_DIGITS = "52", 6, 4
# The shortest number has seven digits; the library reads no text of more than 250 characters.
_SHORTEST_TEXT, _LONGEST_TEXT = 7, 250


class PhoneNumber(NamedTuple):
    """A valid number of the United States or Canada."""

    e164: str
    """`+14155552671`; an extension is left out, E.164 has no place for it."""
    region: str
    """`US` or `CA`. Toll-free and other shared numbers belong to both; they say `US`, as the library does."""
    line_type: str
    """The library's names in lower case: `fixed_line_or_mobile`, `toll_free`, `premium_rate`, `voip` …"""
    time_zone: str
    """IANA name; several are joined by `;`, and it is empty for a number that belongs to no place."""


class _Kind(NamedTuple):
    region: str
    line_type: str
    geographic: bool


def parse_number(text: str) -> PhoneNumber | None:
    """The number in `text`, or None unless it is a valid one of the United States or Canada.

    Numbers without a country code are read as one of these two countries. Never raises.
    """
    national = _read(text)
    if national is None:
        return None
    kind = _kind(national)
    if kind is None:
        return None
    zone = _time_zone(national) if kind.geographic else ""
    return PhoneNumber("+1" + national, kind.region, kind.line_type, zone)


def is_valid(text: str) -> bool:
    """Whether `parse_number` finds a number; twice as fast."""
    national = _read(text)
    return national is not None and _kind(national) is not None


def _read(text: str) -> str | None:
    """The digits behind +1, valid or not; None if it isn't a number of that country code."""
    match = _COMMON_SHAPE(text)
    if match is not None:
        return "".join(match.groups())
    if not _SHORTEST_TEXT <= len(text) <= _LONGEST_TEXT:
        return None
    try:
        number = phonenumbers.parse(text, "US")
    except phonenumbers.NumberParseException:
        return None
    if number.country_code != _COUNTRY_CODE:
        return None
    national: str = phonenumbers.national_significant_number(number)
    return national


_kinds: dict[str, _Kind | None] = {}


def _kind(national: str) -> _Kind | None:
    """The library's verdict, kept by prefix: at most 20,000 of them."""
    if len(national) != 10:
        return _ask_library(national)
    prefix = national[: _FINE_DIGITS if national.startswith(_FINE_AREA) else _COARSE_DIGITS]
    try:
        return _kinds[prefix]
    except KeyError:
        return _kinds.setdefault(prefix, _ask_library(national))


def _ask_library(national: str) -> _Kind | None:
    if national.startswith("0"):
        return None  # no such number in this country code; as an integer it would turn into another one
    number = phonenumbers.PhoneNumber(country_code=_COUNTRY_CODE, national_number=int(national))
    region = phonenumbers.region_code_for_number(number)
    if region not in REGIONS:
        return None
    line_type = phonenumbers.number_type(number)
    if line_type == phonenumbers.PhoneNumberType.UNKNOWN:
        return None
    return _Kind(region, _LINE_TYPES[line_type], is_number_type_geographical(line_type, _COUNTRY_CODE))


def _time_zone(national: str) -> str:
    """By the longest prefix that has an entry, as `phonenumbers.timezone` does it."""
    number = f"{_COUNTRY_CODE}{national[:_LONGEST_ZONE_PREFIX]}"
    for length in range(_LONGEST_ZONE_PREFIX, _SHORTEST_ZONE_PREFIX - 1, -1):
        zones = TIMEZONE_DATA.get(number[:length])
        if zones is not None:
            return zones[0] if len(zones) == 1 else ";".join(zones)
    return ""
