"""Replays: which deliveries an operator sends again, and how far that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, literal, text, update
from sqlalchemy import select as core_select
from sqlmodel import col, select

from sendoff.ids import floor_of
from sendoff.policy.states import ADD_ITEM, ReplayItemState, ReplayState, Trigger
from sendoff.store.engine.batch import execute, ids_parameter, is_sqlite, rows_from
from sendoff.store.engine.database import Transaction
from sendoff.store.engine.paging import newest_first
from sendoff.store.engine.types import Identifier
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter, conditions
from sendoff.store.tables import DeadLetter, Delivery, Endpoint, Event, Replay, ReplayItem

LOOKED_AT = 20_000
"""Deliveries that wait for their retry and are compared with a filter, when they are counted for a preview: about
fifteen milliseconds of the database."""

_ID = {"id": "uuid"}
_LOWEST_ID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class MissingDelivery:
    """An event that an endpoint would get now and did not get; `id` is that of the delivery when it is made."""

    id: str
    event_id: str
    endpoint_id: str


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """The number of a replay's deliveries that were sent (`replayed`), and their results."""

    replayed: int
    succeeded: int
    failed: int


async def add_items_by_filter(tx: Transaction, replay_id: str, chosen: DeadLetterFilter) -> int:
    """Add the deliveries of the dead letters that match the filter to the replay, and return their number."""
    return await _insert_items(tx, replay_id, DeadLetter.delivery_id, DeadLetter.endpoint_id, conditions(chosen))


async def add_pending_items(tx: Transaction, replay_id: str, chosen: DeadLetterFilter) -> int:
    """Add the deliveries that wait for their retry and match the filter to the replay, and return their number."""
    return await _insert_items(tx, replay_id, Delivery.id, Delivery.endpoint_id, _pending(chosen))


async def add_missing_items(tx: Transaction, replay_id: str, missing: Iterable[MissingDelivery]) -> int:
    """Add deliveries that are to be made to the replay, and return their number."""
    rows = [
        {
            "replay_id": replay_id,
            "delivery_id": one.id,
            "state": ADD_ITEM.target(None),
            "event_id": one.event_id,
            "endpoint_id": one.endpoint_id,
        }
        for one in missing
    ]
    if rows:
        await tx.execute(insert(ReplayItem), rows)
    return len(rows)


async def analyze_items(tx: Transaction) -> None:
    """Let PostgreSQL look at the items that were added, as autovacuum does within a minute.

    Until then it takes the table for nearly empty, and each tick reads all items: 7 ms at 20,000 of them.
    """
    if not is_sqlite(tx):
        await execute(tx, "ANALYZE replay_items")


async def count_pending(tx: Transaction, chosen: DeadLetterFilter) -> tuple[int, set[str]]:
    """The number of deliveries that wait for their retry and match the filter, and their endpoints."""
    query = core_select(col(Delivery.endpoint_id), func.count()).where(*_pending(chosen)).group_by(Delivery.endpoint_id)
    found = {str(endpoint_id): number for endpoint_id, number in (await tx.execute(query)).all()}
    return sum(found.values()), set(found)


async def count_pending_by_endpoint(
    tx: Transaction, chosen: DeadLetterFilter, *, limit: int
) -> list[tuple[str, str, int]]:
    """Of `limit` deliveries that wait for their retry and match the filter: endpoints with URL and number.

    At most LOOKED_AT of those that wait, at the endpoint if one is chosen, are looked at.
    """
    scope = DeadLetterFilter(endpoint_id=chosen.endpoint_id)
    looked_at = core_select(col(Delivery.id)).where(*_pending(scope)).limit(LOOKED_AT)
    narrowed = [] if chosen == scope else [col(Delivery.id).in_(looked_at)]
    found = core_select(col(Delivery.endpoint_id)).where(*_pending(chosen), *narrowed).limit(limit).subquery()
    query = (
        core_select(found.c.endpoint_id, func.max(Endpoint.url), func.count())
        .join(Endpoint, col(Endpoint.id) == found.c.endpoint_id)
        .group_by(found.c.endpoint_id)
    )
    return [(endpoint_id, url, count) for endpoint_id, url, count in (await tx.execute(query)).all()]


async def add_items_by_delivery(tx: Transaction, replay_id: str, delivery_ids: Sequence[str]) -> int:
    """Add the finished deliveries among these to the replay, and return their number."""
    return await _insert_items(tx, replay_id, Delivery.id, Delivery.endpoint_id, [_finished(tx, delivery_ids)])


async def count_by_delivery(tx: Transaction, delivery_ids: Sequence[str]) -> tuple[int, int]:
    """The number of finished deliveries among these, and of their endpoints."""
    query = core_select(func.count(), func.count(func.distinct(Delivery.endpoint_id))).where(
        _finished(tx, delivery_ids)
    )
    deliveries, endpoints = (await tx.execute(query)).one()
    return deliveries, endpoints


