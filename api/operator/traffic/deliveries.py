"""`/operator/v1/deliveries`: any delivery with its attempts, and the manual retry."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from sendoff.operators.actions import retry_delivery
from sendoff.operators.queries import get_delivery

from ...http.dependencies import ContextOf, Operator, OperatorReader
from ...http.idempotency import Write
from ...http.schemas import Id, SearchedPage
from ...http.validation import UuidText
from ...openapi.operations import error_responses
from ..schemas import DeliveryView, DetailedDelivery
from .filters import DeliveryConditions

router = APIRouter(prefix="/operator/v1/deliveries", tags=["operator: deliveries"])


class DeliveryQuery(DeliveryConditions):
    """Which deliveries, of one organization or of all."""

    organization_id: UuidText | None = None


@router.get("", operation_id="listDeliveries", responses=error_responses(400))
async def list_page(
    _auth: OperatorReader, context: ContextOf, query: Annotated[DeliveryQuery, Query()]
) -> SearchedPage[DeliveryView]:
    """Deliveries, newest first. A page that searches for what is rare may end early, with `scanned_back_to`."""
    return await query.page(context, query.organization_id)


@router.get("/{delivery_id}", operation_id="getDelivery", responses=error_responses(404))
async def get(_auth: OperatorReader, context: ContextOf, delivery_id: Id) -> DetailedDelivery:
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
