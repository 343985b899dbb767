"""The outcome of an attempt, classified by the receiver's answer or by the error that prevented one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus

REJECTED_ADDRESS = "rejected_address"
"""The error name of an address that the guard refuses to connect to."""

_FURTHEST_DIGITS = 9  # digits of seconds, 31 years; every schedule caps waits far below


class DeadLetterReason(StrEnum):
    """Why a delivery was given up. A closed list: operators filter by it."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    ENDPOINT_DISABLED = "endpoint_disabled"
    ENDPOINT_GONE = "endpoint_gone"
    ENDPOINT_DELETED = "endpoint_deleted"
    REJECTED_ADDRESS = "rejected_address"


class Verdict(StrEnum):
    """The four possible outcomes of an attempt."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"
    """The receiver answered 410: it never wants another delivery."""
    OURS = "ours"
    """We could not even try; says nothing about the receiver."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """An attempt's verdict, with a short name for metrics and filters and a text for people."""

    verdict: Verdict
    name: str
    detail: str
    retry_after: float | None = None
    """Seconds that the receiver asks us to wait, on 429 and 503."""


def judge_response(status: int, headers: Iterable[tuple[str, str]], now: datetime) -> Outcome:
    """The outcome of an attempt that was answered: any 2xx delivers, 410 ends it, everything else failed.

    `now` is the moment of the answer; a `Retry-After` that is a date counts from it.
    """
    said = f"The receiver answered {_spell(status)}"
    if 200 <= status < 300:
        return Outcome(Verdict.DELIVERED, "ok", f"{said}.")
    if status == HTTPStatus.GONE:
        return Outcome(Verdict.GONE, "gone", f"{said}: it wants no more deliveries.")
    if 300 <= status < 400:
        return Outcome(Verdict.FAILED, "redirect", f"{said}; redirects are never followed.")
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return Outcome(Verdict.FAILED, _name(status), f"{said}.", _find_retry_after(headers, now))
    return Outcome(Verdict.FAILED, _name(status), f"{said}.")


def judge_error(name: str, detail: str, *, ours: bool) -> Outcome:
    """The outcome of an attempt without an answer: `name` is the error's own, `detail` describes it in words.

    `ours` says that the fault lies on our side (no route at all, resolver down, out of file descriptors).
    """
    return Outcome(Verdict.OURS if ours else Verdict.FAILED, name, detail)


def parse_retry_after(value: str, now: datetime) -> float | None:
    """The seconds that a `Retry-After` asks for, 0 when its date has passed; None when it is neither form."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= _FURTHEST_DIGITS else 10.0**_FURTHEST_DIGITS
    try:
        moment = parsedate_to_datetime(text)
        # HTTP dates are always GMT, but the parser leaves `-0000` without a zone.
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (aware - now).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _find_retry_after(headers: Iterable[tuple[str, str]], now: datetime) -> float | None:
    for name, value in headers:
        if name.lower() == "retry-after":
            return parse_retry_after(value, now)
    return None


def _name(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limited"
    if 400 <= status < 500:
        return "client_error"
    return "server_error" if 500 <= status < 600 else "unexpected_status"


def _spell(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
