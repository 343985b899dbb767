"""The envelopes of the contracts. `data` is always the last field and embedded unchanged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC

from sendoff.clock import iso
from sendoff.dialects.base import EventData, embed_raw_json


def optimaldial(event: EventData, api_version: str) -> bytes:
    """`id`, `type`, `api_version`, `created_at` in milliseconds (OptimalDial contract, "Events and deliveries")."""
    fields = {
        "id": event.event_id,
        "type": event.type,
        "api_version": api_version,
        "created_at": iso(event.occurred_at),
    }
    return embed_raw_json(fields, event.data)


def dialbird(event: EventData, api_version: str) -> bytes:
    """`id`, `type`, `api_version`, `occurred_at` in seconds, `business_id` (Dialbird contract, "Deliveries")."""
    fields = {
        "id": event.event_id,
        "type": event.type,
        "api_version": api_version,
        "occurred_at": event.occurred_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),  # whole seconds
        "business_id": event.organization_id,
    }
    return embed_raw_json(fields, event.data)


def standard(event: EventData, _api_version: str) -> bytes:
    """`type` and `timestamp`, since the id is in a header (Standard Webhooks 1.0, "Payload structure")."""
    return embed_raw_json({"type": event.type, "timestamp": iso(event.occurred_at)}, event.data)


Envelope = Callable[[EventData, str], bytes]

ENVELOPES: Mapping[str, Envelope] = {"optimaldial": optimaldial, "dialbird": dialbird, "standard": standard}
"""Envelopes of the contracts, by the names that the setting `DIALECT_ENVELOPE` takes."""
