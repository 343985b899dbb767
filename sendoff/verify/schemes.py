"""The ways that requests are signed, as receivers read them."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn, Protocol

from . import ed25519

_LONGEST_TIMESTAMP = 12
_MOST_SIGNATURES = 16  # senders send one, in a rotation two; checking one of ed25519 costs milliseconds


class Problem(str, Enum):
    """What can be wrong with a request."""

    MISSING_HEADER = "missing_header"
    MALFORMED_HEADER = "malformed_header"
    NO_SIGNATURE_MATCHES = "no_signature_matches"
    TOO_OLD = "too_old"
    TOO_NEW = "too_new"
    MALFORMED_BODY = "malformed_body"

    def __str__(self) -> str:
        return str(self.value)


class VerificationError(Exception):
    """The request must not be believed; `problem` says why in a word, the message in a sentence."""

    def __init__(self, problem: Problem, message: str) -> None:
        super().__init__(message)
        self.problem = problem


@dataclass(frozen=True)
class Claim:
    """What a request's headers claim: signed at `timestamp` (Unix seconds), over `message`, with `signatures`."""

    timestamp: int
    message: bytes
    signatures: Sequence[str]
    event_id: str | None = None
    """The event's id, where a signed header holds it and not the body."""


class Scheme(Protocol):
    """How a dialect signs."""

    def read(self, headers: Mapping[str, str], body: bytes) -> Claim:
        """The claim; header names are in lower case. Raises VerificationError for missing or malformed ones."""

    def is_signed(self, secret: str, claim: Claim) -> bool:
        """Whether `secret` made one of the claim's signatures. Raises ValueError for one that is none of this scheme.

        Every signature is compared, in constant time, so that the duration reveals nothing about a near match.
        """


@dataclass(frozen=True)
class Timestamped:
    """`t=<unix>,v1=<hex>[,v1=<hex>]` in one header, over `{t}.{body}`."""

    header: str

    def read(self, headers: Mapping[str, str], body: bytes) -> Claim:
        parts = [part.strip().partition("=") for part in _take(headers, self.header).split(",")]
        times = [value for name, _, value in parts if name == "t"]
        signatures = [value for name, _, value in parts if name == "v1"]
        if len(times) != 1 or not signatures:
            fail(Problem.MALFORMED_HEADER, f"{self.header} must read t=<unix>,v1=<hex>.")
        timestamp = _parse_timestamp(times[0], self.header)
        return Claim(timestamp, f"{times[0]}.".encode() + body, signatures)

    def key(self, secret: str) -> bytes:
        """The HMAC's key: the whole secret, prefix included, as UTF-8."""
        return secret.encode()

    def expect(self, secret: str, claim: Claim) -> str:
        """The signature that `secret` makes of the claim's message."""
        return hmac.digest(self.key(secret), claim.message, "sha256").hex()

    def is_signed(self, secret: str, claim: Claim) -> bool:
        return _holds(claim.signatures, self.expect(secret, claim))


@dataclass(frozen=True)
class Versioned:
    """`v0=<hex>[,v0=<hex>]` in one header and the time in another, over `v0:{t}:{body}`."""

    header: str
    time_header: str

    def read(self, headers: Mapping[str, str], body: bytes) -> Claim:
        time_text = _take(headers, self.time_header)
        parts = [part.strip().partition("=") for part in _take(headers, self.header).split(",")]
        signatures = [value for name, _, value in parts if name == "v0"]
        if not signatures:
            fail(Problem.MALFORMED_HEADER, f"{self.header} must read v0=<hex>.")
        timestamp = _parse_timestamp(time_text, self.time_header)
        return Claim(timestamp, f"v0:{time_text}:".encode() + body, signatures)

    def key(self, secret: str) -> bytes:
        """The HMAC's key: the whole secret, prefix included, as UTF-8."""
        return secret.encode()

    def expect(self, secret: str, claim: Claim) -> str:
        """The signature that `secret` makes of the claim's message."""
        return hmac.digest(self.key(secret), claim.message, "sha256").hex()

    def is_signed(self, secret: str, claim: Claim) -> bool:
        return _holds(claim.signatures, self.expect(secret, claim))


