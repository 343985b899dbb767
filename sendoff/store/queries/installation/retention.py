"""Retention: what is past its time leaves the database, the oldest first, at most `limit` at once.

Deliveries leave with all that belongs to them, and an event with the last of its deliveries. An event's
`delivery_count` goes down with each that leaves, so that it always says how many there must be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sendoff.ids import event_id_at, row_id_at
from sendoff.store.engine.batch import execute, ids_parameter, lock, rows_from, rows_parameter, skip_locked
from sendoff.store.engine.database import Transaction

_ID = {"id": "uuid"}
_BELONGING_TO_A_DELIVERY = ("attempts", "last_exchanges", "dead_letters")


async def remove_delivered(
    tx: Transaction, *, until: datetime, limit: int, created_until: datetime | None = None
) -> int:
    """Remove deliveries that succeeded before `until`, and return their number.

    With `created_until`, of those alone that were created before it: the others leave with their partition.
    """
    created, bound = created_before(created_until, "d.id")
    result = await execute(
        tx,
        f"""
        SELECT d.id, d.event_id FROM deliveries d WHERE d.state = 'delivered' AND d.delivered_at < :until {created}
        ORDER BY d.delivered_at LIMIT :limit {skip_locked(tx, "d")}
        """,
        until=until,
        limit=limit,
        **bound,
    )
    found = result.all()
    await _remove_deliveries(tx, found)
    return len(found)


async def remove_dead_letters(tx: Transaction, *, until: datetime, limit: int) -> int:
    """Remove dead letters in any state from before `until`, with their deliveries. Returns how many were removed.

    A delivery that was retried or replayed, or has a newer dead letter, is kept.
    """
    letters = (
        await execute(
            tx,
            "SELECT l.id, l.delivery_id FROM dead_letters l WHERE l.died_at < :until ORDER BY l.died_at LIMIT :limit",
            until=until,
            limit=limit,
        )
    ).all()
    busy = await _lock_deliveries(tx, {str(letter.delivery_id) for letter in letters})
    old = [letter for letter in letters if str(letter.delivery_id) not in busy]
    await _delete(tx, "dead_letters", "id", [str(letter.id) for letter in old])
    orphaned = await execute(
        tx,
        f"""
        SELECT d.id, d.event_id FROM deliveries d JOIN {rows_from(tx, "ids", _ID)} AS r ON r.id = d.id
        WHERE d.state = 'dead' AND NOT EXISTS (SELECT 1 FROM dead_letters l WHERE l.delivery_id = d.id)
        """,
        ids=ids_parameter({str(letter.delivery_id) for letter in old}),
    )
    await _remove_deliveries(tx, orphaned.all())
    return len(old)


async def remove_events(tx: Transaction, *, until: datetime, limit: int, created_until: datetime | None = None) -> int:
    """Remove events from before `until` that had no subscribers; `created_until` as above. Returns their number."""
    created, bound = created_before(created_until, "e.id", of_events=True)
    result = await execute(
        tx,
        f"""
        DELETE FROM events WHERE id IN (
            SELECT e.id FROM events e WHERE e.delivery_count = 0 AND e.created_at < :until {created}
            AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_id = e.id)
            ORDER BY e.created_at LIMIT :limit
        )
        RETURNING id
        """,
        until=until,
        limit=limit,
        **bound,
    )
    return await _remove_tags(tx, result.all())


async def remove_replays(tx: Transaction, *, until: datetime, limit: int) -> int:
    """Remove replays that ended before `until`, their items first, and return the number of rows."""
    replay = (
        await execute(
            tx,
            "SELECT id FROM replays WHERE state <> 'running' AND finished_at < :until ORDER BY id LIMIT 1",
            until=until,
        )
    ).first()
    if replay is None:
        return 0
    result = await execute(
        tx,
        """
        DELETE FROM replay_items WHERE replay_id = :replay_id AND delivery_id IN (
            SELECT i.delivery_id FROM replay_items i WHERE i.replay_id = :replay_id LIMIT :limit
        )
        """,
        replay_id=str(replay.id),
        limit=limit,
    )
    if result.rowcount == limit:
        return limit
    await _delete(tx, "replays", "id", [str(replay.id)])
    return result.rowcount + 1


async def remove_what_belongs_to_nothing(tx: Transaction, *, created_until: datetime, limit: int) -> int:
    """Remove what belonged to deliveries and events that left with their partitions. Returns the number of rows."""
    removed = 0
    for table, column, parent, bound in (
        ("last_exchanges", "delivery_id", "deliveries", created_before(created_until, "x.delivery_id")),
        ("dead_letters", "delivery_id", "deliveries", created_before(created_until, "x.delivery_id")),
        ("event_tags", "event_id", "events", created_before(created_until, "x.event_id", of_events=True)),
    ):
        result = await execute(
            tx,
            f"""
            DELETE FROM {table} WHERE {column} IN (
                SELECT x.{column} FROM {table} x WHERE TRUE {bound[0]}
                AND NOT EXISTS (SELECT 1 FROM {parent} p WHERE p.id = x.{column}) LIMIT :limit
            )
            """,
            limit=limit,
            **bound[1],
        )
        removed += result.rowcount
    return removed


async def count_expired(
    tx: Transaction, *, finished: datetime, dead: datetime, limit: int, created_until: datetime | None = None
) -> tuple[int, int, int]:
    """Deliveries, dead letters and events without subscribers that are past their retention; at most `limit` each."""
    deliveries, before_id = created_before(created_until, "id")
    events, before_event = created_before(created_until, "id", of_events=True)
    conditions = (
        f"deliveries WHERE state = 'delivered' AND delivered_at < :finished {deliveries}",
        "dead_letters WHERE died_at < :dead",
        f"events WHERE delivery_count = 0 AND created_at < :finished {events}",
    )
    counted = (
        f"(SELECT count(*) FROM (SELECT 1 FROM {one} LIMIT :limit) AS found) AS c{number}"
        for number, one in enumerate(conditions)
    )
    row = (
        await execute(
            tx, f"SELECT {', '.join(counted)}", finished=finished, dead=dead, limit=limit, **before_id, **before_event
        )
    ).one()
    return row.c0, row.c1, row.c2


def created_before(
    created_until: datetime | None, column: str, *, of_events: bool = False
) -> tuple[str, dict[str, str]]:
    """SQL for what was created before, by the id that begins with its time, and its parameter."""
    if created_until is None:
        return "", {}
    if of_events:
        return f"AND {column} < :before_event", {"before_event": event_id_at(created_until)}
    return f"AND {column} < :before_id", {"before_id": row_id_at(created_until)}


async def _lock_deliveries(tx: Transaction, ids: set[str]) -> set[str]:
    """Lock the deliveries. Returns those that another transaction has locked."""
    wanted = f"SELECT d.id FROM deliveries d JOIN {rows_from(tx, 'ids', _ID)} AS r ON r.id = d.id"
    locked = await execute(tx, f"{wanted} {skip_locked(tx, 'd')}", ids=ids_parameter(ids))
    held = {str(row.id) for row in locked}
    existing = await execute(tx, wanted, ids=ids_parameter(ids))
    return {str(row.id) for row in existing} - held


async def _remove_deliveries(tx: Transaction, found: Sequence[Any]) -> None:
    ids = [str(delivery.id) for delivery in found]
    if not ids:
        return
    for table in _BELONGING_TO_A_DELIVERY:
        await _delete(tx, table, "delivery_id", ids)
    await _delete(tx, "deliveries", "id", ids)
    await _let_go_of_events(tx, Counter(delivery.event_id for delivery in found))


async def _delete(tx: Transaction, table: str, column: str, ids: Sequence[str]) -> None:
    chosen = f"{column} IN (SELECT r.id FROM {rows_from(tx, 'ids', _ID)} AS r)"
    await execute(tx, f"DELETE FROM {table} WHERE {chosen}", ids=ids_parameter(ids))


async def _let_go_of_events(tx: Transaction, removed: Counter[str]) -> None:
    """Remove the events that have no delivery left; of the others, remember that they have fewer.

    An event that lacks a delivery is kept, so that reconciliation keeps reporting it.
    """
    rows = rows_parameter({"id": event_id, "number": number} for event_id, number in removed.items())
    source = f"{rows_from(tx, 'rows', {'id': 'text', 'number': 'int'})} AS r"
    # In one order: two workers that remove at once would else wait for each other.
    await execute(
        tx, f"SELECT e.id FROM events e JOIN {source} ON r.id = e.id ORDER BY e.id {lock(tx, 'e')}", rows=rows
    )
    gone = await execute(
        tx,
        f"""
        DELETE FROM events WHERE id IN (
            SELECT e.id FROM events e JOIN {source} ON r.id = e.id WHERE e.delivery_count <= r.number
            AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_id = e.id)
        )
        RETURNING id
        """,
        rows=rows,
    )
    await _remove_tags(tx, gone.all())
    await execute(
        tx,
        f"UPDATE events SET delivery_count = delivery_count - r.number FROM {source} WHERE events.id = r.id",
        rows=rows,
    )


async def _remove_tags(tx: Transaction, events: Sequence[Any]) -> int:
    """Remove the tags of events that were removed; return the number of events."""
    if events:
        chosen = f"event_id IN (SELECT r.id FROM {rows_from(tx, 'ids', {'id': 'text'})} AS r)"
        await execute(tx, f"DELETE FROM event_tags WHERE {chosen}", ids=ids_parameter(event.id for event in events))
    return len(events)
