"""`/api/v1/event-types`: what can be subscribed to."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from sendoff.context import Context
from sendoff.policy.endpoints.matching import BUILT_IN_TYPES
from sendoff.publishing.event_types import list_event_types

from ..http.dependencies import ContextOf, WebhooksReader
from ..openapi.operations import error_responses

router = APIRouter(prefix="/api/v1/event-types", tags=["event types"])

_UPLOAD = {
    "id": "0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11",
    "source": "api",
    "status": "completed",
    "original_filename": "contacts.csv",
    "valid_row_count": 1200,
    "invalid_row_count": 34,
    "organization_id": "0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a12",
    "created_at": "2026-04-24T12:34:56.789+00:00",
}
_EXAMPLES = {
    "upload.created": {"upload": _UPLOAD | {"status": "ready_for_processing"}},
    "upload.completed": {"upload": _UPLOAD},
    "upload.failed": {"upload": _UPLOAD | {"status": "failed"}, "error_message": "The file is empty; upload it again."},
}


_DESCRIPTIONS = {
    "upload.created": "A list of phone numbers was uploaded.",
    "upload.completed": "An uploaded list is processed, and its results can be downloaded.",
    "upload.failed": "An uploaded list could not be processed.",
    "message.incoming.received": "A message came in.",
    "message.outgoing.delivered": "A message that was sent has arrived.",
    "call.incoming.completed": "A call that came in has ended.",
    "call.outgoing.completed": "A call that was made has ended.",
}


class EventTypeView(BaseModel):
    """A type of events."""

    name: str
    description: str | None = Field(description="What happened; for registered types the `description` of the schema.")
    data_schema: dict[str, Any] | None = Field(
        serialization_alias="schema",
        description="The JSON Schema that every event's `data` satisfies, if any.",
    )
    example: Any = Field(description="An example of `data`, if there is one.")


class EventTypeList(BaseModel):
    """All types that can be subscribed to."""

    data: list[EventTypeView]


@router.get("", operation_id="listEventTypes", responses=error_responses(429))
async def list_all(_auth: WebhooksReader, context: ContextOf) -> EventTypeList:
    """Every type that can be subscribed to: the built-in ones, then the registered ones by name."""
    return EventTypeList(data=await list_views(context))


async def list_views(context: Context) -> list[EventTypeView]:
    """The types in that order."""
    built_in = [
        EventTypeView(name=name, description=_DESCRIPTIONS[name], data_schema=None, example=_EXAMPLES.get(name))
        for name in BUILT_IN_TYPES
    ]
    registered = [
        EventTypeView(
            name=one.name,
            description=_description(one.data_schema),
            data_schema=one.data_schema,
            example=_example(one.data_schema),
        )
        for one in await list_event_types(context)
    ]
    return [*built_in, *registered]


def _description(schema: dict[str, Any] | None) -> str | None:
    """The schema's own description."""
    found = (schema or {}).get("description")
    return found if isinstance(found, str) else None


def _example(schema: dict[str, Any] | None) -> Any:
    """The first of the schema's own examples."""
    examples = (schema or {}).get("examples")
    return examples[0] if isinstance(examples, list) and examples else None
