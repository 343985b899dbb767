"""Phone numbers: any common shape becomes E.164, and only numbers of the United States and Canada count.

The `phonenumbers` library decides what is valid. It takes about 15 µs for a number, and seconds to centuries for text
that makes its regular expressions backtrack, so three things stand in front of it:

- The shapes that people write most (`4155552671`, `(415) 555-2671`, `+1 415-555-2671` …) are read by one regular
  expression, and region and line type are cached by the first four digits, or six where the plan is finer. Both give
  the library's own answer, which the tests compare.
- Decimal and scientific spellings (`4155552671.0`, `4.15555267E9`), which spreadsheets and programs write, are read as
  the number that they spell, or are invalid; the library would string their digits together to another number.
- All other text is normalized and bounded in length, digits and characters before the library sees it: no text costs
  more than about 100 µs.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
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

_LONGEST_RAW_TEXT = 250
"""Characters of a cell that are looked at: the library's own limit, so that longer text is invalid anyway."""

_SHORTEST_TEXT, _LONGEST_TEXT, _MOST_DIGITS = 7, 34, 20
"""Bounds on normalized text. `+1 (415) 555-2671 extension 12345` fits. The library's cost grows with the square of the
length: twice as long would be four times 100 µs."""

# Blanks, dashes, dots and what separates extensions. The library skips runs of them, at a quadratic cost.
_SEPARATORS = re.compile(r"[\s.,;:*#=~/\\_·‐-―−ー-]{2,}")
_CONTROL, _EXTENSION_FOLLOWS = re.compile(r"[\t\n\r\v\f]").search, re.compile("[,;]").search
_DIGITS_END, _DIGITS_BEGIN = re.compile(r"[0-9+)\]]").match, re.compile(r"[0-9(\[]").match
_WRITTEN_IN = re.compile(r"[0-9A-Za-z+()\[\] .,;:*#=~/\\_·‐-―−ー-]*").fullmatch
_PARAMETER = re.compile(r"phone-context|isub", re.IGNORECASE).search

# In text that is no numeral: the library would leave out the letter of `4.155552671E+` or `415 555 267e1`.
_EXPONENT = re.compile(r"[0-9.] ?[eE] ?[+-]? ?(?:[0-9]|$)").search

# A point or an exponent makes a numeral of digits; so does a minus, of digits alone.
_NUMERAL = re.compile(r"(?=-|[^.eE]*[.eE])([+-]?)([0-9]+)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,3}))?").fullmatch
_FEWEST_SIGNIFICANT_DIGITS = 7
"""Of a number with an exponent: a spreadsheet shows `4.15555E+09` for any number that begins with these six digits."""


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
    if match is not None and "." not in text:
        return "".join(match.groups())
    normalized = _normalize(text)
    if normalized is None:
        return None
    numeral = _NUMERAL(normalized)
    if numeral is not None:
        normalized = _spelled_integer(*numeral.groups())
    elif match is not None:
        return "".join(match.groups())
    elif _EXPONENT(normalized):
        return None
    return None if normalized is None else _ask_library_to_parse(normalized)


def _normalize(text: str) -> str | None:
    """The text with one form for each character and single separators; None if it is out of bounds for a number.

    The length is bounded before NFKC, which makes up to 18 characters of one, and after it.
    """
    if len(text) > _LONGEST_RAW_TEXT:
        return None
    text = _without_text_mark(text.strip())
    text = _SEPARATORS.sub(_first_separator, text).strip()
    if len(text) > _LONGEST_TEXT:
        return None
    text = _SEPARATORS.sub(_first_separator, unicodedata.normalize("NFKC", text)).strip()
    if not _SHORTEST_TEXT <= len(text) <= _LONGEST_TEXT or not _WRITTEN_IN(text) or _PARAMETER(text):
        return None
    return text if sum(map(str.isdigit, text)) <= _MOST_DIGITS else None


def _without_text_mark(text: str) -> str:
    """A cell without what programs write so that a spreadsheet leaves it text: `'+1415…` or `="+1415…"`."""
    if text.startswith("'"):
        return text[1:]
    if text.startswith('="') and text.endswith('"'):
        return text[2:-1]
    return text


def _first_separator(run: re.Match[str]) -> str:
    """One character for a run of separators; a tab, which is in no number, if one stands in it between digits."""
    text = run.group()
    is_within = _DIGITS_END(run.string, run.start() - 1) and _DIGITS_BEGIN(run.string, run.end())
    if is_within and _CONTROL(text) and not _EXTENSION_FOLLOWS(text):
        return "\t"
    return text.strip()[:1] or " "


def _spelled_integer(sign: str, whole: str, fraction: str | None, exponent: str | None) -> str | None:
    """The integer that a decimal or scientific spelling means; None if it is negative, none at all, or rounded."""
    fraction = fraction or ""
    if exponent is not None and len((whole + fraction).lstrip("0")) < _FEWEST_SIGNIFICANT_DIGITS:
        return None
    value = Decimal(f"{sign}{whole}.{fraction or 0}e{exponent or 0}")
    if value < 0 or value.adjusted() > _MOST_DIGITS or value != value.to_integral_value():
        return None
    return sign + str(int(value))


def _ask_library_to_parse(text: str) -> str | None:
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


def _read_metadata() -> None:
    """Have the library read what it knows of both countries, which takes 4 ms, before the first cell is timed."""
    for example in ("2125550100 x1", "+16045550123"):
        parse_number(example)


_read_metadata()
