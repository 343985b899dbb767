"""What an answer, or the lack of one, comes to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.policy.delivery.attempt_result import ResultKind, classify_error, classify_response, parse_retry_after

NOW = datetime(2026, 4, 24, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 226, 299])
def test_any_2xx_delivers(status: int) -> None:
    assert classify_response(status, [], NOW).kind is ResultKind.DELIVERED


@pytest.mark.parametrize(
    "status", [100, 103, 199, 300, 301, 307, 308, 399, 400, 404, 409, 411, 429, 500, 503, 599, 600, 999]
)
def test_everything_else_but_410_is_a_failure(status: int) -> None:
    assert classify_response(status, [("Location", "/"), ("X", "y")], NOW).kind is ResultKind.FAILED


@pytest.mark.parametrize(
    ("status", "name", "detail"),
    [
        (200, "ok", "The receiver answered 200 OK."),
        (302, "redirect", "The receiver answered 302 Found; redirects are never followed."),
        (404, "client_error", "The receiver answered 404 Not Found."),
        (410, "gone", "The receiver answered 410 Gone: it wants no more deliveries."),
        (429, "rate_limited", "The receiver answered 429 Too Many Requests."),
        (500, "server_error", "The receiver answered 500 Internal Server Error."),
        (599, "server_error", "The receiver answered 599."),
        (101, "unexpected_status", "The receiver answered 101 Switching Protocols."),
        (777, "unexpected_status", "The receiver answered 777."),
    ],
)
def test_an_answer_has_a_short_name_and_words_for_people(status: int, name: str, detail: str) -> None:
    result = classify_response(status, [], NOW)
    assert (result.name, result.detail) == (name, detail)


def test_410_is_gone() -> None:
    assert classify_response(410, [("Retry-After", "5")], NOW).kind is ResultKind.GONE


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_counts_on_429_and_503_whatever_its_case(status: int) -> None:
    headers = [("Content-Type", "text/plain"), ("retry-AFTER", "17")]
    assert classify_response(status, headers, NOW).retry_after == 17


@pytest.mark.parametrize("status", [200, 301, 400, 408, 410, 413, 500, 502])
def test_retry_after_counts_nowhere_else(status: int) -> None:
    assert classify_response(status, [("Retry-After", "17")], NOW).retry_after is None


def test_an_error_of_the_receivers_is_a_failure_and_one_of_ours_is_ours() -> None:
    assert classify_error("connect_refused", "Nobody listens.", is_local=False).kind is ResultKind.FAILED
    result = classify_error("resolver_down", "The resolver does not answer.", is_local=True)
    assert (result.kind, result.name, result.detail) == (
        ResultKind.LOCAL,
        "resolver_down",
        "The resolver does not answer.",
    )


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("Fri, 24 Apr 2026 12:02:00 GMT", 120),
        ("Friday, 24-Apr-26 12:02:00 GMT", 120),
        ("Fri Apr 24 12:02:00 2026", 120),
        ("Fri, 24 Apr 2026 14:02:00 +0200", 120),
        ("Fri, 24 Apr 2026 11:00:00 GMT", 0),
        ("9" * 5000, 1e9),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float) -> None:
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize("value", ["", "soon", "-5", "1.5", "1e3", "٣", "Fri, 99 Apr 2026 12:00:00 GMT", "12:00", "²"])
def test_a_retry_after_that_is_neither_is_ignored(value: str) -> None:
    assert parse_retry_after(value, NOW) is None


@given(st.text() | st.from_regex(r"[A-Za-z]{3}, [0-9]{1,6} [A-Za-z]{3} [0-9]{1,9} [0-9:]{1,9} ?[A-Z+\-0-9]{0,6}"))
def test_no_retry_after_breaks_the_classification(value: str) -> None:
    seconds = classify_response(503, [("Retry-After", value)], NOW).retry_after
    assert seconds is None or seconds >= 0


@given(st.integers(0, 10**8))
def test_a_date_means_the_seconds_until_it(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert parse_retry_after(date, NOW) == seconds
