"""Deliveries and their attempts as people look at them: one, or a page, with what happened to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select as core_select
from sqlalchemy import text, true
from sqlmodel import col, select

from sendoff.ids import lowest_id
from sendoff.policy.states import DeliveryState
from sendoff.store.batch import ids_parameter, is_sqlite, rows_from
from sendoff.store.database import Transaction
from sendoff.store.paging import newest_first
from sendoff.store.tables import Attempt, Delivery, Endpoint, Event, LastExchange

_ASTRAY = timedelta(days=1)
"""Ids tell the time of creation, too, and have an index; by so much they may differ from what the row says."""


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
    """Deliveries with their event's type and request id, newest first, at most `limit`, older than the id `before`.

    Costs what the page holds, however much history there is; but for an `event_type` that is rare, which is looked for
    in all that the other conditions leave.
    """
    query = select(Delivery, Event.type, Event.request_id).join(Event, col(Event.id) == col(Delivery.event_id))
    if _is_of_a_whole_organization(chosen) and not is_sqlite(tx):
        query = query.where(col(Delivery.id).in_(_newest_of_each_endpoint(chosen, limit=limit, before=before)))
    else:
        query = query.where(*_conditions(chosen))
    query = newest_first(query, col(Delivery.id), limit=limit, before=before)
    return [tuple(row) for row in (await tx.execute(query)).all()]


def _is_of_a_whole_organization(chosen: DeliveryFilter) -> bool:
    return chosen.organization_id is not None and chosen.endpoint_id is None and chosen.event_id is None


def _newest_of_each_endpoint(chosen: DeliveryFilter, *, limit: int, before: str | None) -> Any:
    """The ids of what may be on an organization's page: there is an index by endpoint, and none by organization.

    One more index would cost every delivery something. SQLite knows no LATERAL, and has no history of that size.
    """
    query = core_select(col(Delivery.id)).where(
        col(Delivery.endpoint_id) == col(Endpoint.id), *_conditions(replace(chosen, organization_id=None))
    )
    if chosen.event_type is not None:
        query = query.join(Event, col(Event.id) == col(Delivery.event_id))
    of_one = newest_first(query, col(Delivery.id), limit=limit, before=before).correlate(Endpoint).lateral()
    return (
        core_select(of_one.c.id)
        .select_from(Endpoint)
        .join(of_one, true())
        .where(col(Endpoint.organization_id) == chosen.organization_id)
    )


def _conditions(chosen: DeliveryFilter) -> list[Any]:
    """The filter as conditions on the tables."""
    exact = {
        Delivery.organization_id: chosen.organization_id,
        Delivery.endpoint_id: chosen.endpoint_id,
        Delivery.event_id: chosen.event_id,
        Event.type: chosen.event_type,
    }
    found: list[Any] = [col(column) == value for column, value in exact.items() if value is not None]
    if chosen.states is not None:
        found.append(_in_states(chosen.states))
    if chosen.since is not None:
        found += [col(Delivery.created_at) >= chosen.since, col(Delivery.id) >= lowest_id(chosen.since - _ASTRAY)]
    if chosen.until is not None:
        found += [col(Delivery.created_at) < chosen.until, col(Delivery.id) < lowest_id(chosen.until + _ASTRAY)]
    return found


def _in_states(states: Sequence[DeliveryState]) -> Any:
    """Written out: neither database looks for a parameter in its partial indexes."""
    names = [f"'{DeliveryState(state)}'" for state in states]
    return text(f"deliveries.state = {names[0]}" if len(names) == 1 else f"deliveries.state IN ({', '.join(names)})")
