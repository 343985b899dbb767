"""What a dialect is: a contract's envelope, headers and signature, and the shape of its secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import orjson

CONTENT_TYPE = ("Content-Type", "application/json")

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class EventData:
    """What an envelope is rendered from; the same for every attempt of every delivery of an event."""

    event_id: str
    type: str
    organization_id: str
    occurred_at: datetime
    data: bytes
    """JSON text exactly as it was published."""


@dataclass(frozen=True, slots=True)
class AttemptInfo:
    """What changes from one attempt to the next."""

    delivery_id: str
    attempt: int
    """1 for the first attempt."""
    timestamp: int
    """Unix seconds of the moment of signing."""


class Dialect(Protocol):
    """One contract's way to say that something happened."""

    @property
    def name(self) -> str:
        """What endpoints carry to name their dialect: lower case, stable for ever."""

    def new_secret(self) -> str:
        """A fresh signing secret as the receiver is shown it; at least 192 random bits."""

    def body(self, occurrence: EventData) -> bytes:
        """The envelope. The same bytes whenever it is rendered, with `data` spliced in untouched."""

    def headers(self, occurrence: EventData, sending: AttemptInfo, body: bytes, secrets: Sequence[str]) -> Headers:
        """The headers of one attempt, signed with every secret, newest first (several during a rotation).

        Raises ValueError when there is no secret, or one that this dialect cannot sign with.
        """


def embed_raw_json(fields: Mapping[str, str | int], data: bytes, *, last: bytes = b"data") -> bytes:
    """A JSON object of `fields` in their order, with `data` as the value of the field named `last` at its end.

    `data` is not parsed: key order, number spelling and escapes reach the receiver as they were published.
    `fields` holds at least one.
    """
    return b'%s,"%s":%s}' % (orjson.dumps(fields)[:-1], last, data)
