"""`/operator/v1/event-types`: what can be published and subscribed to."""

from __future__ import annotations

from fastapi import APIRouter

from ..customers.event_types import EventTypeList, list_views
from ..http.dependencies import ContextOf, OperatorReader
from ..openapi.operations import error_responses

router = APIRouter(prefix="/operator/v1/event-types", tags=["operator: events"])


@router.get("", operation_id="listAllEventTypes", responses=error_responses())
async def list_all(_auth: OperatorReader, context: ContextOf) -> EventTypeList:
    """Every event type: the built-in ones, then the registered ones by name."""
    return EventTypeList(data=await list_views(context))
