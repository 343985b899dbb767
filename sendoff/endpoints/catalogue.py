"""The event types as people and programs see them: what each means, its schema and an example."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sendoff.context import Context
from sendoff.endpoints.fields import Time
from sendoff.policy.endpoints.matching import BUILT_IN_TYPES
from sendoff.publishing.event_types import list_event_types
from sendoff.store.tables import EventType

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

    model_config = ConfigDict(serialize_by_alias=True)

    name: str
    description: str | None = Field(description="What happened; for registered types the `description` of the schema.")
    data_schema: dict[str, Any] | None = Field(
        serialization_alias="schema",
        description="The JSON Schema that every event's `data` satisfies, if any.",
    )
    example: Any = Field(description="An example of `data`, if there is one.")


class OperatorsEventType(EventTypeView):
    """A type of events, as operators see it."""

    built_in: bool
    created_at: Time | None = Field(description="When it was registered; null for a built-in type.")

    @classmethod
    def of(cls, registered: EventType) -> OperatorsEventType:
        return cls(
            name=registered.name,
            description=_description(registered.data_schema),
            data_schema=registered.data_schema,
            example=_example(registered.data_schema),
            built_in=False,
            created_at=registered.created_at,
        )


async def list_catalogue(context: Context) -> list[OperatorsEventType]:
    """The built-in types, then the registered ones by name."""
    built_in = [
        OperatorsEventType(
            name=name,
            description=_DESCRIPTIONS[name],
            data_schema=None,
            example=_EXAMPLES.get(name),
            built_in=True,
            created_at=None,
        )
        for name in BUILT_IN_TYPES
    ]
    return [*built_in, *map(OperatorsEventType.of, await list_event_types(context))]


def _description(schema: dict[str, Any] | None) -> str | None:
    """The schema's own description."""
    found = (schema or {}).get("description")
    return found if isinstance(found, str) else None


def _example(schema: dict[str, Any] | None) -> Any:
    """The first of the schema's own examples."""
    examples = (schema or {}).get("examples")
    return examples[0] if isinstance(examples, list) and examples else None
