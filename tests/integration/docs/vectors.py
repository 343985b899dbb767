"""The test vectors, from the code that signs: `python -m tests.integration.docs.vectors` writes them anew."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sendoff.dialects.base import AttemptInfo, Dialect, EventData
from sendoff.dialects.registry import Dialects
from sendoff.dialects.signing import PRIVATE_PREFIX, public_key
from sendoff.policy.matching import DIALBIRD_TYPES
from sendoff.verify import TOLERANCE_SECONDS, Problem

FILE = Path(__file__).parents[3] / "docs" / "vectors.json"

NOW = 1_777_034_096
SENDING = AttemptInfo(delivery_id="0198c5a0-1111-7000-8000-000000000000", attempt=1, timestamp=NOW)
OCCURRENCE = EventData(
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
}

_ABOUT = (
    "Requests as Sendoff sends them. For each: take `headers` (their names in any case) and `body` (as UTF-8 bytes), "
    "and check them with `secrets` at the time `now` (Unix seconds), allowing `tolerance_seconds` either way. `valid` "
    "says what must come out; `type` is the event's, `problem` the reason why a request must not be believed."
)


@dataclass(frozen=True)
class Vector:
    """One request and what must come out."""

    name: str
    dialect: str
    headers: dict[str, str]
    body: str
    secrets: tuple[str, ...]
    now: int = NOW
    problem: Problem | None = None

    def to_json(self) -> dict[str, Any]:
        told = occurrence_for(self.dialect).type
        result = {"valid": False, "problem": self.problem} if self.problem else {"valid": True, "type": told}
        fields = {"dialect": self.dialect, "now": self.now, "secrets": list(self.secrets)}
        return {"name": self.name, **fields, "headers": self.headers, "body": self.body, **result}


def render() -> str:
    """The file's text."""
    found = [vector.to_json() for name in SECRETS for vector in vectors_of(name)]
    document = {"about": _ABOUT, "tolerance_seconds": TOLERANCE_SECONDS, "vectors": found}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def occurrence_for(name: str) -> EventData:
    """What the dialect's vectors tell, of a type that its contract has."""
    return replace(OCCURRENCE, type=DIALBIRD_TYPES[0]) if name == "dialbird" else OCCURRENCE


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


def _sent(name: str, dialect: Dialect, told: str, signing: list[str], *, knows: list[str]) -> Vector:
    occurrence = occurrence_for(name)
    body = dialect.body(occurrence)
    headers = dict(dialect.headers(occurrence, SENDING, body, signing))
    return Vector(told, name, headers, body.decode(), tuple(map(_theirs, knows)))


def _theirs(secret: str) -> str:
    return public_key(secret) if secret.startswith(PRIVATE_PREFIX) else secret


def _rewritten(body: str) -> str:
    return json.dumps(json.loads(body))


def _signature_header(vector: Vector) -> str:
    return next(name for name in vector.headers if name.lower().endswith("signature"))


if __name__ == "__main__":
    FILE.write_text(render())
