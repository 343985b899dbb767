"""Why a signature does not verify, in words: what was signed, what each secret gives, and which usual mistake fits."""

from __future__ import annotations

import hmac
import time
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Union

from .mistakes import (
    RULE_OF_BODY,
    Variant,
    is_spaced_json,
    rule_of_content,
    rule_of_key,
    vary_body,
    vary_content,
    vary_key,
)
from .schemes import SCHEMES, Claim, Problem, Scheme, VerificationError

SHOWN_BYTES = 120
"""Bytes of the signed content that are shown: the time and the beginning of the body."""

_SEARCHED_IN_PAIRS = 16 * 1024
"""Bytes of a body for which two mistakes at once are tried; for a larger one only single mistakes are. Doubling it
doubles the time of the longest search, some 40 ms."""

_MOST_SECRETS = 8
"""Secrets with which mistakes are tried. Each takes as long as all the others together did before."""

_MOST_CLOCK_SECONDS = 300
"""How far from the signed time the time of a receiver's own clock is looked for, either way."""

Secrets = Union[str, Sequence[str], Mapping[str, str]]
"""One secret, several, or the secrets by the labels they are shown under."""


@dataclass(frozen=True)
class Finding:
    """One thing that explains the result. `code` is stable, for programs; `remedy` says what to do."""

    code: str
    message: str
    remedy: str


@dataclass(frozen=True)
class SecretCheck:
    """What one secret gives for the content."""

    label: str
    expected: str | None
    """The signature it makes; None for a public key, which makes none, and for a secret that cannot be used."""
    matches: bool
    problem: str | None = None
    """Why the secret cannot be used."""


@dataclass(frozen=True)
class Explanation:
    """Whether the request is valid, and why it is not. Parts that could not be read are empty or None."""

    valid: bool
    findings: Sequence[Finding]
    timestamp: int | None = None
    """When it claims to be signed, in Unix seconds."""
    age_seconds: float | None = None
    """How long before the check that was; negative if it lies in the future."""
    signed_content: str = ""
    """The first SHOWN_BYTES of what is signed, as text."""
    signed_bytes: int = 0
    signatures: Sequence[str] = ()
    secrets: Sequence[SecretCheck] = ()


def explain(
    scheme: Scheme,
    headers: Mapping[str, str],
    body: bytes,
    secrets: Secrets,
    *,
    tolerance: float,
    now: float | None = None,
    computed: str | None = None,
    sent_body: bytes | None = None,
    others: Mapping[str, str] | None = None,
    schemes: Mapping[str, Scheme] = SCHEMES,
) -> Explanation:
    """Check a request as `verify` does, and try the usual mistakes where it fails.

    `headers`: by names in lower case. `computed`: the signature that the receiver's code calculated. `sent_body`: the
    body as the sender kept it. `others`: secrets, by label, that belong elsewhere. `schemes`: those that a
    request may be of. Nothing raises for a wrong request.
    """
    labelled = _label(secrets)
    try:
        claim = scheme.read(headers, body)
    except VerificationError as error:
        other = _find_scheme(scheme, headers, body, labelled, schemes)
        return Explanation(valid=False, findings=[_explain_unreadable(error, headers), *other])
    checks = [_check(scheme, label, secret, claim) for label, secret in labelled.items()]
    age = (time.time() if now is None else now) - claim.timestamp
    is_signed = any(check.matches for check in checks)
    findings = list(_explain_time(age, tolerance)) if is_signed else []
    is_valid = is_signed and not findings
    search = _Search(scheme, claim, body, list(labelled.values())[:_MOST_SECRETS], sent_body)
    if not is_signed:
        findings += search.explain_signatures()
        findings += _find_scheme(scheme, headers, body, labelled, schemes)
        findings += _find_owner(scheme, claim, others or {})
        findings = findings or [_REWRITTEN if is_spaced_json(body) else _NOTHING_FITS]
    if computed and computed.strip():
        findings += search.explain_computed(computed.strip(), checks)
    return Explanation(
        valid=is_valid,
        findings=findings,
        timestamp=claim.timestamp,
        age_seconds=age,
        signed_content=claim.message[:SHOWN_BYTES].decode("utf-8", "replace"),
        signed_bytes=len(claim.message),
        signatures=list(claim.signatures),
        secrets=checks,
    )


