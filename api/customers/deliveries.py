"""`/api/v1/deliveries` and what an endpoint missed: the organization's own, whatever its dialect."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import RootModel

from sendoff.endpoints.manage import get_endpoint
from sendoff.operators.actions import retry_delivery
from sendoff.operators.queries import get_delivery
from sendoff.operators.replay import Selection, count_replay, start_replay
from sendoff.policy.states import DeliveryState
from sendoff.publishing.history import list_deliveries
from sendoff.store.queries.dead_letters import DeadLetterFilter
from sendoff.store.queries.delivery_history import DeliveryFilter

from ..http.dependencies import ContextOf, WebhooksReader, WebhooksWriter, json_body
from ..http.idempotency import Write
from ..http.pagination import decode_cursor, split_page
from ..http.schemas import Id, Page, QueryTime
from ..http.validation import RequestBody, Text, UuidText
from ..openapi.operations import body_of, error_responses
from ..operator.replays import DryRun, ReplayView
from ..operator.schemas import DeliveryView, DetailedDelivery, ListQuery

router = APIRouter(prefix="/api/v1", tags=["deliveries"])


class OwnDeliveryQuery(ListQuery):
    """Which deliveries; what is left out is any. `since` (inclusive) and `until` (exclusive) are of `created_at`."""

    endpoint_id: UuidText | None = None
    event_id: Text | None = None
    event_type: Text | None = None
    state: DeliveryState | None = None
    since: QueryTime | None = None
    until: QueryTime | None = None

    def filter(self, organization_id: str) -> DeliveryFilter:
        return DeliveryFilter(
            organization_id=organization_id,
            states=None if self.state is None else (self.state,),
            **self.model_dump(exclude={"limit", "cursor", "state"}),
        )


class Recovery(RequestBody):
    """Which dead letters of the endpoint are sent again: those of `since` (inclusive) until `until` (exclusive)."""

    since: QueryTime
    until: QueryTime | None = None
    dry_run: bool = False


class RecoveryOrCount(RootModel[ReplayView | DryRun]):
    """The replay that runs from now on, or after `dry_run` the count alone."""


@router.get("/deliveries", operation_id="listOwnDeliveries", responses=error_responses(400, 429))
async def list_page(
    auth: WebhooksReader, context: ContextOf, query: Annotated[OwnDeliveryQuery, Query()]
) -> Page[DeliveryView]:
    """The organization's deliveries, newest first."""
    before = decode_cursor(query.cursor)
    chosen = query.filter(auth.organization_id)
    found = await list_deliveries(context, chosen, limit=query.limit + 1, before=before)
    page, cursor = split_page(found, query.limit, lambda listed: listed.delivery.id)
    return Page(data=[DeliveryView.of(listed) for listed in page], next_cursor=cursor)


@router.get("/deliveries/{delivery_id}", operation_id="getOwnDelivery", responses=error_responses(404, 429))
async def get(auth: WebhooksReader, context: ContextOf, delivery_id: Id) -> DetailedDelivery:
    """One delivery with its attempts, the request, and what the receiver answered."""
    report = await get_delivery(context, delivery_id, organization_id=auth.organization_id)
    return DetailedDelivery.of_report(report)


@router.post(
    "/deliveries/{delivery_id}/retry",
    operation_id="retryOwnDelivery",
    status_code=202,
    response_model=DetailedDelivery,
    responses=error_responses(400, 404, 409, 429),
)
async def retry(auth: WebhooksWriter, write: Write, context: ContextOf, delivery_id: Id) -> Response:
    """Attempt it now, in the place of its next automatic attempt; if it fails, the schedule goes on."""

    async def work() -> DetailedDelivery:
        report = await retry_delivery(context, auth.actor, delivery_id, organization_id=auth.organization_id)
        return DetailedDelivery.of_report(report)

    return await write.once(auth, work, status=202)


@router.post(
    "/webhooks/{webhook_id}/recover",
    operation_id="recoverWebhook",
    status_code=202,
    openapi_extra=body_of(Recovery),
    response_model=RecoveryOrCount,
    responses={
        200: {"model": RecoveryOrCount, "description": "Dry run: nothing is sent"},
        **error_responses(400, 404, 409, 413, 415, 429),
    },
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

    async def work() -> ReplayView | DryRun:
        if body.dry_run:
            count, endpoints = await count_replay(context, chosen)
            return DryRun(count=count, endpoints=endpoints)
        return ReplayView.of(await start_replay(context, auth.actor, chosen))

    return await write.once(auth, work, status=200 if body.dry_run else 202)
