"""Phone numbers: the library is the reference, for the answers and for the short cuts in front of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from importlib import import_module
from typing import Any

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import timezone
from phonenumbers.tzdata import TIMEZONE_DATA

from sendoff.uploads.files import phone_numbers
from sendoff.uploads.files.phone_numbers import PhoneNumber, is_valid, parse_number

SEPARATORS = st.sampled_from(["", " ", "-", ".", "  ", "/", "\t", " - ", "-\t", " \n", "‑", "·", " "])
PREFIXES = st.sampled_from(["", "1", "+1", "+ 1", "001", "011 1", "0", "+44", "tel:", "tel:+1-", "Phone: ", "(", "11"])
ENDINGS = st.sampled_from(["", " ", "x12", " ext. 7", ";ext=5", "#3", "\n", "p", "0", " / 2", ")"])


def library(text: str) -> PhoneNumber | None:
    """What the library says, asked the long way."""
    try:
        number = phonenumbers.parse(text, "US")
    except phonenumbers.NumberParseException:
        return None
    region = phonenumbers.region_code_for_number(number)
    if not phonenumbers.is_valid_number(number) or region not in ("US", "CA"):
        return None
    kind = phonenumbers.number_type(number)
    zones = timezone.time_zones_for_number(number)
    geographic = len(zones) < 10
    return PhoneNumber(
        e164=phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164),
        region=region,
        line_type=phonenumbers.PhoneNumberType.to_string(kind).lower(),
        time_zone=";".join(zones) if geographic else "",
    )


@st.composite
def written_numbers(draw: st.DrawFn) -> str:
    """About ten digits, in a human's spelling."""
    digits = draw(st.from_regex(r"[1-9][0-9]{2}|52[0-9]|8[0-9][0-9]|310", fullmatch=True)) + draw(
        st.from_regex(r"[0-9]{6,8}", fullmatch=True)
    )
    area, office, line = digits[:3], digits[3:6], digits[6:]
    if draw(st.booleans()):
        area = f"({area})"
    return (
        draw(PREFIXES) + draw(SEPARATORS) + area + draw(SEPARATORS) + office + draw(SEPARATORS) + line + draw(ENDINGS)
    )


def is_numeral(text: str) -> bool:
    """Whether it is the decimal or scientific spelling of a number, or a negative one: those are not read as text."""
    spelling = r"\s*(-[0-9]+|[+-]?[0-9]+(\.[0-9]*([eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+))\s*"
    return re.fullmatch(spelling, text) is not None


@given(written_numbers().filter(lambda text: not is_numeral(text)))
def test_written_numbers_are_read_as_the_library_reads_them(text: str) -> None:
    assert parse_number(text) == library(text)
    assert is_valid(text) == (library(text) is not None)


def _pattern_of(match: Any) -> Any:
    """The compiled pattern whose `match` method this is."""
    return match.__self__


@given(
    st.from_regex(_pattern_of(phone_numbers._COMMON_SHAPE), fullmatch=True).filter(lambda text: not is_numeral(text))
)
def test_every_shape_that_skips_the_library_is_read_as_the_library_reads_it(text: str) -> None:
    assert parse_number(text) == library(text)


@given(
    (st.text() | st.text(alphabet="0123456789+-() .xX#;=extl", max_size=300)).filter(
        lambda text: not is_numeral(text) and not phone_numbers._EXPONENT(text)
    )
)
def test_any_text_at_all_is_read_as_the_library_reads_it(text: str) -> None:
    assert parse_number(text) == library(text)


@given(st.from_regex(r"[2-9][0-9]{9}", fullmatch=True), st.from_regex(r"[0-9]{4}", fullmatch=True))
def test_a_verdict_kept_for_a_prefix_holds_for_every_number_with_it(national: str, other_line: str) -> None:
    parse_number(national)
    neighbour = national[:6] + other_line
    assert parse_number(neighbour) == library(neighbour)


