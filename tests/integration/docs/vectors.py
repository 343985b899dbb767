"""The test vectors, from the code that signs. To write: `python -m tests.integration.docs.vectors`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sendoff.dialects.base import AttemptInfo, Dialect, EventData
from sendoff.dialects.branded import BrandedDialect
from sendoff.dialects.registry import Dialects
from sendoff.dialects.signing import PRIVATE_PREFIX, public_key
from sendoff.policy.endpoints.matching import DIALBIRD_TYPES
from sendoff.verify import TOLERANCE_SECONDS, Problem

FILE = Path(__file__).parents[3] / "docs" / "vectors.json"

NOW = 1_777_034_096
ATTEMPT = AttemptInfo(delivery_id="0198c5a0-1111-7000-8000-000000000000", attempt=1, timestamp=NOW)
EVENT = EventData(
    event_id="evt_0123456789abcdef01234567",
    type="upload.completed",
    organization_id="0198c5a0-0000-7000-8000-000000000000",
    occurred_at=datetime(2026, 4, 24, 12, 34, 56, 789_000, UTC),
    data='{ "name": "Früh\\u00fc ☎", "price": 1.50, "n": 1E3 }'.encode(),
)

# Made up for this file: they sign nothing else.
SECRETS: Mapping[str, Sequence[str]] = {
    "optimaldial": ("0f" * 32, "1e" * 32, "2d" * 32),
    "dialbird": ("whsec_" + "0f" * 32, "whsec_" + "1e" * 32, "whsec_" + "2d" * 32),
    "standard": (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX",
        "whsec_GBkaGxwdHh8gISIjJCUmJygpKissLS4v",
    ),
    "standard-v1a": (
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
        "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "whsk_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=",
    ),
    "cloudevents": (
        "whsec_QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZX",
        "whsec_WFlaW1xdXl9gYWJjZGVmZ2hpamtsbW5v",
        "whsec_cHFyc3R1dnd4eXp7fH1+f4CBgoOEhYaH",
    ),
}

_ABOUT = (
    "Requests as Sendoff sends them, and as they must not be believed. For each: pass `headers` and `body` (as UTF-8 "
    "bytes) to the verifier of `dialect` with `secrets` at the time `now` (Unix seconds), allowing `tolerance_seconds` "
    "either way. With `brand` and `scheme`, the dialect is the default one under that brand. `headers` come as web "
    "frameworks hand them over: an object or a list of pairs, names in any case, a value as text, a list or null. "
    "`valid` says whether the request is believed; `type` and `id` are the event's, `problem` the reason why not. "
    "`mistake` is an error of the caller, which must not look like one of the request. `dynamic` marks what a verifier "
    "in a statically typed language cannot be given: headers that are null, or a body that is not bytes (`body_as`: it "
    "is `body` as text, `body` as parsed JSON, or null)."
)


@dataclass(frozen=True)
class Vector:
    """One request and what must come out."""

    name: str
    dialect: str
    headers: Any
    body: str
    secrets: tuple[str, ...]
    now: int = NOW
    problem: Problem | None = None
    is_mistake: bool = False
    brand: Mapping[str, str] = field(default_factory=dict)
    body_as: str | None = None

    def to_json(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"dialect": self.dialect, **self.brand, "now": self.now, "secrets": list(self.secrets)}
        if self.body_as is not None or self.headers is None:
            fields["dynamic"] = True
        if self.body_as is not None:
            fields["body_as"] = self.body_as
        return {"name": self.name, **fields, "headers": self.headers, "body": self.body, **self._result()}

    def _result(self) -> dict[str, Any]:
        if self.is_mistake:
            return {"valid": False, "mistake": True}
        if self.problem:
            return {"valid": False, "problem": self.problem}
        event = event_for(self.dialect)
        return {"valid": True, "type": event.type, "id": event.event_id}


def render() -> str:
    """The file's text."""
    vectors = [vector for name in SECRETS for vector in (*vectors_of(name), *inputs_of(name))]
    found = [vector.to_json() for vector in (*vectors, *branded_vectors(), *mistakes())]
    document = {"about": _ABOUT, "tolerance_seconds": TOLERANCE_SECONDS, "vectors": found}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def event_for(name: str) -> EventData:
    """What the dialect's vectors tell, of a type that its contract has."""
    return replace(EVENT, type=DIALBIRD_TYPES[0]) if name == "dialbird" else EVENT


