"""`/operator/v1/events`: why an event was sent to an endpoint, or not."""

from __future__ import annotations

from fastapi import APIRouter

from sendoff.operators.explain import EventExplanation, Verdict, explain_event
from sendoff.publishing.history import ListedDelivery

from ..http.dependencies import ContextOf, OperatorReader
from ..http.schemas import Id, ResponseModel, Time
from ..openapi.operations import error_responses
from .schemas import DeliveryView

router = APIRouter(prefix="/operator/v1/events", tags=["operator: events"])


class EventView(ResponseModel):
    """An accepted event, without its data."""

    id: str
    type: str
    organization_id: Id
    occurred_at: Time
    created_at: Time
    request_id: str | None


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


@router.get("/{event_id}/explain", operation_id="explainEvent", responses=error_responses(404))
async def explain(_auth: OperatorReader, context: ContextOf, event_id: str) -> ExplainedEvent:
    """A verdict for every endpoint of the organization, deleted ones included: delivered, waiting, or why not."""
    return ExplainedEvent.of(await explain_event(context, event_id))