_REWRITTEN = Finding(
    "json_rewritten",
    "The body begins with white space that senders here never write: something parsed and serialized it again.",
    RULE_OF_BODY,
)
_NOTHING_FITS = Finding(
    "unknown",
    "None of the usual mistakes explains the signature.",
    "Compare the secret with the one that the endpoint has now, and the body byte by byte with what was sent: "
    "something between sender and receiver may have rewritten it.",
)


def _label(secrets: Secrets) -> dict[str, str]:
    if isinstance(secrets, Mapping):
        return dict(secrets)
    if isinstance(secrets, str):
        return {"secret": secrets}
    return {f"secret {number}": secret for number, secret in enumerate(secrets, start=1)}


def _check(scheme: Scheme, label: str, secret: str, claim: Claim) -> SecretCheck:
    try:
        matches = scheme.is_signed(secret, claim)
        is_public = secret.startswith("whpk_") or not hasattr(scheme, "expect")
        return SecretCheck(label, None if is_public else scheme.expect(secret, claim), matches)  # type: ignore[attr-defined]
    except ValueError as error:
        return SecretCheck(label, None, matches=False, problem=str(error))


def _explain_unreadable(error: VerificationError, headers: Mapping[str, str]) -> Finding:
    near = sorted(name for name in headers if "signature" in name)
    if error.problem is not Problem.MISSING_HEADER:
        remedy = "Pass the header's value as it arrived, with all its parts."
    elif near:
        remedy = f"There is {', '.join(near[:5])}: choose the dialect that this header belongs to."
    else:
        remedy = (
            "Pass all headers of the request. If it is not among them, a proxy in front of the receiver removes it."
        )
    return Finding(str(error.problem), str(error), remedy)


def _explain_time(age: float, tolerance: float) -> Iterator[Finding]:
    if age > tolerance:
        yield Finding(
            "too_old",
            f"The signature is right, but it was made {age:.0f} s before this check; {tolerance:g} s are allowed.",
            f"If the request has just arrived, the receiver's clock is fast by about {age:.0f} s: synchronize it. "
            "Otherwise it is an old request, such as one that was pasted or sent again.",
        )
    elif age < -tolerance:
        yield Finding(
            "too_new",
            f"The signature is right, but it was made {-age:.0f} s after this check; {tolerance:g} s are allowed.",
            f"The receiver's clock is slow by about {-age:.0f} s: synchronize it.",
        )


def _find_scheme(
    given: Scheme, headers: Mapping[str, str], body: bytes, secrets: Mapping[str, str], schemes: Mapping[str, Scheme]
) -> Iterator[Finding]:
    """The other dialects whose headers the request has."""
    seen = [given]
    for name, scheme in schemes.items():
        if scheme in seen:
            continue
        seen.append(scheme)
        try:
            claim = scheme.read(headers, body)
        except VerificationError:
            continue
        fits = any(_check(scheme, label, secret, claim).matches for label, secret in secrets.items())
        signed = ", and its signature is right for that dialect" if fits else ""
        yield Finding(
            "other_dialect",
            f"The request carries the headers of the dialect `{name}`{signed}.",
            f"Verify it as `{name}`.",
        )


def _find_owner(scheme: Scheme, claim: Claim, others: Mapping[str, str]) -> Iterator[Finding]:
    for label, secret in others.items():
        if _check(scheme, label, secret, claim).matches:
            yield Finding(
                "other_endpoint",
                f"The signature is right for the secret of another endpoint, {label}.",
                "Verify it with that endpoint's secret: each endpoint has its own.",
            )
            return


