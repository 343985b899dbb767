"""`/api/v1/event-types`: what can be subscribed to."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from sendoff.context import Context
from sendoff.endpoints.catalogue import EventTypeView as EventTypeView
from sendoff.endpoints.catalogue import list_catalogue

from ..http.dependencies import ContextOf, WebhooksReader
from ..openapi.operations import error_responses

router = APIRouter(prefix="/api/v1/event-types", tags=["event types"])


class EventTypeList(BaseModel):
    """All types that can be subscribed to."""

    data: list[EventTypeView]


@router.get("", operation_id="listEventTypes", responses=error_responses(429))
async def list_all(_auth: WebhooksReader, context: ContextOf) -> EventTypeList:
    """Every type that can be subscribed to: the built-in ones, then the registered ones by name."""
    return EventTypeList(data=await list_views(context))


async def list_views(context: Context) -> list[EventTypeView]:
    """The types in that order, as customers see them."""
    shown = set(EventTypeView.model_fields)
    return [EventTypeView(**one.model_dump(include=shown, by_alias=False)) for one in await list_catalogue(context)]
