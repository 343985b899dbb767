"""For receivers: did the holder of the secret sign this request, and lately?

Receivers install this package as `sendoff-verify` and import `sendoff_verify`; in the product it is `sendoff.verify`.
It needs Python 3.9 or newer and its standard library. Pass the raw bytes of the body: a body that was parsed and
serialized again is a different one.

    event = verify("optimaldial", request.headers, request.body, [current_secret, previous_secret])
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, Union, runtime_checkable

from .explain import Explanation, Finding, SecretCheck
from .explain import explain as _explain
from .schemes import (
    SCHEMES,
    Claim,
    Problem,
    Scheme,
    Standard,
    Timestamped,
    VerificationError,
    Versioned,
    branded,
    fail,
    house,
)

__all__ = [
    "SCHEMES",
    "TOLERANCE_SECONDS",
    "Claim",
    "Explanation",
    "Finding",
    "Problem",
    "Scheme",
    "SecretCheck",
    "Standard",
    "Timestamped",
    "VerificationError",
    "Versioned",
    "branded",
    "explain",
    "house",
    "verify",
]

TOLERANCE_SECONDS = 300
"""How far a request's time may be from ours, either way."""


@runtime_checkable
class _Items(Protocol):
    """A mapping, or what web frameworks have for headers."""

    def items(self) -> Iterable[tuple[Any, Any]]: ...


Headers = Union[_Items, Iterable[tuple[Any, Any]]]
"""Names and values as text, or as bytes, which ASGI has; a value may be a list, which Node-like frameworks have."""


def verify(
    dialect: str | Scheme,
    headers: Headers,
    body: bytes | bytearray | memoryview,
    secrets: str | Iterable[str],
    tolerance: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> dict[str, Any]:
    """The event that a request carries, if one of `secrets` signed it within `tolerance` seconds of `now`.

    `event["id"]` is the event's id in every dialect, also where a signed header holds it and the body does not.

    `dialect` is a name of SCHEMES or a scheme such as `branded("Acme")`; `now` is Unix seconds, by default the
    machine's time. Several secrets serve a rotation. Raises VerificationError for every fault of the request,
    a body that is not raw bytes among it; ValueError for an unknown dialect, and for secrets, a tolerance or a time
    that cannot be used.
    """
    scheme = _find_scheme(dialect)
    known = _list_secrets(secrets)
    allowed, moment = _seconds(tolerance), _seconds(time.time() if now is None else now)
    content = _raw(body)
    claim = scheme.read(_read_headers(headers), content)
    # The signature first: only then is the time the sender's own, and worth a word about clocks.
    _check_signature(scheme, claim, known)
    _check_time(claim.timestamp, moment, allowed)
    event = _parse(content)
    if claim.event_id is not None:
        event.setdefault("id", claim.event_id)
    return event


def explain(
    dialect: str | Scheme,
    headers: Headers,
    body: bytes | bytearray | memoryview,
    secrets: str | Sequence[str] | Mapping[str, str],
    tolerance: float = TOLERANCE_SECONDS,
    now: float | None = None,
    *,
    computed: str | None = None,
    sent_body: bytes | None = None,
    others: Mapping[str, str] | None = None,
    schemes: Mapping[str, Scheme] = SCHEMES,
) -> Explanation:
    """Why `verify` accepts or refuses a request: for people who look for a mistake, not for requests that arrive.

    `secrets` may have labels. `computed` is the signature that the receiver's own code calculated, `sent_body` the body
    as the sender kept it. `others` are secrets of other endpoints by label, `schemes` the dialects that a request may
    be of. Raises ValueError for an unknown dialect, and VerificationError for headers or a body that cannot be read.
    """
    return _explain(
        _find_scheme(dialect),
        _read_headers(headers),
        _raw(body),
        secrets,
        tolerance=tolerance,
        now=now,
        computed=computed,
        sent_body=sent_body,
        others=others,
        schemes=schemes,
    )


def _seconds(given: Any) -> float:
    try:
        # Text, as an environment variable holds it, is refused, although it may spell a number.
        seconds = -1 if isinstance(given, (str, bytes)) else float(given)
    except (TypeError, ValueError, OverflowError):
        seconds = -1
    # Every comparison with NaN is false: the time would not be checked at all.
    if not seconds >= 0:
        raise ValueError("`tolerance` must be 0 or more seconds, and `now` Unix seconds")
    return seconds


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
    except RecursionError:
        fail(Problem.MALFORMED_BODY, "The body is signed, but its JSON is nested too deeply.")
    except ValueError as error:  # of the limits of this machine as well, such as that on the digits of an integer
        fail(Problem.MALFORMED_BODY, f"The body is signed, but it cannot be read as JSON: {error}.")
    if not isinstance(event, dict):
        fail(Problem.MALFORMED_BODY, "The body is signed, but it is not a JSON object.")
    return event


def _find_scheme(dialect: str | Scheme) -> Scheme:
    if not isinstance(dialect, str) and hasattr(dialect, "is_signed"):
        return dialect
    if not isinstance(dialect, str) or dialect not in SCHEMES:
        raise ValueError(f"unknown dialect {dialect!r}; known are {', '.join(SCHEMES)}")
    return SCHEMES[dialect]


def _is_encodable(secret: str) -> bool:
    """Whether the text has no lone surrogates, as Python reads an environment variable that is not UTF-8."""
    return secret.encode("utf-8", "replace") == secret.encode("utf-8", "surrogatepass")


def _list_secrets(secrets: str | Iterable[str]) -> list[str]:
    known = list(secrets) if isinstance(secrets, Iterable) and not isinstance(secrets, str) else [secrets]
    if not all(isinstance(secret, str) and _is_encodable(secret) for secret in known):
        raise ValueError("each secret must be text, as the registration answered it")
    if not known or not all(known):
        raise ValueError("verification needs at least one secret, and none may be empty")
    if any(secret != "".join(secret.split()) for secret in known):
        raise ValueError("a secret holds white space: pass several as a list, each without the line feed of its file")
    return known


def _raw(body: object) -> bytes:
    if not isinstance(body, (bytes, bytearray, memoryview)):
        fail(
            Problem.MALFORMED_BODY,
            f"The body is {type(body).__name__}, not bytes: pass the raw body as it was received, "
            "before it is decoded or parsed.",
        )
    try:
        return bytes(body)
    except ValueError:
        fail(Problem.MALFORMED_BODY, "The body is a memoryview that was released: pass a copy of the raw body.")


def _read_headers(headers: Headers) -> dict[str, str]:
    """The headers as text, by their names in lower case. Raises VerificationError for what cannot be headers.

    A header that came in several lines is one whose values are joined with commas (RFC 9110, section 5.3).
    """
    found: dict[str, str] = {}
    try:
        for name, value in list(headers.items() if isinstance(headers, _Items) else headers):
            key, text = _text(name).lower(), _text(value)
            found[key] = f"{found[key]},{text}" if key in found else text
    except (TypeError, ValueError):
        fail(Problem.MALFORMED_HEADER, "The headers are not pairs of name and value: pass the headers of the request.")
    return found


def _text(part: object) -> str:
    if isinstance(part, (list, tuple)):
        return ",".join(_text(one) for one in part)
    if isinstance(part, (bytes, bytearray, memoryview)):
        part = bytes(part).decode("latin-1")
    return part.strip(" \t\r\n") if isinstance(part, str) else ""
