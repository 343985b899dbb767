"""Answers of `/api/v1/events`, and the OpenAPI operations of its two plain routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import BaseModel, Field

from sendoff.policy.states import DeliveryState
from sendoff.publishing.incoming.event_bodies import EventBatchBody, EventBody

from ..http.schemas import Id, Time
from ..openapi.operations import COMPONENTS, REFERENCE, error_responses, request_body, response_of

_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}


class AcceptedEventResponse(BaseModel):
    """A committed event."""

    id: str = Field(pattern="^evt_[0-9a-f]{24}$")
    type: str
    deliveries: int = Field(ge=0, description="How many endpoints get it.")


class AcceptedBatch(BaseModel):
    """Committed events, in the order of the request."""

    events: list[AcceptedEventResponse]


class EventDelivery(BaseModel):
    """How far an event's delivery to one endpoint is."""

    id: Id
    endpoint_id: Id
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
    tags: list[str] = Field(description="What it was published with to be found by.")
    data: dict[str, Any]
    deliveries: list[EventDelivery]


def _operation(
    name: str, description: str, body: type[EventBody] | type[EventBatchBody], accepted: type[BaseModel]
) -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components([body], ref_template=REFERENCE.replace("{model}", "{name}"))
    operation = {
        "tags": ["events"],
        "description": description,
        "operationId": name,
        "parameters": [_KEY],
        "security": [{"apiKey": []}],
        **request_body(body.__name__, {**schemas.pop(body.__name__), "$defs": schemas}),
        "responses": {
            "202": response_of("Committed", accepted),
            **{str(status): response for status, response in error_responses(409, 413, 415).items()},
        },
    }
    operation[COMPONENTS] |= _components(accepted)
    return operation


def _components(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=REFERENCE)
    return {**schema.pop("$defs", {}), model.__name__: schema}


PLAIN_OPERATIONS: Mapping[str, Mapping[str, Any]] = {
    "/api/v1/events": {
        "post": _operation(
            "publishEvent",
            "202 after the event and its deliveries are committed. CloudEvents 1.0 are taken as well, as "
            "`application/cloudevents+json`, with `ce-…` headers, or several as `application/cloudevents-batch+json`, "
            "which are answered like a batch.",
            EventBody,
            AcceptedEventResponse,
        )
    },
    "/api/v1/events/batch": {
        "post": _operation(
            "publishEvents",
            "Up to 1,000 events: all are committed or none. CloudEvents are taken as "
            "`application/cloudevents-batch+json`.",
            EventBatchBody,
            AcceptedBatch,
        )
    },
}
