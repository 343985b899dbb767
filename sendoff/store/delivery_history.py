"""Deliveries and their attempts as people look at them: one, or a page, with what happened to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlmodel import col, select

from sendoff.policy.states import DeliveryState
from sendoff.store.batch import ids_parameter, rows_from
from sendoff.store.database import Transaction
from sendoff.store.paging import newest_first
from sendoff.store.tables import Attempt, Delivery, Event, LastExchange


async def find(tx: Transaction, delivery_id: str) -> Delivery | None:
    return await tx.get(Delivery, delivery_id)


async def find_many(tx: Transaction, ids: Sequence[str]) -> list[Delivery]:
    query = select(Delivery).where(
        text(f"id IN (SELECT r.id FROM {rows_from(tx, 'ids', {'id': 'uuid'})} AS r)").bindparams(ids=ids_parameter(ids))
    )
    return list((await tx.scalars(query)).all())


async def of_event(tx: Transaction, event_id: str) -> list[Delivery]:
    """The deliveries of an event, in the order they were made."""
    query = select(Delivery).where(col(Delivery.event_id) == event_id).order_by(col(Delivery.id))
    return list((await tx.scalars(query)).all())


async def attempts_of(tx: Transaction, delivery_id: str) -> list[Attempt]:
    """Every attempt of a delivery, first to last."""
    query = select(Attempt).where(col(Attempt.delivery_id) == delivery_id).order_by(col(Attempt.number))
    return list((await tx.scalars(query)).all())


async def last_exchange_of(tx: Transaction, delivery_id: str) -> LastExchange | None:
    """What went over the wire at the delivery's last failed attempt."""
    return await tx.get(LastExchange, delivery_id)


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries a list shows; None is any."""

    organization_id: str | None = None
    endpoint_id: str | None = None
    event_id: str | None = None
    event_type: str | None = None
    states: tuple[DeliveryState, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None


async def page(
    tx: Transaction, chosen: DeliveryFilter, *, limit: int, before: str | None = None
) -> list[tuple[Delivery, str, str | None]]:
    """Deliveries with their event's type and request id, newest first, at most `limit`, older than the id `before`."""
    query = select(Delivery, Event.type, Event.request_id).join(Event, col(Event.id) == col(Delivery.event_id))
    if chosen.organization_id is not None:
        query = query.where(col(Delivery.organization_id) == chosen.organization_id)
    if chosen.endpoint_id is not None:
        query = query.where(col(Delivery.endpoint_id) == chosen.endpoint_id)
    if chosen.event_id is not None:
        query = query.where(col(Delivery.event_id) == chosen.event_id)
    if chosen.event_type is not None:
        query = query.where(col(Event.type) == chosen.event_type)
    if chosen.states is not None:
        query = query.where(col(Delivery.state).in_(chosen.states))
    if chosen.since is not None:
        query = query.where(col(Delivery.created_at) >= chosen.since)
    if chosen.until is not None:
        query = query.where(col(Delivery.created_at) < chosen.until)
    query = newest_first(query, col(Delivery.id), limit=limit, before=before)
    return [tuple(row) for row in (await tx.execute(query)).all()]
