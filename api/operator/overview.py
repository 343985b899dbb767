"""`/operator/v1/overview` and `/operator/v1/workers`: is all well, and who works."""

from __future__ import annotations

from typing import Self

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from sendoff.operators.installation.overview import COUNTED_AT_MOST, Overview, get_overview
from sendoff.operators.installation.statistics import EndpointSums
from sendoff.operators.installation.workers import drain_worker, list_workers
from sendoff.policy.states import DeadLetterReason, DeliveryState, EndpointState

from ..http.dependencies import ContextOf, Operator, OperatorReader
from ..http.idempotency import Write
from ..http.schemas import Id, Page, ResponseModel, Time
from ..openapi.operations import error_responses
from .statistics import SumsView

router = APIRouter(prefix="/operator/v1", tags=["operator: overview"])


class WorkerView(ResponseModel):
    """A worker process that is alive. `slots` is how many requests it makes at a time, slow ones not counted."""

    id: Id
    host: str
    pid: int
    version: str
    started_at: Time
    last_seen_at: Time
    in_flight: int
    slots: int
    drain_requested_at: Time | None = Field(
        description="When an operator asked it to finish and stop; it disappears when it has."
    )


class OpenDeliveries(BaseModel):
    """Deliveries that have not ended. `waiting` leaves out those in flight; `due` counts pending ones to send now."""

    waiting: int
    by_state: dict[DeliveryState, int]
    due: int
    oldest_due_at: Time | None
    oldest_due_seconds: float


class OpenDeadLetters(BaseModel):
    """Dead letters that are neither replayed nor discarded. A reason without any is missing."""

    open: int
    by_reason: dict[DeadLetterReason, int]


class RankedEndpoint(SumsView):
    """An endpoint with what happened at it in the last hour."""

    endpoint_id: Id
    organization_id: Id
    url: str
    state: EndpointState

    @classmethod
    def of(cls, ranked: EndpointSums) -> Self:
        sums = SumsView.model_validate(ranked.sums, from_attributes=True)
        return cls(
            endpoint_id=ranked.endpoint_id,
            organization_id=ranked.organization_id,
            url=ranked.url,
            state=EndpointState(ranked.state),
            **sums.model_dump(),
        )


class OverviewView(ResponseModel):
    """The installation at one moment, all organizations together."""

    at: Time
    deliveries: OpenDeliveries
    dead_letters: OpenDeadLetters
    endpoints: dict[EndpointState, int] = Field(description="Endpoints by state.")
    most_failing: list[RankedEndpoint] = Field(description="Those with the most failed attempts in the last hour.")
    slowest: list[RankedEndpoint] = Field(description="Those whose attempts took longest on average in the last hour.")
    busiest: list[RankedEndpoint] = Field(description="Those with the most attempts in the last hour.")
    workers: list[WorkerView]
    counted_at_most: int = Field(
        COUNTED_AT_MOST, description="No single count goes beyond this: a count that equals it means this many or more."
    )

    @classmethod
    def of(cls, overview: Overview) -> Self:
        counts = overview.open
        return cls(
            at=overview.at,
            deliveries=OpenDeliveries(
                waiting=sum(counts.deliveries.values()) - counts.deliveries[DeliveryState.IN_FLIGHT],
                by_state=dict(counts.deliveries),
                due=counts.due,
                oldest_due_at=counts.oldest_due_at,
                oldest_due_seconds=overview.oldest_due_seconds,
            ),
            dead_letters=OpenDeadLetters(open=sum(counts.dead_letters.values()), by_reason=dict(counts.dead_letters)),
            endpoints=dict(counts.endpoints),
            most_failing=[RankedEndpoint.of(one) for one in overview.most_failing],
            slowest=[RankedEndpoint.of(one) for one in overview.slowest],
            busiest=[RankedEndpoint.of(one) for one in overview.busiest],
            workers=[WorkerView.model_validate(worker) for worker in overview.workers],
        )


@router.get("/overview", operation_id="getOverview", responses=error_responses())
async def overview(_auth: OperatorReader, context: ContextOf) -> OverviewView:
    """What waits, what is due and since when, open dead letters, endpoints and the worst of them, workers alive."""
    return OverviewView.of(await get_overview(context))


@router.get("/workers", operation_id="listWorkers", responses=error_responses())
async def workers(_auth: OperatorReader, context: ContextOf) -> Page[WorkerView]:
    """The workers that are alive. One that was killed vanishes after some seconds, one that was stopped at once."""
    found = await list_workers(context)
    return Page(data=[WorkerView.model_validate(worker) for worker in found], next_cursor=None)


@router.post(
    "/workers/{worker_id}/drain",
    operation_id="drainWorker",
    response_model=WorkerView,
    responses=error_responses(400, 404, 409),
)
async def drain(auth: Operator, write: Write, context: ContextOf, worker_id: Id) -> Response:
    """Let a worker take nothing new, finish what it has, and stop. What started it may start another in its place."""

    async def work() -> WorkerView:
        return WorkerView.model_validate(await drain_worker(context, auth.actor, worker_id))

    return await write.once(auth, work)
