"""Standard Webhooks 1.0 (https://www.standardwebhooks.com), its symmetric scheme `v1`."""

from __future__ import annotations

import secrets as randomness
from base64 import b64encode
from collections.abc import Sequence

from sendoff.clock import iso
from sendoff.dialects.base import CONTENT_TYPE, Dialect, Headers, Occurrence, Sending, splice
from sendoff.dialects.signing import STANDARD_PREFIX, standard_webhooks

_KEY_BYTES = 32  # the specification asks for 24 to 64


class StandardWebhooks:
    """Headers `webhook-id`, `webhook-timestamp`, `webhook-signature`; secrets of `whsec_` and base64.

    `webhook-id` is the event's id, which has no dots: a dot would make the signed text ambiguous.
    """

    name = "standard"

    def new_secret(self) -> str:
        return STANDARD_PREFIX + b64encode(randomness.token_bytes(_KEY_BYTES)).decode()

    def body(self, occurrence: Occurrence) -> bytes:
        return splice({"type": occurrence.type, "timestamp": iso(occurrence.occurred_at)}, occurrence.data)

    def headers(self, occurrence: Occurrence, sending: Sending, body: bytes, secrets: Sequence[str]) -> Headers:
        if "." in occurrence.event_id:
            raise ValueError(f"{occurrence.event_id!r} has a dot and cannot be a webhook-id")
        return [
            CONTENT_TYPE,
            ("User-Agent", "Sendoff-Webhooks/1.0"),
            ("webhook-id", occurrence.event_id),
            ("webhook-timestamp", str(sending.timestamp)),
            ("webhook-signature", standard_webhooks(occurrence.event_id, sending.timestamp, body, secrets)),
        ]


STANDARD: Dialect = StandardWebhooks()