async def find(tx: Transaction, replay_id: str, *, lock: bool = False) -> Replay | None:
    return await tx.get(Replay, replay_id, with_for_update=lock or None)


async def find_many(tx: Transaction, ids: Sequence[str]) -> dict[str, Replay]:
    """The existing replays among these, by id."""
    return {replay.id: replay for replay in (await tx.scalars(select(Replay).where(col(Replay.id).in_(ids)))).all()}


async def page(tx: Transaction, *, limit: int, before: str | None = None) -> list[Replay]:
    """Replays, newest first, at most `limit`, older than the id `before`."""
    query = newest_first(select(Replay), col(Replay.id), limit=limit, before=before)
    return list((await tx.scalars(query)).all())


async def find_running(tx: Transaction) -> list[str]:
    """Ids of the replays that have something left to do or to wait for."""
    return list((await tx.scalars(select(Replay.id).where(col(Replay.state) == ReplayState.RUNNING))).all())


async def progress(tx: Transaction, replay_ids: Sequence[str]) -> dict[str, ReplayProgress]:
    """How far each of the replays is."""
    query = (
        core_select(col(ReplayItem.replay_id), col(ReplayItem.state), func.count())
        .where(col(ReplayItem.replay_id).in_(replay_ids))
        .group_by(col(ReplayItem.replay_id), col(ReplayItem.state))
    )
    counts: dict[str, dict[str, int]] = {replay_id: {} for replay_id in replay_ids}
    for replay_id, state, number in (await tx.execute(query)).all():
        counts[replay_id][state] = number
    return {replay_id: _progress(found) for replay_id, found in counts.items()}


@dataclass(frozen=True, slots=True)
class FedEndpoint:
    """An endpoint that a replay has deliveries for, and how many replayed ones wait for it already."""

    id: str
    waiting: int


async def next_endpoints(
    tx: Transaction, replay_id: str, *, after: str | None, limit: int, counted: int
) -> list[FedEndpoint]:
    """Endpoints that the replay has deliveries for, by id and beginning `after` one, at most `limit`.

    Costs an index probe for each, and at most `counted` rows of its backlog.
    """
    found = [] if after is None else await _endpoints_after(tx, replay_id, after, limit, counted)
    if len(found) < limit:
        seen = {one.id for one in found}
        first = await _endpoints_after(tx, replay_id, _LOWEST_ID, limit, counted)
        found += [one for one in first if one.id not in seen][: limit - len(found)]
    return found


async def _endpoints_after(tx: Transaction, replay_id: str, after: str, limit: int, counted: int) -> list[FedEndpoint]:
    following = """
        SELECT i.endpoint_id FROM replay_items i WHERE i.replay_id = :replay_id AND i.state = 'waiting'
            AND i.endpoint_id > {after} ORDER BY i.endpoint_id LIMIT 1
    """
    result = await execute(
        tx,
        f"""
        WITH RECURSIVE found(endpoint_id, place) AS (
            SELECT * FROM (SELECT ({following.format(after=":before_id")}) AS endpoint_id, 1 AS place) AS first_endpoint
            UNION ALL
            SELECT ({following.format(after="found.endpoint_id")}), place + 1 FROM found
            WHERE found.endpoint_id IS NOT NULL AND place < :limit
        )
        SELECT f.endpoint_id,
            (SELECT count(*) FROM (
                SELECT 1 FROM deliveries d WHERE d.endpoint_id = f.endpoint_id AND d.state = 'held'
                    AND (d.replay_id IS NOT NULL) LIMIT :counted
            ) AS held) + (SELECT count(line.replay_id) FROM (
                SELECT d.replay_id FROM deliveries d WHERE d.endpoint_id = f.endpoint_id AND d.state = 'queued'
                ORDER BY d.sequence, d.id LIMIT :counted
            ) AS line) AS waiting
        FROM found f WHERE f.endpoint_id IS NOT NULL
        """,
        replay_id=replay_id,
        before_id=after,
        limit=limit,
        counted=counted,
    )
    return [FedEndpoint(str(row.endpoint_id), row.waiting) for row in result]


async def name_endpoints(tx: Transaction, replay_id: str, *, limit: int) -> None:
    """Note the endpoints of items that an older version added without."""
    await execute(
        tx,
        """
        UPDATE replay_items SET endpoint_id = (
            SELECT d.endpoint_id FROM deliveries d WHERE d.id = replay_items.delivery_id
        )
        WHERE replay_id = :replay_id AND delivery_id IN (
            SELECT i.delivery_id FROM replay_items i WHERE i.replay_id = :replay_id AND i.state = 'waiting'
                AND i.endpoint_id IS NULL LIMIT :limit
        )
        """,
        replay_id=replay_id,
        limit=limit,
    )


