"""The dead-letter store: deliveries that were given up, as they stood then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, text, update
from sqlalchemy import select as core_select
from sqlmodel import col, select

from sendoff.policy.states import DeadLetterState
from sendoff.store.batch import ids_parameter, rows_from
from sendoff.store.database import Transaction
from sendoff.store.paging import newest_first
from sendoff.store.tables import DeadLetter, Delivery


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters are meant; None is any. `since` is inclusive, `until` exclusive, both of `died_at`."""

    organization_id: str | None = None
    endpoint_id: str | None = None
    event_type: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    state: str | None = None


async def insert_many(tx: Transaction, letters: Sequence[DeadLetter]) -> None:
    """Insert new dead letters."""
    await tx.execute(insert(DeadLetter), [letter.model_dump() for letter in letters])


async def find(tx: Transaction, dead_letter_id: str, *, lock: bool = False) -> DeadLetter | None:
    return await tx.get(DeadLetter, dead_letter_id, with_for_update=lock or None)


async def page(tx: Transaction, chosen: DeadLetterFilter, *, limit: int, before: str | None = None) -> list[DeadLetter]:
    """Dead letters, newest first, at most `limit`, older than the id `before`."""
    query = select(DeadLetter).where(*conditions(chosen))
    return list((await tx.scalars(newest_first(query, col(DeadLetter.id), limit=limit, before=before))).all())


async def count(tx: Transaction, chosen: DeadLetterFilter) -> tuple[int, int]:
    """How many deliveries, of how many endpoints, the filter means."""
    query = core_select(
        func.count(func.distinct(DeadLetter.delivery_id)), func.count(func.distinct(DeadLetter.endpoint_id))
    ).where(*conditions(chosen))
    deliveries, endpoints = (await tx.execute(query)).one()
    return deliveries, endpoints


async def mark_replayed(tx: Transaction, delivery_ids: Sequence[str], *, now: datetime) -> None:
    """Take the open dead letters of these deliveries off the list: they are being sent again."""
    chosen = text(f"delivery_id IN (SELECT r.id FROM {rows_from(tx, 'ids', {'id': 'uuid'})} AS r)")
    await tx.execute(
        update(DeadLetter)
        .where(chosen.bindparams(ids=ids_parameter(delivery_ids)), col(DeadLetter.state) == DeadLetterState.OPEN)
        .values(state=DeadLetterState.REPLAYED, replayed_at=now)
        .execution_options(synchronize_session=False)
    )


def conditions(chosen: DeadLetterFilter) -> list[Any]:
    """The filter as conditions on the table."""
    exact = {
        DeadLetter.organization_id: chosen.organization_id,
        DeadLetter.endpoint_id: chosen.endpoint_id,
        DeadLetter.event_type: chosen.event_type,
        DeadLetter.reason: chosen.reason,
        DeadLetter.state: chosen.state,
    }
    found: list[Any] = [col(column) == value for column, value in exact.items() if value is not None]
    if chosen.since is not None:
        found.append(col(DeadLetter.died_at) >= chosen.since)
    if chosen.until is not None:
        found.append(col(DeadLetter.died_at) < chosen.until)
    return found


def letter_for(
    delivery: Delivery, *, identifier: str, event_type: str, endpoint_url: str, reason: str, now: datetime
) -> DeadLetter:
    """The dead letter of a delivery as it stands."""
    return DeadLetter(
        id=identifier,
        delivery_id=delivery.id,
        event_id=delivery.event_id,
        event_type=event_type,
        endpoint_id=delivery.endpoint_id,
        endpoint_url=endpoint_url,
        organization_id=delivery.organization_id,
        reason=reason,
        last_response_status=delivery.last_response_status,
        last_error=delivery.last_error,
        attempt_count=delivery.attempt_count,
        died_at=now,
    )