def vectors_of(name: str) -> Iterator[Vector]:
    """The vectors of one dialect."""
    dialect = Dialects().get(name)
    new, old, other = SECRETS[name]
    plain = _sent(name, dialect, "a delivery", [new], knows=[new])
    yield plain
    yield _sent(name, dialect, "in a rotation, a receiver that knows the old secret", [new, old], knows=[old])
    yield _sent(name, dialect, "in a rotation, a receiver that knows the new secret", [new, old], knows=[new])
    yield _sent(name, dialect, "a receiver that knows both secrets", [old], knows=[new, old])
    yield replace(plain, name="at the edge of the tolerance", now=NOW + TOLERANCE_SECONDS)
    no_match = replace(plain, problem=Problem.NO_SIGNATURE_MATCHES)
    yield replace(no_match, name="a stranger's secret", secrets=(_theirs(other),))
    yield replace(no_match, name="a body with one more space", body=plain.body + " ")
    yield replace(no_match, name="a body that was parsed and written again", body=_rewritten(plain.body))
    yield replace(plain, name="too old", now=NOW + TOLERANCE_SECONDS + 1, problem=Problem.TOO_OLD)
    yield replace(plain, name="too new", now=NOW - TOLERANCE_SECONDS - 1, problem=Problem.TOO_NEW)
    signature = _signature_header(plain)
    missing = {key: value for key, value in plain.headers.items() if key != signature}
    yield replace(plain, name="no signature", headers=missing, problem=Problem.MISSING_HEADER)
    for text in ("", "v1", "t=1777034096", "v9,AAAA"):
        malformed = plain.headers | {signature: text}
        problem = Problem.MALFORMED_HEADER if text else Problem.MISSING_HEADER
        yield replace(plain, name=f"a signature that reads {text!r}", headers=malformed, problem=problem)


def inputs_of(name: str) -> Iterator[Vector]:
    """Requests of one dialect as web frameworks hand them over, well and badly formed."""
    plain = next(vectors_of(name))
    yield from _header_forms(plain)
    yield from _malformed_times(plain)
    malformed_body = replace(plain, problem=Problem.MALFORMED_BODY)
    for body_as in ("text", "parsed", "null"):
        yield replace(malformed_body, name=f"a body handed over as {body_as}", body_as=body_as)
    for text in ("[]", "null", '"text"', "{", ""):
        headers = _signed_headers(name, text.encode(), SECRETS[name][0])
        yield replace(malformed_body, name=f"a signed body that reads {text!r}", headers=headers, body=text)


def _header_forms(plain: Vector) -> Iterator[Vector]:
    signature = _signature_header(plain)
    pairs = [[key, value] for key, value in plain.headers.items()]
    yield replace(plain, name="header names in lower case", headers={key.lower(): value for key, value in pairs})
    yield replace(plain, name="header names in upper case", headers={key.upper(): value for key, value in pairs})
    yield replace(plain, name="headers as a list of pairs", headers=pairs)
    yield replace(plain, name="header values as lists", headers={key: [value] for key, value in pairs})
    missing = replace(plain, problem=Problem.MISSING_HEADER)
    yield replace(missing, name="a signature that is null", headers=plain.headers | {signature: None})
    yield replace(missing, name="a signature that is an empty list", headers=plain.headers | {signature: []})
    yield replace(missing, name="no headers at all", headers={})
    yield replace(plain, name="headers that are null", headers=None, problem=Problem.MALFORMED_HEADER)
    # A header that came twice is one whose values are joined with commas.
    twice = Problem.NO_SIGNATURE_MATCHES if signature.startswith("webhook-") else Problem.MALFORMED_HEADER
    repeated = [*pairs, [signature.lower(), plain.headers[signature]]]
    yield replace(plain, name="a signature header that came twice", headers=repeated, problem=twice)


