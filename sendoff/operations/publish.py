"""Accept: an event and one delivery per matching endpoint, in one transaction, then the bell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sendoff.ids import new_event_id, new_id
from sendoff.operations.event_types import check_publishable
from sendoff.operations.idempotency import IdempotentRequest, StoredResponse, complete, reserve
from sendoff.operations.runtime import Runtime
from sendoff.policy.matching import matches
from sendoff.store import deliveries, endpoints, events
from sendoff.store.database import Transaction
from sendoff.store.tables import Delivery, Event


@dataclass(frozen=True, slots=True)
class NewEvent:
    """What happened. `data` is JSON text, kept byte for byte; without `occurred_at` it happened now."""

    type: str
    data: bytes
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AcceptedEvent:
    """An event that is committed, with the ids of its deliveries."""

    id: str
    type: str
    delivery_ids: list[str]


async def publish(
    runtime: Runtime,
    organization_id: str,
    new_events: Sequence[NewEvent],
    *,
    answer: Callable[[list[AcceptedEvent]], StoredResponse],
    request_id: str | None = None,
    idempotent: IdempotentRequest | None = None,
    in_batch: bool = False,
) -> StoredResponse:
    """Commit the events with their deliveries, all or none, and return what `answer` makes of them.

    With `idempotent`, a repetition returns the first answer instead, decided in the same transaction.
    Raises UnknownEventType or Invalid; `in_batch` lets the errors name the index of the event.
    """
    async with runtime.database.write() as tx:
        stored = await reserve(tx, idempotent, now=runtime.clock.now()) if idempotent else None
        if stored is not None:
            return stored
        for index, event in enumerate(new_events):
            field = f"events[{index}].type" if in_batch else "type"
            await check_publishable(tx, event.type, event.data, field=field)
        accepted = await add_events(tx, runtime, organization_id, new_events, request_id=request_id)
        response = answer(accepted)
        if idempotent is not None:
            await complete(tx, idempotent, response)
    ring_for(runtime, accepted)
    return response


async def add_events(
    tx: Transaction,
    runtime: Runtime,
    organization_id: str,
    new_events: Sequence[NewEvent],
    *,
    request_id: str | None = None,
) -> list[AcceptedEvent]:
    """Write events and their deliveries within a larger transaction; ring with `ring_for` after its commit."""
    now = runtime.clock.now()
    subscribers = await endpoints.subscribers(tx, organization_id)
    event_rows: list[Event] = []
    delivery_rows: list[Delivery] = []
    accepted: list[AcceptedEvent] = []
    for new_event in new_events:
        event = _event_row(new_event, organization_id, now, request_id)
        rows = [
            _delivery_row(event, subscriber.id, now)
            for subscriber in subscribers
            if matches(subscriber.events, event.type)
        ]
        event_rows.append(event)
        delivery_rows.extend(rows)
        accepted.append(AcceptedEvent(event.id, event.type, [row.id for row in rows]))
    await events.insert_many(tx, event_rows)
    if delivery_rows:
        await deliveries.insert_many(tx, delivery_rows)
    return accepted


def ring_for(runtime: Runtime, accepted: Sequence[AcceptedEvent]) -> None:
    """Tell the workers, after the commit."""
    runtime.bell.ring_deliveries(identifier for event in accepted for identifier in event.delivery_ids)


def _event_row(new_event: NewEvent, organization_id: str, now: datetime, request_id: str | None) -> Event:
    return Event(
        id=new_event_id(),
        organization_id=organization_id,
        type=new_event.type,
        data=new_event.data.decode(),
        occurred_at=new_event.occurred_at or now,
        created_at=now,
        request_id=request_id,
    )


def _delivery_row(event: Event, endpoint_id: str, now: datetime) -> Delivery:
    return Delivery(
        id=new_id(),
        event_id=event.id,
        endpoint_id=endpoint_id,
        organization_id=event.organization_id,
        created_at=now,
    )
