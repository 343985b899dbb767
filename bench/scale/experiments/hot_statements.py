"""The product's statements for every delivery, and those that run in the background all the time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from bench.fixtures import EVENT_TYPE
from bench.processes.requests import some_data
from bench.scale.asking import QueryStep, Routine
from bench.scale.rows import SeedEndpoint
from sendoff.context import Context
from sendoff.ids import new_event_id, new_id
from sendoff.policy.delivery.admission import UNLIMITED
from sendoff.policy.delivery.decision import HealthEffect
from sendoff.policy.states import DeliveryState
from sendoff.recovery.sweep import sweep
from sendoff.store.hot.rows import AttemptRecord, ClaimedRow
from sendoff.store.queries.installation import retention
from sendoff.store.queries.traffic import deliveries
from sendoff.store.queries.traffic.deliveries import NewDelivery
from sendoff.store.queries.traffic.events import NewEventRow

_BATCH = 100
_PAYLOAD = 1024
_LEASE = timedelta(seconds=20)


def hot_path(context: Context, endpoints: Sequence[SeedEndpoint], *, batch: int = _BATCH) -> Routine:
    """A batch of deliveries on their way through the database, for as many endpoints as there are."""

    async def accept(_: Any) -> list[str]:
        now = context.clock.now()
        chosen = [endpoints[number % len(endpoints)] for number in range(batch)]
        rows = [_event(endpoint) for endpoint in chosen]
        made = [
            NewDelivery(new_id(), event.id, endpoint.id, endpoint.organization_id, now, DeliveryState.PENDING)
            for event, endpoint in zip(rows, chosen, strict=True)
        ]
        await context.hot.accept(rows, made, now=now)
        return [delivery.id for delivery in made]

    def _event(endpoint: SeedEndpoint) -> NewEventRow:
        now = context.clock.now()
        return NewEventRow(
            id=new_event_id(),
            organization_id=endpoint.organization_id,
            type=EVENT_TYPE,
            data=some_data(_PAYLOAD),
            occurred_at=now,
            created_at=now,
            request_id=None,
            delivery_count=1,
        )

    async def claim(ids: list[str]) -> tuple[str, list[ClaimedRow]]:
        lease_token, now = new_id(), context.clock.now()
        claimed = await context.hot.claim_due(
            ids, quotas=UNLIMITED, lease_token=lease_token, now=now, until=now + _LEASE
        )
        return lease_token, claimed.rows

    async def record(claimed: tuple[str, list[ClaimedRow]]) -> None:
        lease_token, taken = claimed
        now = context.clock.now()
        done = [_success(one.delivery.id, lease_token, now) for one in taken]
        if len((await context.hot.record(done, now=now, failing_at=10)).claims) != batch:
            raise RuntimeError("not everything that was claimed could be recorded")

    return (
        QueryStep(f"accept {batch} events", accept),
        QueryStep(f"claim {batch} deliveries", claim),
        QueryStep(f"record {batch} deliveries", record),
    )


def _success(delivery_id: str, lease_token: str, now: datetime) -> AttemptRecord:
    return AttemptRecord(
        delivery_id=delivery_id,
        lease_token=lease_token,
        state=DeliveryState.DELIVERED,
        due_at=None,
        counted=True,
        number=1,
        started_at=now,
        ended_at=now,
        duration_ms=5,
        outcome="ok",
        response_status=200,
        error=None,
        blocked_since=None,
        health=HealthEffect.SUCCESS,
    )


def background(context: Context) -> list[Routine]:
    """What every worker asks every second, and what one of them asks every minute, while nothing is to be done."""

    async def backlog_available(_: Any) -> None:
        async with context.database.read() as tx:
            await deliveries.find_endpoints_with_held(tx)

    async def retain(_: Any) -> None:
        long_ago = context.clock.now() - timedelta(days=3650)
        async with context.database.write() as tx:
            for remove in (retention.remove_delivered, retention.remove_dead_letters, retention.remove_events):
                await remove(tx, until=long_ago, limit=500)

    async def mend(_: Any) -> None:
        now = context.clock.now()
        async with context.database.write() as tx:
            await deliveries.repair_future_times(tx, now=now, until=now + _LEASE, limit=500)

    steps = (
        QueryStep("sweep, nothing due", lambda _: sweep(context)),
        QueryStep("look for held deliveries", backlog_available),
        QueryStep("look for times that are too late", mend),
        QueryStep("retention, nothing to remove", retain),
    )
    return [[step] for step in steps]