def _malformed_times(plain: Vector) -> Iterator[Vector]:
    for text in ("soon", "-1", "+1777034096", "1777034096.5", "1777034096000", "٣"):
        if "webhook-timestamp" in plain.headers:
            headers = plain.headers | {"webhook-timestamp": text}
        else:
            signature = _signature_header(plain)
            headers = plain.headers | {signature: plain.headers[signature].replace(str(NOW), text)}
        yield replace(plain, name=f"a time that reads {text}", headers=headers, problem=Problem.MALFORMED_HEADER)


def branded_vectors() -> Iterator[Vector]:
    """The default dialect under another brand, in both of its signature schemes."""
    secret, _, other = SECRETS["optimaldial"]
    for scheme in ("stripe", "slack"):
        dialect = BrandedDialect(brand="Acme", api_version="1", scheme=scheme)
        body = dialect.body(EVENT)
        headers = dict(dialect.headers(EVENT, ATTEMPT, body, [secret]))
        brand = {"brand": "Acme", "scheme": scheme}
        plain = Vector(f"under a brand, {scheme}", "default", headers, body.decode(), (secret,), brand=brand)
        yield plain
        stranger = replace(plain, name=f"{plain.name}, a stranger's secret", secrets=(other,))
        yield replace(stranger, problem=Problem.NO_SIGNATURE_MATCHES)
        needed = ["X-Acme-Signature", "X-Acme-Timestamp"] if scheme == "slack" else ["X-Acme-Signature"]
        for missing in needed:
            without = {key: value for key, value in headers.items() if key != missing}
            yield replace(plain, name=f"{plain.name}, no {missing}", headers=without, problem=Problem.MISSING_HEADER)
        malformed = headers | {"X-Acme-Signature": "v9=00"}
        yield replace(plain, name=f"{plain.name}, an unknown form", headers=malformed, problem=Problem.MALFORMED_HEADER)
        late = replace(plain, name=f"{plain.name}, too old", now=NOW + TOLERANCE_SECONDS + 1)
        yield replace(late, problem=Problem.TOO_OLD)


def mistakes() -> Iterator[Vector]:
    """What is wrong with the call rather than with the request."""
    unusable: dict[str, list[tuple[str, ...]]] = {
        "optimaldial": [(), ("",), (SECRETS["optimaldial"][0], ""), (SECRETS["optimaldial"][0] + "\n",)],
        "standard": [("whsec_",), (SECRETS["standard"][0] + "\n",), ("no base64!",), ("whpk_",), ("whpk_AAAA",)],
        "standard-v1a": [("whpk_AAAA",)],
    }
    for name, lists in unusable.items():
        plain = next(vectors_of(name))
        for secrets in lists:
            shown = json.dumps([secret[:12] for secret in secrets])
            yield replace(plain, name=f"secrets that cannot be used: {shown}", secrets=secrets, is_mistake=True)
    yield replace(next(vectors_of("optimaldial")), name="an unknown dialect", dialect="morse", is_mistake=True)


def _sent(name: str, dialect: Dialect, title: str, signing: list[str], *, knows: list[str]) -> Vector:
    event = event_for(name)
    body = dialect.body(event)
    headers = dict(dialect.headers(event, ATTEMPT, body, signing))
    return Vector(title, name, headers, body.decode(), tuple(map(_theirs, knows)))


def _signed_headers(name: str, body: bytes, secret: str) -> dict[str, str]:
    return dict(Dialects().get(name).headers(event_for(name), ATTEMPT, body, [secret]))


def _theirs(secret: str) -> str:
    return public_key(secret) if secret.startswith(PRIVATE_PREFIX) else secret


def _rewritten(body: str) -> str:
    return json.dumps(json.loads(body))


def _signature_header(vector: Vector) -> str:
    names: Mapping[str, str] = vector.headers
    return next(name for name in names if name.lower().endswith("signature"))


if __name__ == "__main__":
    FILE.write_text(render())
