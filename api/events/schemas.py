"""Answers of `/api/v1/events`, and the OpenAPI operations of its two plain routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import BaseModel, Field

from sendoff.policy.states import DeliveryState

from ..http.schemas import Time
from ..openapi import described_responses, error_responses, request_body
from .decoder import EventBatchBody, EventBody

_ACCEPTED = {
    "type": "object",
    "required": ["id", "type", "deliveries"],
    "properties": {
        "id": {"type": "string", "pattern": "^evt_[0-9a-f]{24}$"},
        "type": {"type": "string"},
        "deliveries": {"type": "integer", "minimum": 0},
    },
}
_ACCEPTED_BATCH = {
    "type": "object",
    "required": ["events"],
    "properties": {"events": {"type": "array", "items": _ACCEPTED}},
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


class EventDelivery(BaseModel):
    """How far an event's delivery to one endpoint is."""

    id: str
    endpoint_id: str
    state: DeliveryState
    attempt_count: int
    next_attempt_at: Time | None
    last_response_status: int | None
    last_error: str | None
    delivered_at: Time | None


class EventWithDeliveries(BaseModel):
    """An event and the state of each of its deliveries."""

    id: str = Field(pattern="^evt_[0-9a-f]{24}$")
    type: str
    occurred_at: Time
    created_at: Time
    request_id: str | None = Field(description="Of the request that published it.")
    data: dict[str, Any]
    deliveries: list[EventDelivery]


def _operation(
    name: str, description: str, body: type[EventBody] | type[EventBatchBody], accepted: dict[str, Any]
) -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components([body], ref_template="#/components/schemas/{name}")
    schema = schemas.pop(body.__name__)
    return {
        "tags": ["events"],
        "description": description,
        "operationId": name,
        "parameters": [_KEY],
        "security": [{"apiKey": []}],
        **request_body(body.__name__, {**schema, "$defs": schemas}),
        "responses": {
            "202": {"description": "Committed", "content": {"application/json": {"schema": accepted}}},
            **described_responses(error_responses(409, 413, 415)),
        },
    }


PLAIN_OPERATIONS: Mapping[str, Mapping[str, Any]] = {
    "/api/v1/events": {
        "post": _operation(
            "publishEvent", "202 after the event and its deliveries are committed.", EventBody, _ACCEPTED
        )
    },
    "/api/v1/events/batch": {
        "post": _operation(
            "publishEvents", "Up to 1,000 events: all are committed or none.", EventBatchBody, _ACCEPTED_BATCH
        )
    },
}
