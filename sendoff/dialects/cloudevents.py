"""CloudEvents 1.0 in its structured JSON form, signed as Standard Webhooks 1.0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sendoff.clock import iso
from sendoff.dialects.base import AttemptInfo, EventData, Headers, embed_raw_json
from sendoff.dialects.standard import StandardWebhooks

_CONTENT_TYPE = ("Content-Type", "application/cloudevents+json")


@dataclass(frozen=True, slots=True)
class CloudEvents:
    """The body is a CloudEvent, the headers are `webhook-id`, `webhook-timestamp`, `webhook-signature`.

    Its `source` is the organization, as a URN of the brand; `source` and `id` together name the event.
    """

    signing: StandardWebhooks
    brand: str
    name: str = "cloudevents"

    def new_secret(self) -> str:
        return self.signing.new_secret()

    def check_secret(self, secret: str) -> None:
        self.signing.check_secret(secret)

    def body(self, event: EventData) -> bytes:
        attributes = {
            "specversion": "1.0",
            "id": event.event_id,
            "source": f"urn:{self.brand.lower()}:organization:{event.organization_id}",
            "type": event.type,
            "time": iso(event.occurred_at),
            "datacontenttype": "application/json",
        }
        return embed_raw_json(attributes, event.data)

    def headers(self, event: EventData, attempt: AttemptInfo, body: bytes, secrets: Sequence[str]) -> Headers:
        _, *others = self.signing.headers(event, attempt, body, secrets)
        return [_CONTENT_TYPE, *others]
