"""Dialbird: REST Hooks with a timestamped HMAC (its public contract, "Deliveries")."""

from __future__ import annotations

import secrets as randomness
from collections.abc import Sequence

from sendoff.dialects.base import CONTENT_TYPE, AttemptInfo, Dialect, EventData, Headers, check_text_secret
from sendoff.dialects.envelopes import dialbird
from sendoff.dialects.signing import timestamped_hex


class Dialbird:
    """Headers `X-Dialbird-…`, secrets of `whsec_` and 64 hexadecimal digits; organizations are businesses."""

    name = "dialbird"

    def new_secret(self) -> str:
        return f"whsec_{randomness.token_hex(32)}"

    def check_secret(self, secret: str) -> None:
        check_text_secret(secret)

    def body(self, event: EventData) -> bytes:
        return dialbird(event, "v1")

    def headers(self, event: EventData, attempt: AttemptInfo, body: bytes, secrets: Sequence[str]) -> Headers:
        return [
            CONTENT_TYPE,
            ("User-Agent", "Dialbird-Webhooks/1.0"),
            ("X-Dialbird-Signature", timestamped_hex(attempt.timestamp, body, secrets)),
            ("X-Dialbird-Event-Id", event.event_id),
            ("X-Dialbird-Event-Type", event.type),
        ]


DIALBIRD: Dialect = Dialbird()