@dataclass(frozen=True)
class _Search:
    """Tries mistakes, one at a time and then two, until one explains a signature."""

    scheme: Scheme
    claim: Claim
    body: bytes
    secrets: Sequence[str]
    sent_body: bytes | None

    def explain_signatures(self) -> Iterator[Finding]:
        """Why the request's own signatures do not match: the body or the secret is not what the sender used."""
        targets = {digest for signature in self.claim.signatures for digest in _digests(signature)}
        mistakes = self._find(targets, alone=True) or self._find_clock(targets) or self._find_asymmetric()
        for one in mistakes:
            yield Finding(one.code, f"The signature fits {one.text}.", self._remedy(one.code))

    def explain_computed(self, computed: str, checks: Sequence[SecretCheck]) -> Iterator[Finding]:
        """What the receiver's code signed to get `computed`."""
        targets = set(_digests(computed))
        mistakes = self._find(targets, alone=False)
        if mistakes is None:
            mistakes = self._find_clock(targets)
        if mistakes is None:
            message = "None of the usual mistakes gives the signature that your code calculated."
            yield Finding("computed_unknown", message, rule_of_content(self.scheme, self.claim))
        elif not mistakes:
            expected = [check.expected.rpartition(",")[2] for check in checks if check.expected]
            is_spelled = any(one in computed for one in expected)
            message = "Your code calculates the right signature" + (
                "." if is_spelled else ", but spells it differently."
            )
            remedy = "Compare it with each signature of the header, spelled as there, in constant time."
            yield Finding("computed_right" if is_spelled else "encoding", message, remedy)
        for one in mistakes or ():
            yield Finding(one.code, f"What your code calculated fits {one.text}.", self._remedy(one.code))

    def _find(self, targets: set[bytes], *, alone: bool) -> list[Variant] | None:
        """The mistakes that lead to one of the digests: none, one or two; None if nothing does."""
        most = 2 if len(self.body) <= _SEARCHED_IN_PAIRS else 1
        keys = [key for secret in self.secrets for key in vary_key(self.scheme, secret)]
        bodies = list(vary_body(self.body, self.sent_body))
        contents = list(vary_content(self.claim, self.body, alone=alone))
        tries = [
            ([one for one in (content, body, key) if one.code], content, body, key)
            for content, body, key in product(contents, bodies, keys)
        ]
        for mistakes, content, body, key in sorted(tries, key=lambda one: len(one[0])):
            if len(mistakes) > most:
                return None
            if hmac.digest(key.value, content.value + body.value + content.behind, "sha256") in targets:
                return mistakes
        return None

    def _find_clock(self, targets: set[bytes]) -> list[Variant] | None:
        """The content with the time of another clock in place of the signed one, if that leads to a digest."""
        if len(self.body) > _SEARCHED_IN_PAIRS:
            return None
        own = self.claim.message[: len(self.claim.message) - len(self.body)]
        signed = str(self.claim.timestamp).encode()
        keys = [next(vary_key(self.scheme, secret), None) for secret in self.secrets]
        for off in sorted(range(-_MOST_CLOCK_SECONDS, _MOST_CLOCK_SECONDS + 1), key=abs):
            content = own.replace(signed, str(self.claim.timestamp + off).encode()) + self.body
            if any(key and not key.code and hmac.digest(key.value, content, "sha256") in targets for key in keys):
                text = f"the content with a time {abs(off)} s {'later' if off > 0 else 'earlier'} than the signed one"
                return [Variant("content_of_other_time", text, b"")]
        return None

    def _find_asymmetric(self) -> list[Variant]:
        """For public keys, which sign nothing: the body of which the signature is."""
        own = self.claim.message[: len(self.claim.message) - len(self.body)]
        public = [secret for secret in self.secrets if secret.startswith("whpk_")]
        for body in vary_body(self.body, self.sent_body) if public else ():
            claim = Claim(self.claim.timestamp, own + body.value, self.claim.signatures, self.claim.event_id)
            if any(_check(self.scheme, "", secret, claim).matches for secret in public):
                return [body]
        return []

    def _remedy(self, code: str) -> str:
        if code == "other_bytes":
            at = _first_difference(self.body, self.sent_body or b"")
            return f"They differ from byte {at:,} on. {RULE_OF_BODY}"
        if code == "content_of_other_time":
            return "Take the time from the request's header, as text, and not from the receiver's clock."
        if code.startswith("secret_"):
            return rule_of_key(self.scheme)
        return rule_of_content(self.scheme, self.claim) if code.startswith("content_") else RULE_OF_BODY


def _first_difference(one: bytes, other: bytes) -> int:
    return next((at for at, (left, right) in enumerate(zip(one, other)) if left != right), min(len(one), len(other)))


def _digests(signature: str) -> Iterable[bytes]:
    """The digests that the text may spell, in hexadecimal or base64, with or without a version in front."""
    texts = {signature, signature.partition("=")[2], signature.partition(",")[2]}
    for text in texts:
        with suppress(ValueError):
            yield bytes.fromhex(text)
        with suppress(ValueError):
            yield b64decode(text, altchars=b"-_" if set(text) & set("-_") else None, validate=True)
