"""Successes: attempts whose delivery is delivered, recorded together with their endpoints' health.

The usual outcome of the hot path: on PostgreSQL one statement, which is a transaction of its own. Everything else that
can come of an attempt is recorded by `sendoff.operations.record`, step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sendoff.store import attempts, deliveries
from sendoff.store.attempts import NewAttempt
from sendoff.store.batch import execute, rows_from, rows_parameter
from sendoff.store.database import Database, Transaction
from sendoff.store.direct import columns_of

SUCCESS_NOTED_EVERY = timedelta(seconds=1)
"""`last_success_at` of a healthy endpoint is written at most this often: a row per endpoint, not per delivery."""


@dataclass(frozen=True, slots=True)
class Success:
    """An attempt that delivered its delivery; `number` is how many were made with it."""

    delivery_id: str
    lease: str
    number: int
    started_at: datetime
    ended_at: datetime
    duration_ms: int
    outcome: str
    response_status: int | None


# `d.state || ''`: see `sendoff.store.claims`.
_RECORD = """
    WITH r AS MATERIALIZED (
        SELECT * FROM unnest(
            $1::uuid[], $2::uuid[], $3::int[], $4::timestamptz[], $5::timestamptz[], $6::int[], $7::text[], $8::int[]
        ) AS r(delivery_id, lease, number, started_at, ended_at, duration_ms, outcome, response_status)
    ), settled AS (
        UPDATE deliveries AS d SET state = 'delivered', lease = NULL, next_attempt_at = NULL, last_error = NULL,
            untried_since = NULL, attempt_count = r.number, last_attempt_at = r.started_at,
            last_response_status = r.response_status, delivered_at = r.ended_at
        FROM r WHERE d.id = r.delivery_id AND d.lease = r.lease AND d.state || '' = 'in_flight'
        RETURNING d.id, d.endpoint_id, r.lease, r.number, r.started_at, r.ended_at, r.duration_ms, r.outcome,
            r.response_status
    ), written AS (
        INSERT INTO attempts (delivery_id, number, started_at, duration_ms, outcome, response_status)
        SELECT id, number, started_at, duration_ms, outcome, response_status FROM settled
    ), well AS (
        SELECT endpoint_id, max(ended_at) AS at FROM settled GROUP BY endpoint_id
    ), to_note AS (
        SELECT p.id, well.at FROM well JOIN endpoints p ON p.id = well.endpoint_id
        WHERE p.consecutive_failures > 0 OR p.last_success_at IS NULL OR p.last_success_at <= well.at - $9::interval
        ORDER BY p.id FOR UPDATE OF p
    ), noted AS (
        UPDATE endpoints AS p SET consecutive_failures = 0, last_success_at = GREATEST(p.last_success_at, n.at)
        FROM to_note n WHERE p.id = n.id
    )
    SELECT id, lease FROM settled
"""


_COLUMNS = {
    "delivery_id": "uuid",
    "lease": "uuid",
    "number": "int",
    "started_at": "timestamptz",
    "ended_at": "timestamptz",
    "duration_ms": "int",
    "outcome": "text",
    "response_status": "int",
}


async def record_successes(database: Database, successes: Sequence[Success]) -> set[tuple[str, str]]:
    """Write them; those that were still in flight under their lease, as `(id, lease)`. The others are left alone."""
    if database.direct is None:
        async with database.write() as tx:
            return await _record_in(tx, successes)
    rows = await database.direct.fetch(_RECORD, *columns_of(successes, tuple(_COLUMNS)), SUCCESS_NOTED_EVERY)
    return {(str(delivery_id), str(lease)) for delivery_id, lease in rows}


async def _record_in(tx: Transaction, successes: Sequence[Success]) -> set[tuple[str, str]]:
    held = await deliveries.lock_leased(tx, ((each.delivery_id, each.lease) for each in successes))
    ours = [each for each in successes if (each.delivery_id, each.lease) in held]
    settled = await execute(
        tx,
        f"""
        UPDATE deliveries AS d SET state = 'delivered', lease = NULL, next_attempt_at = NULL, last_error = NULL,
            untried_since = NULL, attempt_count = r.number, last_attempt_at = r.started_at,
            last_response_status = r.response_status, delivered_at = r.ended_at
        FROM {rows_from(tx, "rows", _COLUMNS)} AS r WHERE d.id = r.delivery_id
        RETURNING id, endpoint_id
        """,
        rows=rows_parameter(ours),
    )
    endpoint_of = {row.id: row.endpoint_id for row in settled}
    await attempts.insert_many(tx, [_attempt(each) for each in ours])
    await _note_successes(tx, {endpoint_of[each.delivery_id]: each.ended_at for each in _by_end(ours)})
    return held


def _attempt(success: Success) -> NewAttempt:
    return NewAttempt(
        delivery_id=success.delivery_id,
        number=success.number,
        started_at=success.started_at,
        duration_ms=success.duration_ms,
        outcome=success.outcome,
        response_status=success.response_status,
        error=None,
    )


async def _note_successes(tx: Transaction, ended_at: dict[str, datetime]) -> None:
    rows = [{"id": key, "at": at, "noted": at - SUCCESS_NOTED_EVERY} for key, at in ended_at.items()]
    await execute(
        tx,
        f"""
        UPDATE endpoints AS p SET consecutive_failures = 0, last_success_at = max(COALESCE(p.last_success_at, ''), r.at)
        FROM {rows_from(tx, "rows", {"id": "uuid", "at": "timestamptz", "noted": "timestamptz"})} AS r
        WHERE p.id = r.id
          AND (p.consecutive_failures > 0 OR p.last_success_at IS NULL OR p.last_success_at <= r.noted)
        """,
        rows=rows_parameter(rows),
    )


def _by_end(successes: Sequence[Success]) -> list[Success]:
    return sorted(successes, key=lambda success: success.ended_at)
