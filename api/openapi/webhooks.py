"""The document's `webhooks`: the requests that receivers get, in the envelopes of the two contracts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sendoff.policy.endpoints.matching import DIALBIRD_TYPES, OPTIMALDIAL_TYPES, PING

SENT_TAG = "receivers"
"""A tag of their own: generators make one file for each tag, and one of them lets these requests replace the calls."""


def sent_webhooks() -> Iterator[tuple[str, Any]]:
    """Each event type with its request."""
    for type_ in (*OPTIMALDIAL_TYPES, PING):
        yield type_, {"post": _webhook(type_, "created_at", {})}
    for type_ in DIALBIRD_TYPES:
        yield type_, {"post": _webhook(type_, "occurred_at", {"business_id": {"type": "string"}})}


def _webhook(type_: str, time_field: str, more: dict[str, Any]) -> dict[str, Any]:
    fields = {
        "id": {"type": "string", "pattern": "^evt_[0-9a-f]{24}$", "description": "The same at every attempt."},
        "type": {"type": "string", "const": type_},
        "api_version": {"type": "string"},
        time_field: {"type": "string", "format": "date-time", "description": "When it happened."},
        **more,
        "data": {"type": "object", "additionalProperties": True},
    }
    schema = {"type": "object", "required": [*fields], "properties": fields, "additionalProperties": False}
    return {
        "operationId": "receive" + "".join(part.capitalize() for part in type_.replace(".", "_").split("_")),
        "summary": f"{type_} is sent to an endpoint",
        "description": "Signed in a header over the time and the exact body; check it before you parse the body. "
        "Headers and signature depend on the endpoint's dialect.",
        "tags": [SENT_TAG],
        "security": [],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"2XX": {"description": "Acknowledges the delivery; any other answer makes another attempt."}},
    }