@dataclass(frozen=True)
class Standard:
    """Standard Webhooks 1.0, over `{id}.{timestamp}.{body}`.

    `v1,<base64>` by a `whsec_…`, `v1a,<base64>` by the private key to a `whpk_…`; several are separated by spaces.
    """

    def read(self, headers: Mapping[str, str], body: bytes) -> Claim:
        message_id = _take(headers, "webhook-id")
        time_text = _take(headers, "webhook-timestamp")
        marks = _take(headers, "webhook-signature").split(" ")
        signatures = [mark for mark in marks if mark.startswith(("v1,", "v1a,"))][:_MOST_SIGNATURES]
        if not signatures:
            fail(Problem.MALFORMED_HEADER, "webhook-signature holds no v1 or v1a signature.")
        timestamp = _parse_timestamp(time_text, "webhook-timestamp")
        return Claim(timestamp, encode_text(f"{message_id}.{time_text}.") + body, signatures, message_id)

    def is_signed(self, secret: str, claim: Claim) -> bool:
        if secret.startswith("whpk_"):
            key = _decode(secret, "whpk_")
            if len(key) != ed25519.KEY_BYTES:
                raise ValueError(f"a public key is whpk_ and the base64 of {ed25519.KEY_BYTES} bytes, not {len(key)}")
            marks = [_decode_mark(mark, "v1a,") for mark in claim.signatures if mark.startswith("v1a,")]
            found = [ed25519.is_signed(key, claim.message, mark) for mark in marks]
            return any(found)
        return _holds(claim.signatures, self.expect(secret, claim))

    def key(self, secret: str) -> bytes:
        """The HMAC's key: what the base64 behind `whsec_` decodes to. Raises ValueError for what is not base64."""
        return _decode(secret, "whsec_")

    def expect(self, secret: str, claim: Claim) -> str:
        """The `v1` signature that `secret` makes of the claim's message. Raises ValueError as `key` does."""
        return "v1," + b64encode(hmac.digest(self.key(secret), claim.message, "sha256")).decode()


def branded(brand: str, *, scheme: str = "stripe", signature_header: str | None = None, prefix: str = "") -> Scheme:
    """The scheme of an installation that sends under its own brand: `X-<brand>-Signature`.

    The other arguments are for installations that have set their own. Raises ValueError for an unknown `scheme`.
    """
    prefix = prefix or f"X-{brand}-"
    header = signature_header or f"{prefix}Signature"
    if scheme not in ("stripe", "slack"):
        raise ValueError(f"unknown scheme {scheme!r}; known are stripe and slack")
    return Timestamped(header) if scheme == "stripe" else Versioned(header, f"{prefix}Timestamp")


SCHEMES: Mapping[str, Scheme] = {
    "optimaldial": branded("OptimalDial"),
    "default": branded("OptimalDial"),
    "house": branded("OptimalDial"),
    "dialbird": branded("Dialbird"),
    "standard": Standard(),
    "standard-v1a": Standard(),
    "cloudevents": Standard(),
}
"""The schemes by the names of their dialects. `default` is that of an installation without a brand of its own;
`house` is its former name."""

house = branded
"""The former name."""


def _holds(signatures: Iterable[str], expected: str) -> bool:
    found = [hmac.compare_digest(encode_text(given), expected.encode()) for given in signatures]
    return any(found)


def encode_text(text: str) -> bytes:
    """The text as bytes. Frameworks put lone surrogates in place of bytes that are not UTF-8: they are kept."""
    return text.encode("utf-8", "surrogatepass")


def _decode(secret: str, prefix: str) -> bytes:
    try:
        key = b64decode(secret.removeprefix(prefix), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError(f"the secret must be {prefix} and base64, as the registration answered it")
    return key


def _decode_mark(mark: str, prefix: str) -> bytes:
    try:
        return b64decode(mark.removeprefix(prefix), validate=True)
    except ValueError:
        return b""


def _take(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name.lower())
    if not value:
        fail(Problem.MISSING_HEADER, f"The request has no {name} header{_where_else(headers, name.lower())}.")
    return value


def _where_else(headers: Mapping[str, str], name: str) -> str:
    """What to pass instead, if these are not the headers but what a framework keeps them in."""
    if f"http_{name.replace('-', '_')}" in headers:
        return ", but the WSGI environment was passed, which has it: pass `request.headers`"
    if "headers" in headers:
        return ", but something that has `headers` was passed: pass those"
    return ""


def _parse_timestamp(text: str, header: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_TIMESTAMP):
        fail(Problem.MALFORMED_HEADER, f"The time in {header} must be Unix seconds.")
    return int(text)


def fail(problem: Problem, message: str) -> NoReturn:
    """Raise VerificationError."""
    raise VerificationError(problem, message)
