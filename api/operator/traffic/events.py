"""`/operator/v1/events`: events of all organizations, and why one was sent to an endpoint, or not."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import Field

from sendoff.clock import iso
from sendoff.ids import is_event_id
from sendoff.operators.events import EventReport, ListedEvents, get_event_report, list_events
from sendoff.operators.explain import EventExplanation, Verdict, explain_event
from sendoff.publishing.history import ListedDelivery
from sendoff.store.queries.traffic.event_lists import EventFilter

from ...events.schemas import EventDelivery
from ...http.dependencies import ContextOf, OperatorReader
from ...http.pagination import decode_cursor, encode_cursor, split_page
from ...http.schemas import Id, Page, QueryTime, ResponseModel, Time
from ...http.validation import Text, UuidText
from ...openapi.operations import error_responses
from ..schemas import DeliveryView, ListQuery

router = APIRouter(prefix="/operator/v1/events", tags=["operator: events"])


class EventQuery(ListQuery):
    """Which events; what is left out is any. `since` (inclusive) and `until` (exclusive) are of `created_at`."""

    organization_id: UuidText | None = None
    event_type: Text | None = None
    request_id: Text | None = Field(None, description="Only events that this request published.")
    idempotency_key: Text | None = Field(
        None, description="Only events that were published with this Idempotency-Key in the last 24 hours."
    )
    tag: Text | None = Field(None, description="Only events with this tag.")
    q: Annotated[Text, Field(min_length=1, max_length=1_000)] | None = Field(
        None, description="Only events whose `data` contains this text as it was sent; needs `organization_id`."
    )
    since: QueryTime | None = None
    until: QueryTime | None = None

    def filter(self) -> EventFilter:
        return EventFilter(**self.model_dump(exclude={"limit", "cursor", "idempotency_key"}))


class EventView(ResponseModel):
    """An accepted event, without its data."""

    id: str
    type: str
    organization_id: Id
    occurred_at: Time
    created_at: Time
    request_id: str | None


class ListedEvent(EventView):
    """An event in a list."""

    tags: list[str] = Field(description="What it was published with to be found by.")
    deliveries: int = Field(description="How many deliveries it has, without those past their retention.")


class EventPageView(Page[ListedEvent]):
    """One page of events. A search that ends before the page is full goes on with `next_cursor`."""

    scanned: int | None = Field(description="How many events were read, if the search ended because of their number.")
    scanned_back_to: Time | None = Field(description="When the last one that was read was accepted.")

    @classmethod
    def of(cls, listed: ListedEvents, limit: int) -> Self:
        page, cursor = split_page(listed.events, limit, lambda event: event.id)
        return cls(
            data=[
                ListedEvent(
                    **event.model_dump(include=set(EventView.model_fields)),
                    tags=list(listed.tags.get(event.id, [])),
                    deliveries=event.delivery_count,
                )
                for event in page
            ],
            next_cursor=encode_cursor(listed.last_id) if listed.last_id else cursor,
            scanned=listed.scanned,
            scanned_back_to=listed.scanned_back_to,
        )


class OperatorsEventDelivery(EventDelivery):
    """An event's delivery to one endpoint."""

    endpoint_url: str | None


class DetailedEvent(EventView):
    """An event with its data and the state of each of its deliveries."""

    tags: list[str]
    data: dict[str, Any]
    deliveries: list[OperatorsEventDelivery]


class VerdictView(ResponseModel):
    """What became of the event for one endpoint. `delivery` is null if none was made, or none is kept."""

    endpoint_id: Id
    url: str
    verdict: Verdict
    delivery: DeliveryView | None
    because: str


class ExplainedEvent(ResponseModel):
    """An event with the verdict for every endpoint of its organization."""

    event: EventView
    endpoints: list[VerdictView]

    @classmethod
    def of(cls, explained: EventExplanation) -> ExplainedEvent:
        event = explained.event
        return cls(
            event=EventView.model_validate(event),
            endpoints=[
                VerdictView(
                    endpoint_id=one.endpoint_id,
                    url=one.url,
                    verdict=one.verdict,
                    delivery=one.delivery
                    and DeliveryView.of(
                        ListedDelivery(one.delivery, event.type, event.request_id, one.waits_for, one.url)
                    ),
                    because=one.because,
                )
                for one in explained.endpoints
            ],
        )


@router.get("", operation_id="searchEvents", responses=error_responses(400))
async def list_page(_auth: OperatorReader, context: ContextOf, query: Annotated[EventQuery, Query()]) -> EventPageView:
    """Events, newest first. What has no index is looked for among 50,000 events at a time, from the newest on."""
    listed = await list_events(
        context,
        query.filter(),
        limit=query.limit + 1,
        before=decode_cursor(query.cursor, is_id=is_event_id),
        idempotency_key=query.idempotency_key,
    )
    return EventPageView.of(listed, query.limit)


@router.get("/{event_id}", operation_id="getAnyEvent", response_model=DetailedEvent, responses=error_responses(404))
async def get(_auth: OperatorReader, context: ContextOf, event_id: str) -> Response:
    """An event of any organization with its data, and the state of each of its deliveries."""
    return Response(orjson.dumps(_serialize(await get_event_report(context, event_id))), media_type="application/json")


@router.get("/{event_id}/explain", operation_id="explainEvent", responses=error_responses(404))
async def explain(_auth: OperatorReader, context: ContextOf, event_id: str) -> ExplainedEvent:
    """A verdict for every endpoint of the organization, deleted ones included: delivered, waiting, or why not."""
    return ExplainedEvent.of(await explain_event(context, event_id))


def _serialize(report: EventReport) -> dict[str, Any]:
    """By hand, for `data` is shown as the bytes that were sent."""
    event = report.event
    return {
        **{name: _plain(getattr(event, name)) for name in EventView.model_fields},
        "tags": list(report.tags),
        "data": orjson.Fragment(event.data),
        "deliveries": [
            {
                **{name: _plain(getattr(delivery, name)) for name in EventDelivery.model_fields},
                "endpoint_url": report.urls.get(delivery.endpoint_id),
            }
            for delivery in report.deliveries
        ],
    }


def _plain(value: object) -> object:
    return iso(value) if isinstance(value, datetime) else value
