"""`/operator/v1/overview` and `/operator/v1/workers`: is all well, and who works."""

from __future__ import annotations

from typing import Self

from fastapi import APIRouter
from pydantic import BaseModel, Field

from sendoff.operators.overview import Overview, get_overview
from sendoff.operators.workers import list_workers
from sendoff.policy.states import DeadLetterReason, DeliveryState, EndpointState
from sendoff.store.queries.overview import COUNTED_AT_MOST

from ..http.dependencies import ContextOf, OperatorReader
from ..http.schemas import Id, Page, ResponseModel, Time
from ..openapi.operations import error_responses

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


class OverviewView(BaseModel):
    """The installation at one moment, all organizations together."""

    at: Time
    deliveries: OpenDeliveries
    dead_letters: OpenDeadLetters
    endpoints: dict[EndpointState, int] = Field(description="Endpoints by state.")
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
            workers=[WorkerView.model_validate(worker) for worker in overview.workers],
        )


@router.get("/overview", operation_id="getOverview", responses=error_responses())
async def overview(_auth: OperatorReader, context: ContextOf) -> OverviewView:
    """What waits, what is due and since when, open dead letters, endpoints, and the workers that are alive."""
    return OverviewView.of(await get_overview(context))


@router.get("/workers", operation_id="listWorkers", responses=error_responses())
async def workers(_auth: OperatorReader, context: ContextOf) -> Page[WorkerView]:
    """The workers that are alive. One that was killed vanishes after some seconds, one that was stopped at once."""
    found = await list_workers(context)
    return Page(data=[WorkerView.model_validate(worker) for worker in found], next_cursor=None)
