"""`/api/v1/deliveries` and what an endpoint missed: the organization's own, whatever its dialect."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from sendoff.endpoints.manage import get_endpoint
from sendoff.operators.actions import retry_delivery, send_again
from sendoff.operators.queries import get_delivery
from sendoff.operators.replays.replay import Selection
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter

from ..http.dependencies import ContextOf, WebhooksReader, WebhooksWriter, json_body, optional_json_body
from ..http.idempotency import Write
from ..http.schemas import Id, QueryTime, SearchedPage
from ..http.validation import RequestBody
from ..openapi.operations import body_of, error_responses, optional_body_of, with_schemas
from ..operator.schemas import DeliveryView, DetailedDelivery
from ..operator.traffic.filters import DeliveryConditions
from ..operator.traffic.replays import REPLAY_OR_COUNT, REPLAY_RESPONSES, count_or_start

router = APIRouter(prefix="/api/v1", tags=["deliveries"])


class ManualRetry(RequestBody):
    """How a delivery is sent again. The body may be left out."""

    again: bool = Field(default=False, description="Whether to send it once more if it was delivered; a 409 otherwise.")


class Recovery(RequestBody):
    """Which dead letters of the endpoint are sent again: those of `since` (inclusive) until `until` (exclusive)."""

    since: QueryTime
    until: QueryTime | None = None
    dry_run: bool = False


@router.get("/deliveries", operation_id="listOwnDeliveries", responses=error_responses(400, 429))
async def list_page(
    auth: WebhooksReader, context: ContextOf, query: Annotated[DeliveryConditions, Query()]
) -> SearchedPage[DeliveryView]:
    """The organization's deliveries, newest first.

    A page that searches for what is rare may end early, with `scanned_back_to`.
    """
    return await query.page(context, auth.organization_id)


@router.get("/deliveries/{delivery_id}", operation_id="getOwnDelivery", responses=error_responses(404, 429))
async def get(auth: WebhooksReader, context: ContextOf, delivery_id: Id) -> DetailedDelivery:
    """One delivery with its attempts, the request, and what the receiver answered."""
    report = await get_delivery(context, delivery_id, organization_id=auth.organization_id)
    return DetailedDelivery.of_report(report)


@router.post(
    "/deliveries/{delivery_id}/retry",
    operation_id="retryOwnDelivery",
    status_code=202,
    openapi_extra=optional_body_of(ManualRetry),
    response_model=DetailedDelivery,
    responses=error_responses(400, 404, 409, 413, 415, 429),
)
async def retry(
    auth: WebhooksWriter,
    write: Write,
    context: ContextOf,
    delivery_id: Id,
    body: Annotated[ManualRetry, Depends(optional_json_body(ManualRetry))],
) -> Response:
    """Attempt it now, in the place of its next automatic attempt; if it fails, the schedule goes on.

    One that was delivered is sent once more with `again`, behind what waits: the same event, signed again.
    """

    async def work() -> DetailedDelivery:
        act = send_again if body.again else retry_delivery
        report = await act(context, auth.actor, delivery_id, organization_id=auth.organization_id)
        return DetailedDelivery.of_report(report)

    return await write.once(auth, work, status=202)


@router.post(
    "/webhooks/{webhook_id}/recover",
    operation_id="recoverWebhook",
    status_code=202,
    openapi_extra=with_schemas(body_of(Recovery), REPLAY_OR_COUNT),
    response_model=None,
    responses={**REPLAY_RESPONSES, **error_responses(400, 404, 409, 413, 415, 429)},
)
async def recover(
    auth: WebhooksWriter,
    write: Write,
    context: ContextOf,
    webhook_id: Id,
    body: Annotated[Recovery, Depends(json_body(Recovery))],
) -> Response:
    """Send an endpoint again what it missed: its dead letters of a time range, or with `dry_run` their count."""
    endpoint = await get_endpoint(context, auth.organization_id, webhook_id)
    chosen = Selection(DeadLetterFilter(endpoint_id=endpoint.id, since=body.since, until=body.until))
    work = partial(count_or_start, context, auth.actor, chosen, dry_run=body.dry_run)
    return await write.once(auth, work, status=200 if body.dry_run else 202)
