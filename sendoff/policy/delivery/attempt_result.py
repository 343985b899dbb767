"""The result of an attempt, classified by the receiver's answer or by the error that prevented one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus

REJECTED_ADDRESS = "rejected_address"
"""The error name of an address that the guard refuses to connect to."""

NOT_PREPARED = "not_prepared"
"""The error name of a request that could not be made or signed, for a defect or a setting of this service."""

_FURTHEST_DIGITS = 9  # digits of seconds, 31 years; every schedule caps waits far below


class ResultKind(StrEnum):
    """The four kinds of result that an attempt can have."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"
    """The receiver answered 410: it never wants another delivery."""
    LOCAL = "local"
    """This host or its name server failed: that says nothing about the receiver."""


@dataclass(slots=True)
class AttemptResult:
    """What came of an attempt: its kind, a short name for metrics and filters, and a text for people."""

    kind: ResultKind
    name: str
    detail: str
    retry_after: float | None = None
    """Seconds that the receiver asks us to wait, on 429 and 503."""


def classify_response(status: int, headers: Iterable[tuple[str, str]], now: datetime) -> AttemptResult:
    """The result of an attempt that was answered: any 2xx delivers, 410 ends it, everything else failed.

    `now` is when the answer arrived; a `Retry-After` that is a date counts from it.
    """
    said = f"The receiver answered {_spell(status)}"
    if 200 <= status < 300:
        return AttemptResult(ResultKind.DELIVERED, "ok", f"{said}.")
    if status == HTTPStatus.GONE:
        return AttemptResult(ResultKind.GONE, "gone", f"{said}: it wants no more deliveries.")
    if 300 <= status < 400:
        return AttemptResult(ResultKind.FAILED, "redirect", f"{said}; redirects are never followed.")
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return AttemptResult(ResultKind.FAILED, _name(status), f"{said}.", _find_retry_after(headers, now))
    return AttemptResult(ResultKind.FAILED, _name(status), f"{said}.")


def classify_error(name: str, detail: str, *, is_local: bool) -> AttemptResult:
    """The result of an attempt without an answer: `name` is the error's own, `detail` describes it in words.

    `is_local` says that this host or its name server failed (no route at all, resolver down, out of file descriptors).
    """
    return AttemptResult(ResultKind.LOCAL if is_local else ResultKind.FAILED, name, detail)


def parse_retry_after(value: str, now: datetime) -> float | None:
    """The seconds that a `Retry-After` asks for, 0 when its date has passed; None when it is neither form."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= _FURTHEST_DIGITS else 10.0**_FURTHEST_DIGITS
    try:
        date = parsedate_to_datetime(text)
        # HTTP dates are always GMT, but the parser leaves `-0000` without a zone.
        aware = date if date.tzinfo else date.replace(tzinfo=UTC)
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
