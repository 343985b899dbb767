"""The house dialect: a timestamped HMAC under the product's own name; OptimalDial is one such name."""

from __future__ import annotations

import re
import secrets as randomness
from collections.abc import Sequence
from dataclasses import dataclass

from sendoff.clock import iso
from sendoff.dialects.base import CONTENT_TYPE, Headers, Occurrence, Sending, splice
from sendoff.dialects.signing import timestamped_hex

_BRAND = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class HouseDialect:
    """Headers `X-<brand>-…`, user agent `<brand>-Webhooks/1.0`, secrets of 64 hexadecimal digits.

    Raises ValueError for a brand that cannot be part of a header's name.
    """

    name: str
    brand: str
    api_version: str
    """What envelopes carry as `api_version`."""

    def __post_init__(self) -> None:
        if not _BRAND.fullmatch(self.brand):
            raise ValueError(f"{self.brand!r} is no brand: letters, digits and single hyphens between them")

    @property
    def user_agent(self) -> str:
        """What requests carry as `User-Agent`."""
        return f"{self.brand}-Webhooks/1.0"

    def new_secret(self) -> str:
        return randomness.token_hex(32)

    def body(self, occurrence: Occurrence) -> bytes:
        fields = {
            "id": occurrence.event_id,
            "type": occurrence.type,
            "api_version": self.api_version,
            "created_at": iso(occurrence.occurred_at),
        }
        return splice(fields, occurrence.data)

    def headers(self, occurrence: Occurrence, sending: Sending, body: bytes, secrets: Sequence[str]) -> Headers:
        prefix = f"X-{self.brand}-"
        return [
            CONTENT_TYPE,
            ("User-Agent", self.user_agent),
            (prefix + "Signature", timestamped_hex(sending.timestamp, body, secrets)),
            (prefix + "Event", occurrence.type),
            (prefix + "Event-Id", occurrence.event_id),
            (prefix + "Delivery-Id", sending.delivery_id),
            (prefix + "Attempt", str(sending.attempt)),
            (prefix + "Timestamp", str(sending.timestamp)),
        ]
