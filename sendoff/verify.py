"""For receivers: is this request really from the sender it claims, and fresh?

Needs the standard library alone. Hand in the body's raw bytes: a body that was parsed and written again is another.

    event = verify("optimaldial", request.headers, request.body, [current_secret, previous_secret])
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

from sendoff.clock import SystemClock
from sendoff.schemes import (
    SCHEMES,
    Claim,
    Problem,
    Scheme,
    Standard,
    Timestamped,
    VerificationError,
    Versioned,
    fail,
    house,
)

__all__ = [
    "SCHEMES",
    "TOLERANCE_SECONDS",
    "Claim",
    "Problem",
    "Scheme",
    "Standard",
    "Timestamped",
    "VerificationError",
    "Versioned",
    "house",
    "verify",
]

TOLERANCE_SECONDS = 300
"""How far a request's time may be from ours, either way."""


@runtime_checkable
class _Items(Protocol):
    """A mapping, or what web frameworks have for headers."""

    def items(self) -> Iterable[tuple[str, str]]: ...


Headers = _Items | Iterable[tuple[str, str]]


def verify(
    dialect: str | Scheme,
    headers: Headers,
    body: bytes,
    secrets: str | Iterable[str],
    tolerance: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> dict[str, Any]:
    """The event that a request carries, if one of `secrets` signed it within `tolerance` seconds of `now`.

    `dialect` is a name of SCHEMES or a scheme such as `house("Acme")`; `now` is Unix seconds, by default the
    machine's time. Several secrets serve a rotation. Raises VerificationError for a request not to be believed,
    ValueError for an unknown dialect or secrets that are none.
    """
    scheme = _find_scheme(dialect)
    known = _list_secrets(secrets)
    claim = scheme.read({name.lower(): value for name, value in _pairs(headers)}, body)
    # The signature first: only then is the time the sender's own, and worth a word about clocks.
    _check_signature(scheme, claim, known)
    _check_time(claim.timestamp, SystemClock().now().timestamp() if now is None else now, tolerance)
    return _parse(body)


def _check_signature(scheme: Scheme, claim: Claim, secrets: Sequence[str]) -> None:
    found = [scheme.is_signed(secret, claim) for secret in secrets]
    if not any(found):
        fail(
            Problem.NO_SIGNATURE_MATCHES,
            "No signature matches: another secret signed it, or the body is not the bytes that were sent.",
        )


def _check_time(timestamp: int, now: float, tolerance: float) -> None:
    if timestamp < now - tolerance:
        age = f"It was signed {now - timestamp:.0f} s ago, {tolerance:g} s are allowed"
        fail(Problem.TOO_OLD, f"{age}: an old request sent again, or this machine's clock is fast.")
    if timestamp > now + tolerance:
        lead = f"It was signed {timestamp - now:.0f} s in the future, {tolerance:g} s are allowed"
        fail(Problem.TOO_NEW, f"{lead}: this machine's clock is slow.")


def _parse(body: bytes) -> dict[str, Any]:
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        fail(Problem.MALFORMED_BODY, "The body is signed, but it is no JSON object.")
    return event


def _find_scheme(dialect: str | Scheme) -> Scheme:
    if not isinstance(dialect, str):
        return dialect
    if dialect not in SCHEMES:
        raise ValueError(f"unknown dialect {dialect!r}; known are {', '.join(SCHEMES)}")
    return SCHEMES[dialect]


def _list_secrets(secrets: str | Iterable[str]) -> list[str]:
    known = [secrets] if isinstance(secrets, str) else list(secrets)
    if not known or not all(known):
        raise ValueError("verification needs at least one secret, and none may be empty")
    return known


def _pairs(headers: Headers) -> Iterable[tuple[str, str]]:
    return headers.items() if isinstance(headers, _Items) else headers
