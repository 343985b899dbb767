"""The lines of ordered endpoints: places in the order of acceptance, and who is next.

Of an ordered endpoint at most one delivery is `pending`, `held` or `in_flight`; all others are `queued`. Places are
given out under the lock of the endpoint's row, which lasts until the accepting transaction is committed: a lower
`sequence` was committed first. Whatever changes a line holds that lock, and reads the line in a later statement, so
that it sees what the transaction before it has committed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sendoff.policy.states import ADVANCE, DISBAND, ENTER_LINE, STEP_BACK, DeliveryState, EndpointState
from sendoff.store.engine.batch import execute, ids_parameter, lock, read_time, rows_from, rows_parameter
from sendoff.store.engine.database import Transaction
from sendoff.store.engine.transitions import found_by, made_by
from sendoff.store.queries.endpoints import WITH_DELIVERIES_IN

_ID = {"id": "uuid"}
_OPEN = "('pending', 'held', 'in_flight')"


@dataclass(slots=True)
class Places:
    """Places at the end of an endpoint's line, for deliveries that are being accepted."""

    last_sequence: int
    """The sequence of the delivery before the first of them."""
    is_free: bool
    """Whether nothing is in the line, so that the first of them is due at once."""


async def take_places(tx: Transaction, counts: Mapping[str, int]) -> dict[str, Places]:
    """Take that many places in each endpoint's line; an endpoint that is not ordered any more is missing."""
    ordered = await _lock_ordered(tx, counts)
    rows = rows_parameter({"id": endpoint_id, "number": counts[endpoint_id]} for endpoint_id in ordered)
    source = f"{rows_from(tx, 'rows', {'id': 'uuid', 'number': 'int'})} AS r"
    await execute(
        tx,
        f"UPDATE endpoints SET last_sequence = last_sequence + r.number FROM {source} WHERE endpoints.id = r.id",
        rows=rows,
    )
    found = await execute(
        tx,
        f"""
        SELECT e.id, e.last_sequence - r.number AS last_sequence,
            NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.endpoint_id = e.id AND d.state IN {_OPEN})
            AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.endpoint_id = e.id AND d.state = 'queued') AS is_free
        FROM endpoints e JOIN {source} ON r.id = e.id
        """,
        rows=rows,
    )
    return {str(row.id): Places(row.last_sequence, bool(row.is_free)) for row in found}


async def advance(tx: Transaction, endpoint_ids: Collection[str], *, now: datetime) -> list[str]:
    """Make the first delivery of each line due, unless one is under way; return the ids of those that are due by `now`.

    The first has the lowest sequence: a delivery that waits for its retry steps back behind one that was accepted
    before it and is to be sent again. What is queued for an endpoint that is not ordered any more becomes held.
    """
    if not endpoint_ids:
        return []
    ordered = await _lock_ordered(tx, endpoint_ids)
    if unordered := set(endpoint_ids) - set(ordered):
        await _disband(tx, unordered)
    await _step_back(tx, ordered)
    result = await execute(
        tx,
        f"""
        UPDATE deliveries SET state = {made_by(ADVANCE)}, due_at = COALESCE(due_at, :now)
        WHERE {found_by(ADVANCE)} AND id IN (
            SELECT (
                SELECT q.id FROM deliveries q WHERE q.endpoint_id = e.id AND q.state = 'queued'
                ORDER BY q.endpoint_id, q.sequence, q.id LIMIT 1
            )
            FROM {rows_from(tx, "ids", _ID)} AS r JOIN endpoints e ON e.id = r.id
            WHERE e.state = '{EndpointState.ACTIVE}'
            AND NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.endpoint_id = e.id AND o.state IN {_OPEN})
        )
        RETURNING deliveries.id, deliveries.due_at
        """,
        ids=ids_parameter(ordered),
        now=now,
    )
    return [str(row.id) for row in result if read_time(row.due_at) <= now]


async def enter_line(tx: Transaction, ids: Collection[str], *, lease_token: str) -> None:
    """Queue claimed deliveries without a place, in front: they were accepted before their endpoint was ordered."""
    await execute(
        tx,
        f"""
        UPDATE deliveries SET state = {made_by(ENTER_LINE)}, sequence = 0, lease_token = NULL, leased_until = NULL
        WHERE id IN (SELECT r.id FROM {rows_from(tx, "ids", _ID)} AS r)
            AND lease_token = :lease_token AND {found_by(ENTER_LINE)}
        """,
        ids=ids_parameter(ids),
        lease_token=lease_token,
    )