@dataclass(frozen=True, slots=True)
class WaitingItem:
    """A delivery that a replay has not sent yet; one that is to be made names its event."""

    delivery_id: str
    endpoint_id: str | None
    event_id: str | None


async def next_items(tx: Transaction, replay_id: str, endpoint_id: str | None, *, limit: int) -> list[WaitingItem]:
    """What the replay has not sent yet to the endpoint, oldest first, at most `limit`; None is of no endpoint."""
    query = (
        core_select(col(ReplayItem.delivery_id), col(ReplayItem.endpoint_id), col(ReplayItem.event_id))
        .where(
            col(ReplayItem.replay_id) == replay_id,
            col(ReplayItem.state) == ReplayItemState.WAITING,
            col(ReplayItem.endpoint_id) == endpoint_id,
        )
        .order_by(col(ReplayItem.delivery_id))
        .limit(limit)
    )
    return [WaitingItem(*row) for row in (await tx.execute(query)).all()]


async def still_waiting(tx: Transaction, replay_id: str, delivery_ids: Iterable[str]) -> set[str]:
    """Which of the deliveries the replay has not sent yet."""
    chosen = text(f"delivery_id IN (SELECT r.id FROM {rows_from(tx, 'ids', _ID)} AS r)")
    query = core_select(col(ReplayItem.delivery_id)).where(
        col(ReplayItem.replay_id) == replay_id,
        col(ReplayItem.state) == ReplayItemState.WAITING,
        chosen.bindparams(ids=ids_parameter(delivery_ids)),
    )
    return set((await tx.scalars(query)).all())


async def move_items(
    tx: Transaction, replay_id: str, delivery_ids: Sequence[str], trigger: Trigger, *, to: ReplayItemState
) -> None:
    """Set the state of those of the items that are where the trigger starts from."""
    if not delivery_ids:
        return
    for source in trigger.sources:
        trigger.check(source, to)
    chosen = text(f"delivery_id IN (SELECT r.id FROM {rows_from(tx, 'ids', _ID)} AS r)")
    await tx.execute(
        update(ReplayItem)
        .where(
            col(ReplayItem.replay_id) == replay_id,
            col(ReplayItem.state).in_(trigger.sources),
            chosen.bindparams(ids=ids_parameter(delivery_ids)),
        )
        .values(state=to)
        .execution_options(synchronize_session=False)
    )


def _pending(chosen: DeadLetterFilter) -> list[Any]:
    """The filter as conditions on deliveries that wait for their retry; `since` and `until` are of `created_at`."""
    found: list[Any] = [text("deliveries.state = 'pending'"), col(Delivery.attempt_count) > 0]
    if chosen.organization_id is not None:
        found.append(col(Delivery.organization_id) == chosen.organization_id)
    if chosen.endpoint_id is not None:
        found.append(col(Delivery.endpoint_id) == chosen.endpoint_id)
    if chosen.event_type is not None:
        of_type = core_select(col(Event.id)).where(
            col(Event.id) == col(Delivery.event_id), col(Event.type) == chosen.event_type
        )
        found.append(of_type.exists())
    if chosen.response_status is not None:
        found.append(col(Delivery.last_response_status) == chosen.response_status)
    if chosen.since is not None:
        found.append(col(Delivery.created_at) >= chosen.since)
    if chosen.until is not None:
        found.append(col(Delivery.created_at) < chosen.until)
    if chosen.since_event_id is not None:
        found.append(col(Delivery.event_id) >= floor_of(chosen.since_event_id))
    return found


def _finished(tx: Transaction, delivery_ids: Sequence[str]) -> Any:
    chosen = text(
        f"deliveries.id IN (SELECT r.id FROM {rows_from(tx, 'ids', _ID)} AS r)"
        " AND deliveries.state IN ('delivered', 'dead')"
    )
    return chosen.bindparams(ids=ids_parameter(delivery_ids))


async def _insert_items(tx: Transaction, replay_id: str, delivery_id: Any, endpoint_id: Any, chosen: list[Any]) -> int:
    waiting = literal(ADD_ITEM.target(None).value)
    items = core_select(literal(replay_id, Identifier), delivery_id, endpoint_id, waiting).where(*chosen).distinct()
    table = ReplayItem.__table__  # type: ignore[attr-defined]
    names = ["replay_id", "delivery_id", "endpoint_id", "state"]
    result: Any = await tx.execute(insert(table).from_select(names, items))
    return int(result.rowcount)


def _progress(counts: dict[str, int]) -> ReplayProgress:
    succeeded = counts.get(ReplayItemState.SUCCEEDED, 0)
    failed = counts.get(ReplayItemState.FAILED, 0)
    return ReplayProgress(succeeded + failed + counts.get(ReplayItemState.SENT, 0), succeeded, failed)
