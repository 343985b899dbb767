"""Successes: attempts whose delivery is delivered, recorded together with their endpoints' health.

The usual outcome of the hot path: on PostgreSQL one statement, which is a transaction of its own. Everything else that
can come of an attempt is recorded by `sendoff.delivery.record`, step by step.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from sendoff.store.engine.database import Database
from sendoff.store.engine.postgres_driver import columns_of
from sendoff.store.engine.sqlite_driver import as_sqlite_has_it
from sendoff.store.engine.types import moment_text

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


# `d.state || ''`: see `sendoff.store.hot.claims`.
_RECORD = """
    WITH r AS MATERIALIZED (
        SELECT * FROM unnest(
            $1::uuid[], $2::uuid[], $3::int[], $4::timestamptz[], $5::timestamptz[], $6::int[], $7::text[], $8::int[]
        ) AS r(delivery_id, lease, number, started_at, ended_at, duration_ms, outcome, response_status)
    ), settled AS (
        UPDATE deliveries AS d SET state = 'delivered', lease = NULL, next_attempt_at = NULL, last_error = NULL,
            blocked_since = NULL, attempt_count = r.number, last_attempt_at = r.started_at,
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


_COLUMNS = (
    "delivery_id",
    "lease",
    "number",
    "started_at",
    "ended_at",
    "duration_ms",
    "outcome",
    "response_status",
)


async def record_successes(database: Database, successes: Sequence[Success]) -> set[tuple[str, str]]:
    """Write them; those that were still in flight under their lease, as `(id, lease)`. The others are left alone."""
    if database.direct is None:
        return await database.embedded.write(partial(_record_in_sqlite, successes=successes))
    rows = await database.direct.fetch(_RECORD, *columns_of(successes, _COLUMNS), SUCCESS_NOTED_EVERY)
    return {(str(delivery_id), str(lease)) for delivery_id, lease in rows}


_SETTLE_IN_SQLITE = """
    UPDATE deliveries SET state = 'delivered', lease = NULL, next_attempt_at = NULL, last_error = NULL,
        blocked_since = NULL, attempt_count = :number, last_attempt_at = :started_at,
        last_response_status = :response_status, delivered_at = :ended_at
    WHERE id = :delivery_id AND lease = :lease AND state = 'in_flight'
    RETURNING endpoint_id
"""

_WRITE_ATTEMPT_IN_SQLITE = """
    INSERT INTO attempts (delivery_id, number, started_at, duration_ms, outcome, response_status)
    VALUES (:delivery_id, :number, :started_at, :duration_ms, :outcome, :response_status)
"""

_NOTE_IN_SQLITE = """
    UPDATE endpoints SET consecutive_failures = 0, last_success_at = max(COALESCE(last_success_at, ''), :at)
    WHERE id = :id AND (consecutive_failures > 0 OR last_success_at IS NULL OR last_success_at <= :noted)
"""


def _record_in_sqlite(connection: sqlite3.Connection, *, successes: Sequence[Success]) -> set[tuple[str, str]]:
    recorded: set[tuple[str, str]] = set()
    ended_at: dict[str, datetime] = {}
    for success in successes:
        row = {name: as_sqlite_has_it(getattr(success, name)) for name in _COLUMNS}
        settled = connection.execute(_SETTLE_IN_SQLITE, row).fetchall()
        for (endpoint_id,) in settled:
            connection.execute(_WRITE_ATTEMPT_IN_SQLITE, row)
            recorded.add((success.delivery_id, success.lease))
            ended_at[endpoint_id] = max(ended_at.get(endpoint_id, success.ended_at), success.ended_at)
    for endpoint_id, at in ended_at.items():
        note = {"id": endpoint_id, "at": moment_text(at), "noted": moment_text(at - SUCCESS_NOTED_EVERY)}
        connection.execute(_NOTE_IN_SQLITE, note)
    return recorded
