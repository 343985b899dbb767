"""The house dialect: what this installation's product calls its own; OptimalDial is one such product.

Its headers' prefix, its user agent, its signature's header and scheme, and its envelope are settings.
"""

from __future__ import annotations

import re
import secrets as randomness
from collections.abc import Sequence
from dataclasses import dataclass

from sendoff.dialects.base import CONTENT_TYPE, AttemptInfo, EventData, Headers
from sendoff.dialects.envelopes import ENVELOPES
from sendoff.dialects.signing import HOUSE_SCHEMES

NAME = "house"

_BRAND = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")
_HEADER = re.compile(r"[A-Za-z0-9-]+")


@dataclass(frozen=True, slots=True)
class HouseDialect:
    """Headers `X-<brand>-…`, user agent `<brand>-Webhooks/1.0`, secrets of 64 hexadecimal digits.

    What is None follows from the brand. Raises ValueError for a brand, a prefix or a name that no header can have, for
    a user agent that is no line of text, and for an unknown `scheme` or `envelope`.
    """

    brand: str
    api_version: str
    """What envelopes carry as `api_version`, if they do."""
    header_prefix: str | None = None
    user_agent: str | None = None
    signature_header: str | None = None
    scheme: str = "stripe"
    """One of HOUSE_SCHEMES."""
    envelope: str = "optimaldial"
    """One of ENVELOPES."""

    def __post_init__(self) -> None:
        if not _BRAND.fullmatch(self.brand):
            raise ValueError(f"{self.brand!r} is no brand: letters, digits and single hyphens between them")
        for name in (self.prefix, self.signature_name):
            if not _HEADER.fullmatch(name):
                raise ValueError(f"{name!r} cannot be in a header's name: letters, digits and hyphens")
        if not (self.agent.isascii() and self.agent.isprintable()):
            raise ValueError(f"{self.agent!r} is no user agent: printable ASCII")
        if self.scheme not in HOUSE_SCHEMES or self.envelope not in ENVELOPES:
            raise ValueError(f"unknown scheme {self.scheme!r} or envelope {self.envelope!r}")

    @property
    def name(self) -> str:
        return NAME

    @property
    def prefix(self) -> str:
        """What the headers' names begin with."""
        return self.header_prefix or f"X-{self.brand}-"

    @property
    def agent(self) -> str:
        """What requests carry as `User-Agent`."""
        return self.user_agent or f"{self.brand}-Webhooks/1.0"

    @property
    def signature_name(self) -> str:
        """The name of the signature's header."""
        return self.signature_header or f"{self.prefix}Signature"

    def new_secret(self) -> str:
        return randomness.token_hex(32)

    def body(self, occurrence: EventData) -> bytes:
        return ENVELOPES[self.envelope](occurrence, self.api_version)

    def headers(self, occurrence: EventData, sending: AttemptInfo, body: bytes, secrets: Sequence[str]) -> Headers:
        return [
            CONTENT_TYPE,
            ("User-Agent", self.agent),
            (self.signature_name, HOUSE_SCHEMES[self.scheme](sending.timestamp, body, secrets)),
            (self.prefix + "Event", occurrence.type),
            (self.prefix + "Event-Id", occurrence.event_id),
            (self.prefix + "Delivery-Id", sending.delivery_id),
            (self.prefix + "Attempt", str(sending.attempt)),
            (self.prefix + "Timestamp", str(sending.timestamp)),
        ]
