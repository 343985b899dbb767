"""For receivers: is this request really from the sender it claims, and fresh?

Needs the standard library alone. Hand in the body's raw bytes: a body that was parsed and written again is another.

    event = verify("optimaldial", request.headers, request.body, [current_secret, previous_secret])
"""

from __future__ import annotations

import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn, Protocol

from sendoff.clock import SystemClock

TOLERANCE_SECONDS = 300
"""How far a request's time may be from ours, either way."""

_LONGEST_TIMESTAMP = 12

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class Problem(StrEnum):
    """What can be wrong with a request."""

    MISSING_HEADER = "missing_header"
    MALFORMED_HEADER = "malformed_header"
    NO_SIGNATURE_MATCHES = "no_signature_matches"
    TOO_OLD = "too_old"
    TOO_NEW = "too_new"
    MALFORMED_BODY = "malformed_body"


class VerificationError(Exception):
    """The request must not be believed; `problem` says why in a word, the message in a sentence."""

    def __init__(self, problem: Problem, message: str) -> None:
        super().__init__(message)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request's headers claim: signed at `timestamp` (Unix seconds), over `message`, with `signatures`."""

    timestamp: int
    message: bytes
    signatures: Sequence[str]


class Scheme(Protocol):
    """How a dialect signs."""

    def read(self, headers: Mapping[str, str], body: bytes) -> Claim:
        """The claim; header names are in lower case. Raises VerificationError for missing or malformed ones."""

    def sign(self, secret: str, message: bytes) -> str:
        """The one signature that `secret` gives. Raises ValueError for a secret that is none of this scheme."""


@dataclass(frozen=True, slots=True)
class Timestamped:
    """`t=<unix>,v1=<hex>[,v1=<hex>]` in one header, over `{t}.{body}`."""

    header: str

    def read(self, headers: Mapping[str, str], body: bytes) -> Claim:
        parts = [part.strip().partition("=") for part in _take(headers, self.header).split(",")]
        times = [value for name, _, value in parts if name == "t"]
        signatures = [value for name, _, value in parts if name == "v1"]
        if len(times) != 1 or not signatures:
            _fail(Problem.MALFORMED_HEADER, f"{self.header} must read t=<unix>,v1=<hex>.")
        timestamp = _parse_timestamp(times[0], self.header)
        return Claim(timestamp, f"{times[0]}.".encode() + body, signatures)

    def sign(self, secret: str, message: bytes) -> str:
        return hmac.digest(secret.encode(), message, "sha256").hex()


@dataclass(frozen=True, slots=True)
class Standard:
    """Standard Webhooks 1.0, symmetric: `v1,<base64>[ v1,<base64>]`, over `{id}.{timestamp}.{body}`."""

    def read(self, headers: Mapping[str, str], body: bytes) -> Claim:
        message_id = _take(headers, "webhook-id")
        time_text = _take(headers, "webhook-timestamp")
        parts = [part.partition(",") for part in _take(headers, "webhook-signature").split(" ")]
        signatures = [value for version, _, value in parts if version == "v1"]
        if not signatures:
            _fail(Problem.MALFORMED_HEADER, "webhook-signature holds no v1 signature.")
        timestamp = _parse_timestamp(time_text, "webhook-timestamp")
        return Claim(timestamp, f"{message_id}.{time_text}.".encode() + body, signatures)

    def sign(self, secret: str, message: bytes) -> str:
        key = b64decode(secret.removeprefix("whsec_"), validate=True)
        if not key:
            raise ValueError("a secret must not be empty")
        return b64encode(hmac.digest(key, message, "sha256")).decode()


def house(brand: str) -> Scheme:
    """The scheme of an installation that sends under its own brand: `X-<brand>-Signature`."""
    return Timestamped(f"X-{brand}-Signature")


SCHEMES: Mapping[str, Scheme] = {
    "optimaldial": house("OptimalDial"),
    "dialbird": house("Dialbird"),
    "standard": Standard(),
}


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
    expected = [scheme.sign(secret, claim.message).encode() for secret in secrets]
    # Every pair is compared, in constant time: how long it takes tells nothing about which one was near.
    found = [hmac.compare_digest(one, given.encode()) for one in expected for given in claim.signatures]
    if not any(found):
        _fail(
            Problem.NO_SIGNATURE_MATCHES,
            "No signature matches: another secret signed it, or the body is not the bytes that were sent.",
        )


def _check_time(timestamp: int, now: float, tolerance: float) -> None:
    if timestamp < now - tolerance:
        age = f"It was signed {now - timestamp:.0f} s ago, {tolerance:g} s are allowed"
        _fail(Problem.TOO_OLD, f"{age}: an old request sent again, or this machine's clock is fast.")
    if timestamp > now + tolerance:
        lead = f"It was signed {timestamp - now:.0f} s in the future, {tolerance:g} s are allowed"
        _fail(Problem.TOO_NEW, f"{lead}: this machine's clock is slow.")


def _parse(body: bytes) -> dict[str, Any]:
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        _fail(Problem.MALFORMED_BODY, "The body is signed, but it is no JSON object.")
    return event


def _take(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name.lower())
    if not value:
        _fail(Problem.MISSING_HEADER, f"The request has no {name} header.")
    return value


def _parse_timestamp(text: str, header: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_TIMESTAMP):
        _fail(Problem.MALFORMED_HEADER, f"The time in {header} must be Unix seconds.")
    return int(text)


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
    return headers.items() if isinstance(headers, Mapping) else headers


def _fail(problem: Problem, message: str) -> NoReturn:
    raise VerificationError(problem, message)
