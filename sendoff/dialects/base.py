"""The interface of a dialect: envelope, headers, signature, and the format of its secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import orjson

CONTENT_TYPE = ("Content-Type", "application/json")

Headers = list[tuple[str, str]]


@dataclass(slots=True)
class EventData:
    """What an envelope is rendered from; the same for every attempt of every delivery of an event."""

    event_id: str
    type: str
    organization_id: str
    occurred_at: datetime
    data: bytes
    """JSON text exactly as it was published."""


@dataclass(slots=True)
class AttemptInfo:
    """What changes from one attempt to the next."""

    delivery_id: str
    attempt: int
    """1 for the first attempt."""
    timestamp: int
    """Unix seconds at which the attempt was signed."""


class Dialect(Protocol):
    """One contract: how it formats an event and signs an attempt."""

    @property
    def name(self) -> str:
        """The value of an endpoint's `dialect`: lower case. Never change it, since endpoints store it."""

    def new_secret(self) -> str:
        """A new signing secret in the format that the receiver sees, with at least 192 random bits."""

    def check_secret(self, secret: str) -> None:
        """Raise ValueError, with what is allowed, for a secret that a receiver may not choose for itself."""

    def body(self, event: EventData) -> bytes:
        """The request body: identical bytes at every call, with `data` embedded unchanged."""

    def headers(self, event: EventData, attempt: AttemptInfo, body: bytes, secrets: Sequence[str]) -> Headers:
        """The headers of one attempt, signed with every secret, newest first (several during a rotation).

        Raises ValueError when there is no secret, or one that this dialect cannot sign with.
        """


SHORTEST_SECRET, LONGEST_SECRET = 32, 64
"""Characters of a secret that a receiver chooses. Fewer could be guessed; contracts allow 64."""


def check_text_secret(secret: str) -> None:
    """Raise ValueError unless the secret is 32 to 64 printable ASCII characters, none of them a space."""
    is_printable = secret.isascii() and secret.isprintable() and " " not in secret
    if not (is_printable and SHORTEST_SECRET <= len(secret) <= LONGEST_SECRET):
        raise ValueError(
            f"must be {SHORTEST_SECRET} to {LONGEST_SECRET} printable ASCII characters without spaces; "
            "leave it out to be given one"
        )


def embed_raw_json(fields: Mapping[str, str | int], data: bytes, *, last: bytes = b"data") -> bytes:
    """A JSON object of `fields` in their order, with `data` as the value of the field named `last` at its end.

    `data` is not parsed: key order, number spelling and escapes reach the receiver as they were published.
    `fields` holds at least one.
    """
    return b'%s,"%s":%s}' % (orjson.dumps(fields)[:-1], last, data)
