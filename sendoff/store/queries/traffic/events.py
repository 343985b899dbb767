"""Events and the types that are registered for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func
from sqlmodel import col, select

from sendoff.store.engine.batch import execute, is_sqlite, rows_from, rows_parameter
from sendoff.store.engine.database import Transaction
from sendoff.store.tables import Delivery, Event, EventTag, EventType


@dataclass(frozen=True, slots=True)
class NewEventRow:
    """An event to be inserted; the fields are those of the table."""

    id: str
    organization_id: str
    type: str
    data: str
    occurred_at: datetime
    created_at: datetime
    request_id: str | None
    delivery_count: int
    traceparent: str | None = None


@dataclass(slots=True)
class EventContent:
    """The parts of an event that sending needs."""

    id: str
    organization_id: str
    type: str
    data: str
    occurred_at: datetime
    request_id: str | None
    """The request that caused the event."""
    traceparent: str | None = None
    """The span that published it (W3C Trace Context)."""


async def find(tx: Transaction, event_id: str) -> Event | None:
    return await tx.get(Event, event_id)


async def insert_tags(tx: Transaction, tags: Sequence[EventTag]) -> None:
    """Insert the tags of events that this transaction has inserted."""
    if tags:
        # As one parameter: SQLAlchemy takes a second of the event loop to write out the values of 5,000 rows.
        columns = {"event_id": "text", "tag": "text", "organization_id": "uuid"}
        names = ", ".join(columns)
        source = f"{rows_from(tx, 'rows', columns)} AS r"
        await execute(
            tx,
            f"INSERT INTO event_tags ({names}) SELECT {names} FROM {source}",
            rows=rows_parameter(tag.model_dump() for tag in tags),
        )


async def tags_of(tx: Transaction, event_ids: Sequence[str]) -> dict[str, list[str]]:
    """The tags of each of these events that has any, by the event's id."""
    query = select(EventTag).where(col(EventTag.event_id).in_(event_ids)).order_by(col(EventTag.tag))
    found: dict[str, list[str]] = {}
    for one in (await tx.scalars(query)).all():
        found.setdefault(one.event_id, []).append(one.tag)
    return found


async def find_many(tx: Transaction, event_ids: Iterable[str]) -> dict[str, Event]:
    """The existing events among these, by id."""
    query = select(Event).where(col(Event.id).in_(set(event_ids)))
    return {event.id: event for event in (await tx.scalars(query)).all()}


async def newer_of_organization(
    tx: Transaction, organization_id: str, first_id: str, *, limit: int
) -> list[tuple[str, int]]:
    """Ids of the organization's events from `first_id` on, oldest first, each with the length of its data."""
    query = select(Event.id, func.length(Event.data)).where(
        col(Event.id) >= first_id, col(Event.organization_id) == organization_id
    )
    return [(event_id, length) for event_id, length in (await tx.execute(query.order_by(col(Event.id)).limit(limit)))]


async def organizations_with_newer(tx: Transaction, first_id: str) -> frozenset[str]:
    """The organizations that have events from the id `first_id` on; it should be a recent one."""
    query = select(col(Event.organization_id)).where(col(Event.id) >= first_id).distinct()
    return frozenset((await tx.scalars(query)).all())


async def count_between(tx: Transaction, organization_id: str, first_id: str, end_id: str, *, limit: int) -> int:
    """The number of the organization's events from `first_id` up to before `end_id`; it counts no more than `limit`."""
    query = select(col(Event.id)).where(
        col(Event.id) >= first_id, col(Event.id) < end_id, col(Event.organization_id) == organization_id
    )
    return (await tx.scalars(select(func.count()).select_from(query.limit(limit).subquery()))).one()


@dataclass(frozen=True, slots=True)
class EventSummary:
    """An event without its data."""

    id: str
    type: str


async def page_accepted(
    tx: Transaction,
    organization_id: str,
    *,
    event_type: str | None,
    since: datetime | None,
    until: datetime | None,
    after: str,
    before: str,
    limit: int,
) -> list[EventSummary]:
    """Events of the organization that were accepted from `since` until before `until`, in order of their ids.

    Reads all events between the ids `after` and `before`, both exclusive.
    """
    query = select(Event.id, Event.type).where(
        col(Event.organization_id) == organization_id, col(Event.id) > after, col(Event.id) < before
    )
    if event_type is not None:
        query = query.where(col(Event.type) == event_type)
    if since is not None:
        query = query.where(col(Event.created_at) >= since)
    if until is not None:
        query = query.where(col(Event.created_at) < until)
    query = query.order_by(col(Event.id)).limit(limit)
    return [EventSummary(*row) for row in (await tx.execute(query)).all()]


async def find_deliveries(tx: Transaction, event_ids: Iterable[str]) -> set[tuple[str, str]]:
    """Which of the events have a delivery for which endpoints, as `(event_id, endpoint_id)`."""
    query = select(Delivery.event_id, Delivery.endpoint_id).where(col(Delivery.event_id).in_(set(event_ids)))
    return {(event_id, endpoint_id) for event_id, endpoint_id in (await tx.execute(query)).all()}


async def count_further_deliveries(tx: Transaction, numbers: Mapping[str, int]) -> set[str]:
    """Add to the number of deliveries of the events, by their ids; returns the ids of those that exist.

    They are locked until the transaction ends, so that retention does not remove them before.
    """
    source = f"{rows_from(tx, 'rows', {'id': 'text', 'number': 'int'})} AS r"
    result = await execute(
        tx,
        f"UPDATE events SET delivery_count = delivery_count + r.number FROM {source} WHERE events.id = r.id "
        "RETURNING events.id",
        rows=rows_parameter({"id": event_id, "number": number} for event_id, number in numbers.items()),
    )
    return {row.id for row in result}


async def find_type(tx: Transaction, name: str) -> EventType | None:
    return await tx.get(EventType, name)


async def find_types(tx: Transaction, names: Iterable[str]) -> dict[str, EventType]:
    """The registered types among these, by name."""
    query = select(EventType).where(col(EventType.name).in_(set(names)))
    return {event_type.name: event_type for event_type in (await tx.scalars(query)).all()}


async def names_with_prefix(tx: Transaction, prefix: str, *, limit: int) -> list[str]:
    """Names of registered types that begin with `prefix`, in order, at most `limit`."""
    query = select(EventType.name).where(col(EventType.name).startswith(prefix, autoescape=True))
    return list((await tx.scalars(query.order_by(col(EventType.name)).limit(limit))).all())


async def count_subscribers(tx: Transaction, name: str) -> int:
    """The number of undeleted endpoints that subscribe to a type. Reads all endpoints."""
    elements = "json_each(e.events)" if is_sqlite(tx) else "json_array_elements_text(CAST(e.events AS json))"
    result = await execute(
        tx,
        f"""
        SELECT count(*) AS number FROM endpoints e
        WHERE e.state <> 'deleted' AND :name IN (SELECT value FROM {elements} AS subscribed)
        """,
        name=name,
    )
    return int(result.one().number)


async def list_types(tx: Transaction) -> list[EventType]:
    """The registered types beyond the built-in ones, by name."""
    return list((await tx.scalars(select(EventType).order_by(col(EventType.name)))).all())
