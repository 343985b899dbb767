"""An organization's rows, taken from one database and written to another.

A delivery that is handed over is `in_flight` in both databases under the token of the move, so neither sends it, until
it arrives in one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert
from sqlmodel import SQLModel, col, func, or_, select

from sendoff.policy.states import ARRIVE, HAND_OVER, OPEN_DELIVERY_STATES, DeliveryState, ReplayState, UploadStatus
from sendoff.store.engine.batch import execute, ids_parameter, insert_or_ignore, rows_from
from sendoff.store.engine.database import Transaction
from sendoff.store.engine.transitions import found_by, made_by
from sendoff.store.tables import (
    STATISTICS,
    ApiKey,
    Attempt,
    AuditEntry,
    DeadLetter,
    Delivery,
    Endpoint,
    Event,
    EventTag,
    IdempotencyRecord,
    LastExchange,
    Membership,
    Replay,
    Upload,
    User,
)

ROWS_AT_ONCE = 500
"""Rows that are read or removed at a time; more take memory, fewer take statements."""

_ID = {"id": "uuid"}
_ORGANIZATION = "endpoint_id IN (SELECT e.id FROM endpoints e WHERE e.organization_id = :organization_id)"


SmallRow = Membership | ApiKey | IdempotencyRecord | AuditEntry

SMALL_TABLES: Sequence[type[SQLModel]] = (Membership, ApiKey, IdempotencyRecord, AuditEntry)
"""What is copied whole besides endpoints and users."""

BELONGINGS: Sequence[type[SQLModel]] = (Attempt, LastExchange, DeadLetter)
"""What belongs to a delivery, by its `delivery_id`."""


async def endpoints_of(tx: Transaction, organization_id: str) -> Sequence[Endpoint]:
    """All endpoints of the organization, deleted ones as well."""
    query = select(Endpoint).where(col(Endpoint.organization_id) == organization_id).order_by(col(Endpoint.id))
    return (await tx.scalars(query)).all()


async def users_of(tx: Transaction, organization_id: str) -> Sequence[User]:
    of_keys = select(ApiKey.user_id).where(col(ApiKey.organization_id) == organization_id)
    members = select(Membership.user_id).where(col(Membership.organization_id) == organization_id)
    of_endpoints = select(Endpoint.user_id).where(col(Endpoint.organization_id) == organization_id)
    wanted = or_(col(User.id).in_(members), col(User.id).in_(of_keys), col(User.id).in_(of_endpoints))
    return (await tx.scalars(select(User).where(wanted))).all()


async def all_of(tx: Transaction, model: type[SQLModel], organization_id: str) -> Sequence[Any]:
    """All rows of a small table that are the organization's."""
    query = select(model).where(col(model.organization_id) == organization_id)  # type: ignore[attr-defined]
    return (await tx.scalars(query)).all()


async def every(tx: Transaction, model: type[SQLModel]) -> Sequence[Any]:
    return (await tx.scalars(select(model))).all()


async def is_replaying(tx: Transaction) -> bool:
    """Whether any replay runs: its items may be the organization's."""
    return (
        await tx.scalars(select(Replay.id).where(col(Replay.state) == ReplayState.RUNNING).limit(1))
    ).first() is not None


async def has_unfinished_uploads(tx: Transaction, organization_id: str) -> bool:
    unfinished = (UploadStatus.READY_FOR_PROCESSING, UploadStatus.PROCESSING)
    query = select(Upload.id).where(col(Upload.organization_id) == organization_id, col(Upload.status).in_(unfinished))
    return (await tx.scalars(query.limit(1))).first() is not None


async def waiting_deliveries(tx: Transaction, endpoint_ids: Sequence[str], *, limit: int) -> Sequence[Delivery]:
    """Open deliveries to the endpoints that nobody works on, locked."""
    query = (
        select(Delivery)
        .where(col(Delivery.endpoint_id).in_(endpoint_ids), col(Delivery.state).in_(HAND_OVER.sources))
        .order_by(col(Delivery.endpoint_id), col(Delivery.id))
        .limit(limit)
        .with_for_update()
    )
    return (await tx.scalars(query)).all()


async def hand_over(tx: Transaction, ids: Sequence[str], *, lease_token: str, until: datetime) -> None:
    """Take the deliveries, so that no worker claims them before `until`."""
    await execute(
        tx,
        f"""
        UPDATE deliveries SET state = {made_by(HAND_OVER)}, lease_token = :lease_token, leased_until = :until
        WHERE id IN (SELECT r.id FROM {rows_from(tx, "ids", _ID)} AS r) AND {found_by(HAND_OVER)}
        """,
        ids=ids_parameter(ids),
        lease_token=lease_token,
        until=until,
    )


async def count_under_way(tx: Transaction, endpoint_ids: Sequence[str], *, besides: str) -> int:
    """How many open deliveries to the endpoints are not handed over under the token `besides`."""
    query = select(func.count()).where(
        col(Delivery.endpoint_id).in_(endpoint_ids),
        col(Delivery.state).in_(OPEN_DELIVERY_STATES),
        or_(col(Delivery.lease_token).is_(None), col(Delivery.lease_token) != besides),
    )
    return int((await tx.scalars(query)).one())