@pytest.mark.parametrize(
    "text",
    [
        "4155552671",
        "14155552671",
        "+14155552671",
        "(415) 555-2671",
        "+1 415-555-2671",
        "1-415-555-2671",
        "415.555.2671",
        "415.555.2671 x12",
        "  415 555 2671  ",
        "tel:+1-415-555-2671",
        "４１５５５５２６７１",
        "011 1 415 555 2671",
        "+1 (415) 555-2671 ext. 9",
    ],
)
def test_common_shapes_become_the_same_e164_number(text: str) -> None:
    assert parse_number(text) == PhoneNumber("+14155552671", "US", "fixed_line_or_mobile", "America/Los_Angeles")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1-800-FLOWERS", PhoneNumber("+18003569377", "US", "toll_free", "")),
        ("9025551234", PhoneNumber("+19025551234", "CA", "fixed_line_or_mobile", "America/Halifax")),
        ("900 555 1234", PhoneNumber("+19005551234", "US", "premium_rate", "")),
        ("600-555-1234", PhoneNumber("+16005551234", "CA", "voip", "")),
    ],
)
def test_region_line_type_and_time_zone_are_given(text: str, expected: PhoneNumber) -> None:
    assert parse_number(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "n/a",
        "555-2671",
        "8095551234",  # the Dominican Republic, country code 1 too
        "876 555 1234",  # Jamaica
        "787 555 1234",  # Puerto Rico has a region of its own
        "+44 20 7946 0958",
        "1155552671",
        "415055267",
        "415-055-2671",
        "+1415555267100",
        "4155552671" * 30,
        "＋",
    ],
)
def test_other_texts_are_not_numbers(text: str) -> None:
    assert parse_number(text) is None
    assert not is_valid(text)


DIGITS = frozenset("0123456789")
Shape = tuple[frozenset[str], ...]


def shapes(pattern: str) -> Iterator[Shape]:
    """The pattern as sequences of digit sets, one for each way through its alternatives."""
    yield from _sequences(_parse(pattern))


def _parse(pattern: str) -> list[tuple[object, Any]]:
    """The parsed regular expression: `re._parser` has no type stubs."""
    return list(import_module("re._parser").parse(pattern))


def _sequences(parts: Sequence[tuple[object, Any]]) -> Iterator[Shape]:
    if not parts:
        yield ()
        return
    for first in _part(*parts[0]):
        for rest in _sequences(parts[1:]):
            yield first + rest


def _part(operation: object, argument: Any) -> Iterator[Shape]:
    match str(operation):
        case "LITERAL":
            yield (frozenset(chr(argument)),)
        case "IN":
            yield (_characters(argument),)
        case "SUBPATTERN":
            yield from _sequences(list(argument[-1]))
        case "BRANCH":
            for branch in argument[1]:
                yield from _sequences(list(branch))
        case "MAX_REPEAT":
            least, most, part = argument
            assert least == most, "the patterns of fixed length only"
            yield from _sequences(list(part) * least)
        case other:
            raise AssertionError(f"a construct this proof does not know: {other}")


def _characters(items: Sequence[tuple[object, Any]]) -> frozenset[str]:
    found: set[str] = set()
    for operation, argument in items:
        match str(operation):
            case "LITERAL":
                found.add(chr(argument))
            case "RANGE":
                found.update(chr(code) for code in range(argument[0], argument[1] + 1))
            case "CATEGORY":
                found.update(DIGITS)
    return frozenset(found)


def deciding_patterns() -> Iterator[str]:
    """What the library looks at: the leading digits of a region that has some, or else all its patterns."""
    for region in phonenumbers.COUNTRY_CODE_TO_REGION_CODE[1]:
        metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
        assert metadata is not None
        if metadata.leading_digits:
            yield metadata.leading_digits
        if region in phone_numbers.REGIONS or not metadata.leading_digits:
            descriptions = vars(metadata).values()
            found = [it for it in descriptions if isinstance(it, phonenumbers.PhoneNumberDesc)]
            yield from (it.national_number_pattern for it in found if it.national_number_pattern)


def test_no_pattern_of_the_plan_looks_beyond_the_prefix_that_verdicts_are_kept_for() -> None:
    checked = 0
    for pattern in deciding_patterns():
        for shape in shapes(pattern):
            if len(shape) == 7:  # the library is asked for each local number
                continue
            fine = shape[:2] == (frozenset("5"), frozenset("2"))
            kept = phone_numbers._FINE_DIGITS if fine else phone_numbers._COARSE_DIGITS
            assert all(position == DIGITS for position in shape[kept:]), pattern
            checked += 1
    assert checked > 100


