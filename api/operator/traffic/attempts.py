"""`/operator/v1/attempts`: what was sent lately, as it happens."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from sendoff.operators.queries import list_attempts
from sendoff.store.queries.traffic.delivery_history import AttemptFilter, ListedAttempt

from ...http.dependencies import ContextOf, OperatorReader
from ...http.schemas import Id, Page, QueryTime
from ...http.validation import UuidText
from ...openapi.operations import error_responses
from ..schemas import AttemptView

router = APIRouter(prefix="/operator/v1/attempts", tags=["operator: deliveries"])

_BACK = timedelta(minutes=1)


class AttemptQuery(BaseModel):
    """Which attempts; what is left out is any."""

    model_config = ConfigDict(extra="forbid")

    organization_id: UuidText | None = None
    endpoint_id: UuidText | None = None
    failed: bool = Field(default=False, description="Only those that did not deliver.")
    since: QueryTime | None = Field(None, description="Started from then on; the last minute if left out.")
    limit: int = Field(50, ge=1, le=1_000)


class ListedAttemptView(AttemptView):
    """An attempt with the delivery that it belongs to."""

    delivery_id: Id
    event_id: str
    event_type: str
    endpoint_id: Id
    endpoint_url: str
    organization_id: Id

    @classmethod
    def of(cls, listed: ListedAttempt) -> Self:
        fields = ("event_id", "event_type", "endpoint_id", "endpoint_url", "organization_id")
        attempt = listed.attempt.model_dump(include=set(cls.model_fields))
        return cls(**attempt, **{name: getattr(listed, name) for name in fields})


@router.get("", operation_id="listAttempts", responses=error_responses(400))
async def list_newest(
    _auth: OperatorReader, context: ContextOf, query: Annotated[AttemptQuery, Query()]
) -> Page[ListedAttemptView]:
    """The newest attempts, oldest first; each is listed when it has ended."""
    since = query.since or context.clock.now() - _BACK
    chosen = AttemptFilter(since, query.organization_id, query.endpoint_id, query.failed)
    found = await list_attempts(context, chosen, limit=query.limit)
    return Page(data=[ListedAttemptView.of(one) for one in found], next_cursor=None)