async def arrive(tx: Transaction, organization_id: str, *, lease_token: str, now: datetime) -> int:
    """Let the deliveries that were handed over be sent from this database; their number."""
    queued = DeliveryState.QUEUED
    for condition, target in (("sequence IS NOT NULL", queued), ("sequence IS NULL", DeliveryState.PENDING)):
        await execute(
            tx,
            f"""
            UPDATE deliveries SET state = {made_by(ARRIVE, target)}, lease_token = NULL, leased_until = NULL,
                due_at = COALESCE(due_at, :now)
            WHERE {_ORGANIZATION} AND {found_by(ARRIVE)} AND lease_token = :lease_token AND {condition}
            """,
            organization_id=organization_id,
            lease_token=lease_token,
            now=now,
        )
    query = select(func.count()).where(
        _to_endpoints_of(organization_id),
        col(Delivery.state).in_(OPEN_DELIVERY_STATES),
    )
    return int((await tx.scalars(query)).one())


async def count_deliveries_again(tx: Transaction, event_ids: Iterable[str]) -> None:
    """Write into the events how many deliveries of them are in this database."""
    await execute(
        tx,
        f"""
        UPDATE events SET delivery_count = (SELECT count(*) FROM deliveries d WHERE d.event_id = events.id)
        WHERE id IN (SELECT r.id FROM {rows_from(tx, "ids", {"id": "text"})} AS r)
        """,
        ids=ids_parameter(event_ids),
    )


async def events_after(tx: Transaction, organization_id: str, after: str, *, limit: int) -> Sequence[Event]:
    """The organization's events behind the id `after`, in the order of their ids."""
    query = (
        select(Event)
        .where(col(Event.organization_id) == organization_id, col(Event.id) > after)
        .order_by(col(Event.id))
        .limit(limit)
    )
    return (await tx.scalars(query)).all()


async def events_by_id(tx: Transaction, ids: Iterable[str]) -> Sequence[Event]:
    return (await tx.scalars(select(Event).where(col(Event.id).in_(sorted(set(ids)))))).all()


async def finished_deliveries_of(tx: Transaction, event_ids: Iterable[str]) -> Sequence[Delivery]:
    """The deliveries of the events that have ended."""
    query = select(Delivery).where(
        col(Delivery.event_id).in_(sorted(set(event_ids))), col(Delivery.state).not_in(OPEN_DELIVERY_STATES)
    )
    return (await tx.scalars(query)).all()


async def belongings(tx: Transaction, deliveries: Sequence[Delivery]) -> list[SQLModel]:
    """Attempts, last exchanges and dead letters of the deliveries."""
    ids = [delivery.id for delivery in deliveries]
    found: list[SQLModel] = []
    for model in BELONGINGS:
        found += (await tx.scalars(select(model).where(col(model.delivery_id).in_(ids)))).all()  # type: ignore[attr-defined]
    return found


async def tags_of(tx: Transaction, event_ids: Iterable[str]) -> Sequence[EventTag]:
    return (await tx.scalars(select(EventTag).where(col(EventTag.event_id).in_(sorted(set(event_ids)))))).all()


async def insert_missing(tx: Transaction, rows: Iterable[SQLModel]) -> None:
    """Insert the rows that are not there yet, by their keys."""
    by_model: dict[type[SQLModel], list[dict[str, Any]]] = {}
    for row in rows:
        by_model.setdefault(type(row), []).append(row.model_dump())
    for model, values in by_model.items():
        await tx.execute(insert_or_ignore(tx, model), values)


async def replace_deliveries(
    tx: Transaction, deliveries: Sequence[Delivery], *, lease_token: str, until: datetime
) -> None:
    """Insert the deliveries as handed over, in place of those that an earlier try inserted."""
    await tx.execute(delete(Delivery).where(col(Delivery.id).in_([one.id for one in deliveries])))
    taken = {"state": DeliveryState.IN_FLIGHT, "lease_token": lease_token, "leased_until": until, "replay_id": None}
    await tx.execute(insert(Delivery), [one.model_dump() | taken for one in deliveries])


async def statistics_of(tx: Transaction, subject_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The sums of the organization and its endpoints."""
    query = STATISTICS.select().where(STATISTICS.c.subject_id.in_(subject_ids))
    return [dict(row._mapping) for row in await tx.execute(query)]  # noqa: SLF001 - its public name


async def replace_statistics(tx: Transaction, subject_ids: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    await tx.execute(STATISTICS.delete().where(STATISTICS.c.subject_id.in_(subject_ids)))
    if rows:
        await tx.execute(STATISTICS.insert(), list(rows))


async def handed_over(tx: Transaction, organization_id: str, *, lease_token: str) -> dict[str, str]:
    """The ids of the events of the deliveries that are handed over, by the deliveries' ids."""
    query = select(Delivery.id, Delivery.event_id).where(
        _to_endpoints_of(organization_id),
        col(Delivery.state) == DeliveryState.IN_FLIGHT,
        col(Delivery.lease_token) == lease_token,
    )
    return {str(id_): event_id for id_, event_id in (await tx.execute(query)).all()}


async def drop_deliveries(tx: Transaction, event_ids: Mapping[str, str]) -> None:
    """Remove deliveries with what belongs to them; their ids are given with those of their events."""
    for start in range(0, len(event_ids), ROWS_AT_ONCE):
        chosen = list(event_ids)[start : start + ROWS_AT_ONCE]
        for model in BELONGINGS:
            await tx.execute(delete(model).where(col(model.delivery_id).in_(chosen)))  # type: ignore[attr-defined]
        await tx.execute(delete(Delivery).where(col(Delivery.id).in_(chosen)))
    await count_deliveries_again(tx, set(event_ids.values()))


def _to_endpoints_of(organization_id: str) -> Any:
    """The condition that a delivery is to an endpoint of the organization, by which there is an index."""
    return col(Delivery.endpoint_id).in_(select(Endpoint.id).where(col(Endpoint.organization_id) == organization_id))