def test_no_time_zone_hangs_on_more_or_fewer_digits_than_are_looked_up() -> None:
    lengths = {len(prefix) for prefix in TIMEZONE_DATA if prefix.startswith("1") and prefix != "1"}
    assert min(lengths) == phone_numbers._SHORTEST_ZONE_PREFIX
    assert max(lengths) == phone_numbers._LONGEST_ZONE_PREFIX


@st.composite
def numerals(draw: st.DrawFn) -> str:
    """Decimal and scientific spellings, many of them of ten-digit integers."""
    digits = draw(st.from_regex(r"[2-9][0-9]{9}|1[2-9][0-9]{9}|[0-9]{1,12}", fullmatch=True))
    point = draw(st.integers(1, len(digits)))
    exponent = draw(st.sampled_from(["", "e", "E", "e+", "E-"]))
    power = str(draw(st.integers(0, 12)) if draw(st.booleans()) else len(digits) - point) if exponent else ""
    return f"{draw(st.sampled_from(['', '', '-', '+']))}{digits[:point]}.{digits[point:]}{exponent}{power}"


@given(numerals())
def test_a_numeral_is_the_number_that_it_spells_or_invalid(text: str) -> None:
    number, value = parse_number(text), Decimal(text)
    if number is not None:
        assert value == value.to_integral_value()
        assert int(value) in (int(number.e164), int(number.e164) - 10_000_000_000)
    assert is_valid(text) == (number is not None)


@pytest.mark.parametrize(
    ("text", "e164"),
    [
        ("4155552671.0", "+14155552671"),
        ("4155552671.", "+14155552671"),
        ("14155552671.00", "+14155552671"),
        ("4.155552671E9", "+14155552671"),
        ("4.15555267E9", "+14155552670"),
        ("1.21255501e+10", "+12125550100"),
        (" 4.155552671E+09 ", "+14155552671"),
        ("415.555.2671", "+14155552671"),
        ("415555267.0", None),
        ("415.5552671", None),
        ("4155552671.5", None),
        ("4.15555E+09", None),
        ("-4155552671", None),
        ("4.155552671E99", None),
        ("1e400", None),
        ("415.5552671e+", None),
        ("4155552671E", None),
        ("415 555 267e1", None),
        ("4155552671e00000", None),
    ],
)
def test_decimal_and_scientific_spellings(text: str, e164: str | None) -> None:
    number = parse_number(text)
    assert (number and number.e164) == e164


HOSTILE = [
    "2125550100" + " " * 239 + "#",
    "4155552671" + " " * 100 + "#" + " " * 100 + "0001",
    "tel:1;phone-context=" + "aa." * 36 + "aa!",
    "2125550100" + "-. " * 80,
    "2125550100" + ",;" * 100 + "1",
    "2125550100 ext" + "\u3000" * 200 + "#",
    "(" * 120 + "2125550100" + ")" * 120,
    "2125550100" + "x1" * 120,
    "１" * 250,
    "\ufdfa" * 250,
    "2" * 250,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_the_library_sees_short_text_only(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    parse = phonenumbers.parse

    def watch(number: str, region: str) -> phonenumbers.PhoneNumber:
        seen.append(number)
        return parse(number, region)

    monkeypatch.setattr(phonenumbers, "parse", watch)
    is_valid(text)
    for one in seen:
        assert len(one) <= 34
        assert sum(map(str.isdigit, one)) <= 20
        assert not re.search(r"[\s.,;:*#=~/-]{2}|phone-context", one)


@given(st.text(max_size=300))
def test_any_text_is_read_or_invalid(text: str) -> None:
    assert is_valid(text) == (parse_number(text) is not None)


def test_the_longest_common_spelling_fits() -> None:
    number = parse_number("+1 (415) 555-2671 extension 12345")
    assert number is not None
    assert number.e164 == "+14155552671"


def test_cells_padded_with_blanks_are_read() -> None:
    number = parse_number(" " * 100 + "415 555" + " " * 90 + "2671")
    assert number is not None
    assert number.e164 == "+14155552671"
