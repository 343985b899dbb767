"""`/operator/v1/event-types`: what can be published and subscribed to."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from sendoff.endpoints.catalogue import OperatorsEventType, list_catalogue
from sendoff.publishing import event_types

from ..http.dependencies import ContextOf, Operator, OperatorReader, json_body
from ..http.idempotency import Write
from ..http.validation import RequestBody, Text
from ..openapi.operations import body_of, error_responses

router = APIRouter(prefix="/operator/v1/event-types", tags=["operator: events"])

_SCHEMA = "A JSON Schema that the `data` of every event of this type must satisfy; null accepts any."


class NewEventType(RequestBody):
    """A type to register."""

    name: Text = Field(description="Words of a-z, 0-9 and _ joined by dots, such as `invoice.paid`.")
    data_schema: dict[str, Any] | None = Field(None, alias="schema", description=_SCHEMA)


class EventTypeChange(RequestBody):
    """What becomes of a registered type, from the next publish on."""

    data_schema: dict[str, Any] | None = Field(alias="schema", description=_SCHEMA)


class DeleteQuery(BaseModel):
    """Whether the type is removed while endpoints subscribe to it."""

    model_config = ConfigDict(extra="forbid")

    force: bool = Field(default=False, description="Remove it even while endpoints subscribe to it.")


class OperatorsEventTypes(BaseModel):
    """All types."""

    data: list[OperatorsEventType]


@router.get("", operation_id="listAllEventTypes", responses=error_responses())
async def list_all(_auth: OperatorReader, context: ContextOf) -> OperatorsEventTypes:
    """Every event type: the built-in ones, then the registered ones by name."""
    return OperatorsEventTypes(data=await list_catalogue(context))


@router.post(
    "",
    operation_id="createEventType",
    status_code=201,
    openapi_extra=body_of(NewEventType),
    response_model=OperatorsEventType,
    responses=error_responses(400, 409, 413, 415),
)
async def create(
    auth: Operator, write: Write, context: ContextOf, body: Annotated[NewEventType, Depends(json_body(NewEventType))]
) -> Response:
    """A new type, which can be published and subscribed to from now on."""

    async def work() -> OperatorsEventType:
        created = await event_types.create_event_type(context, auth.actor, name=body.name, data_schema=body.data_schema)
        return OperatorsEventType.of(created)

    return await write.once(auth, work, status=201)


@router.get("/{name}", operation_id="getEventType", responses=error_responses(404))
async def get(_auth: OperatorReader, context: ContextOf, name: str) -> OperatorsEventType:
    """One registered type with its schema."""
    return OperatorsEventType.of(await event_types.get_event_type(context, name))


@router.patch(
    "/{name}",
    operation_id="updateEventType",
    openapi_extra=body_of(EventTypeChange),
    response_model=OperatorsEventType,
    responses=error_responses(400, 404, 409, 413, 415),
)
async def update(
    auth: Operator,
    write: Write,
    context: ContextOf,
    name: str,
    body: Annotated[EventTypeChange, Depends(json_body(EventTypeChange))],
) -> Response:
    """Replace the schema of a registered type, or remove it with null."""

    async def work() -> OperatorsEventType:
        updated = await event_types.update_event_type(context, auth.actor, name=name, data_schema=body.data_schema)
        return OperatorsEventType.of(updated)

    return await write.once(auth, work)


@router.delete(
    "/{name}",
    operation_id="deleteEventType",
    status_code=204,
    response_class=Response,
    responses=error_responses(400, 404, 409),
)
async def delete(
    auth: Operator, write: Write, context: ContextOf, name: str, query: Annotated[DeleteQuery, Query()]
) -> Response:
    """Remove a type: it can be neither published nor subscribed to. Accepted events are still delivered."""

    async def work() -> None:
        await event_types.delete_event_type(context, auth.actor, name=name, force=query.force)

    return await write.once(auth, work, status=204)
