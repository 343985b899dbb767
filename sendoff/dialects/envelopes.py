"""The envelopes that contracts wrap an event in; `data` is always the last field, and untouched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from sendoff.clock import iso
from sendoff.dialects.base import EventData, embed_raw_json


def dated(occurrence: EventData, api_version: str) -> bytes:
    """`id`, `type`, `api_version`, `created_at` in milliseconds (OptimalDial contract, "Events and deliveries")."""
    fields = {
        "id": occurrence.event_id,
        "type": occurrence.type,
        "api_version": api_version,
        "created_at": iso(occurrence.occurred_at),
    }
    return embed_raw_json(fields, occurrence.data)


def owned(occurrence: EventData, api_version: str) -> bytes:
    """`id`, `type`, `api_version`, `occurred_at` in seconds, `business_id` (Dialbird contract, "Deliveries")."""
    fields = {
        "id": occurrence.event_id,
        "type": occurrence.type,
        "api_version": api_version,
        "occurred_at": _whole_seconds(occurrence.occurred_at),
        "business_id": occurrence.organization_id,
    }
    return embed_raw_json(fields, occurrence.data)


def thin(occurrence: EventData, _api_version: str) -> bytes:
    """`type` and `timestamp`, the id being a header's affair (Standard Webhooks 1.0, "Payload structure")."""
    return embed_raw_json({"type": occurrence.type, "timestamp": iso(occurrence.occurred_at)}, occurrence.data)


Envelope = Callable[[EventData, str], bytes]

ENVELOPES: Mapping[str, Envelope] = {"optimaldial": dated, "dialbird": owned, "standard": thin}
"""The envelopes by the contract that they come from, as the setting `HOUSE_ENVELOPE` names them."""


def _whole_seconds(moment: datetime) -> str:
    # The contract's spelling: `2026-01-15T10:00:00Z`.
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
