"""`/operator/v1/deliveries`: any delivery with its attempts, and the manual retry."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from sendoff.operators.actions import retry_delivery
from sendoff.operators.queries import get_delivery
from sendoff.policy.states import DeliveryState
from sendoff.publishing.history import list_deliveries
from sendoff.store.queries.delivery_history import DeliveryFilter

from ..http.dependencies import ContextOf, Operator
from ..http.idempotency import Write
from ..http.pagination import decode_cursor, split_page
from ..http.schemas import Id, Page, QueryTime
from ..http.validation import Text, UuidText
from ..openapi.operations import error_responses
from .schemas import DeliveryView, DetailedDelivery, ListQuery

router = APIRouter(prefix="/operator/v1/deliveries", tags=["operator: deliveries"])


class DeliveryQuery(ListQuery):
    """Which deliveries; what is left out is any. `since` (inclusive) and `until` (exclusive) are of `created_at`."""

    organization_id: UuidText | None = None
    endpoint_id: UuidText | None = None
    event_id: Text | None = None
    event_type: Text | None = None
    state: DeliveryState | None = None
    since: QueryTime | None = None
    until: QueryTime | None = None

    def filter(self) -> DeliveryFilter:
        return DeliveryFilter(
            states=None if self.state is None else (self.state,),
            **self.model_dump(exclude={"limit", "cursor", "state"}),
        )


@router.get("", operation_id="listDeliveries", responses=error_responses(400))
async def list_page(
    _auth: Operator, context: ContextOf, query: Annotated[DeliveryQuery, Query()]
) -> Page[DeliveryView]:
    """Deliveries, newest first."""
    before = decode_cursor(query.cursor)
    found = await list_deliveries(context, query.filter(), limit=query.limit + 1, before=before)
    page, cursor = split_page(found, query.limit, lambda listed: listed.delivery.id)
    return Page(data=[DeliveryView.of(listed) for listed in page], next_cursor=cursor)


@router.get("/{delivery_id}", operation_id="getDelivery", responses=error_responses(404))
async def get(_auth: Operator, context: ContextOf, delivery_id: Id) -> DetailedDelivery:
    """One delivery with its attempts."""
    return DetailedDelivery.of_report(await get_delivery(context, delivery_id))


@router.post(
    "/{delivery_id}/retry",
    operation_id="retryDelivery",
    status_code=202,
    response_model=DetailedDelivery,
    responses=error_responses(400, 404, 409),
)
async def retry(auth: Operator, write: Write, context: ContextOf, delivery_id: Id) -> Response:
    """Attempt it now, in the place of its next automatic attempt; if it fails, the schedule goes on."""

    async def work() -> DetailedDelivery:
        return DetailedDelivery.of_report(await retry_delivery(context, auth.actor, delivery_id))

    return await write.once(auth, work, status=202)
