"""Standard Webhooks 1.0 (https://www.standardwebhooks.com): symmetric `v1` and asymmetric `v1a`."""

from __future__ import annotations

import secrets as randomness
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from sendoff.dialects.base import CONTENT_TYPE, AttemptInfo, EventData, Headers
from sendoff.dialects.envelopes import standard
from sendoff.dialects.signing import SHARED_PREFIX, is_shared_secret, new_private_key, standard_webhooks

_KEY_BYTES = 32

SHORTEST_KEY, LONGEST_KEY = 24, 64
"""Bytes of a shared secret, by the specification."""


@dataclass(frozen=True, slots=True)
class StandardWebhooks:
    """Headers `webhook-id`, `webhook-timestamp`, `webhook-signature`.

    Secrets are `whsec_` and base64 or, if `asymmetric`, ed25519 keys of `whsk_` and base64, which are never shown:
    receivers verify with the public key. `webhook-id` is the event's id, which has no dots: a dot would make the
    signed text ambiguous.
    """

    name: str
    asymmetric: bool = False
    user_agent: str = "Sendoff-Webhooks/1.0"

    def new_secret(self) -> str:
        if self.asymmetric:
            return new_private_key()
        return SHARED_PREFIX + b64encode(randomness.token_bytes(_KEY_BYTES)).decode()

    def check_secret(self, secret: str) -> None:
        if self.asymmetric:
            raise ValueError("cannot be chosen for this dialect, which signs with a private key of ours; leave it out")
        if not is_shared_secret(secret, SHORTEST_KEY, LONGEST_KEY):
            raise ValueError(
                f"must be {SHARED_PREFIX} and the base64 of {SHORTEST_KEY} to {LONGEST_KEY} bytes; "
                "leave it out to be given one"
            )

    def body(self, event: EventData) -> bytes:
        return standard(event, "")

    def headers(self, event: EventData, attempt: AttemptInfo, body: bytes, secrets: Sequence[str]) -> Headers:
        if "." in event.event_id:
            raise ValueError(f"{event.event_id!r} has a dot and cannot be a webhook-id")
        return [
            CONTENT_TYPE,
            ("User-Agent", self.user_agent),
            ("webhook-id", event.event_id),
            ("webhook-timestamp", str(attempt.timestamp)),
            ("webhook-signature", standard_webhooks(event.event_id, attempt.timestamp, body, secrets)),
        ]