async def give_places(tx: Transaction, endpoint_id: str) -> None:
    """Give a place to every open delivery of an endpoint that becomes ordered; the transaction holds the endpoint.

    They share one sequence, behind what was accepted when it was ordered before, and follow each other by their ids.
    """
    await execute(tx, "UPDATE endpoints SET last_sequence = last_sequence + 1 WHERE id = :id", id=endpoint_id)
    await execute(
        tx,
        f"""
        UPDATE deliveries SET sequence = (SELECT e.last_sequence FROM endpoints e WHERE e.id = :endpoint_id)
        WHERE endpoint_id = :endpoint_id AND state IN {_OPEN} AND sequence IS NULL
        """,
        endpoint_id=endpoint_id,
    )


async def find_stalled(tx: Transaction) -> list[str]:
    """Ids of endpoints whose line has nobody at its head, or is theirs no more; one index probe for each line.

    That lasts from the record of one delivery until the next one is made due, or longer if a worker died in between.
    """
    result = await execute(
        tx,
        f"""
        WITH {WITH_DELIVERIES_IN.format(state=DeliveryState.QUEUED)}
        SELECT e.id FROM found JOIN endpoints e ON e.id = found.endpoint_id
        WHERE e.state = '{EndpointState.ACTIVE}' AND (
            NOT e.ordered
            OR NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.endpoint_id = e.id AND o.state IN {_OPEN})
        )
        """,
    )
    return [str(row.id) for row in result]


async def find_heads(tx: Transaction, endpoint_ids: Collection[str]) -> dict[str, str]:
    """The delivery that holds back the line of each of these endpoints, by the endpoint's id."""
    if not endpoint_ids:
        return {}
    result = await execute(
        tx,
        f"""
        SELECT r.id AS endpoint_id, COALESCE(
            (SELECT o.id FROM deliveries o WHERE o.endpoint_id = r.id AND o.state IN {_OPEN}
             ORDER BY o.sequence, o.id LIMIT 1),
            (SELECT q.id FROM deliveries q WHERE q.endpoint_id = r.id AND q.state = 'queued'
             ORDER BY q.endpoint_id, q.sequence, q.id LIMIT 1)
        ) AS head FROM {rows_from(tx, "ids", _ID)} AS r
        """,
        ids=ids_parameter(endpoint_ids),
    )
    return {str(row.endpoint_id): str(row.head) for row in result if row.head is not None}


async def _lock_ordered(tx: Transaction, endpoint_ids: Collection[str]) -> list[str]:
    """Lock the endpoints in the order of their ids, which prevents deadlocks, and return those that are ordered."""
    result = await execute(
        tx,
        f"""
        SELECT e.id, e.ordered FROM endpoints e
        WHERE e.id IN (SELECT r.id FROM {rows_from(tx, "ids", _ID)} AS r)
        ORDER BY e.id {lock(tx, "e")}
        """,
        ids=ids_parameter(endpoint_ids),
    )
    return [str(row.id) for row in result if row.ordered]


async def _step_back(tx: Transaction, endpoint_ids: Collection[str]) -> None:
    """Queue what waits although another delivery of its endpoint is in flight, or was accepted before it."""
    earlier = "SELECT 1 FROM deliveries o WHERE o.endpoint_id = d.endpoint_id AND"
    before = "(COALESCE(o.sequence, 0), o.id) < (COALESCE(d.sequence, 0), d.id)"
    await execute(
        tx,
        f"""
        UPDATE deliveries SET state = {made_by(STEP_BACK)}, sequence = COALESCE(sequence, 0)
        WHERE {found_by(STEP_BACK)} AND id IN (
            SELECT d.id FROM deliveries d JOIN {rows_from(tx, "ids", _ID)} AS r ON r.id = d.endpoint_id
            WHERE {found_by(STEP_BACK, column="d.state")} AND (
                EXISTS ({earlier} o.state = '{DeliveryState.IN_FLIGHT}')
                OR EXISTS ({earlier} o.state IN ('pending', 'held') AND {before})
                OR EXISTS ({earlier} o.state = 'queued' AND (o.sequence, o.id) < (COALESCE(d.sequence, 0), d.id))
            )
        )
        """,
        ids=ids_parameter(endpoint_ids),
    )


async def _disband(tx: Transaction, endpoint_ids: Collection[str]) -> None:
    await execute(
        tx,
        f"""
        UPDATE deliveries SET state = {made_by(DISBAND)}
        WHERE endpoint_id IN (SELECT r.id FROM {rows_from(tx, "ids", _ID)} AS r) AND {found_by(DISBAND)}
        """,
        ids=ids_parameter(endpoint_ids),
    )
