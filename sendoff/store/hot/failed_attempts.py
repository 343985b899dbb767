"""Plain failures: attempts that are made again later, recorded together with their endpoints' count of failures.

After successes the usual outcome, and when receivers time out by the hundred, one that comes by the hundred: on
PostgreSQL one statement, which is a transaction of its own.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sendoff.store.engine.batch import json_text
from sendoff.store.engine.database import Database
from sendoff.store.engine.postgres_driver import columns_of
from sendoff.store.engine.sqlite_driver import as_sqlite_has_it
from sendoff.store.engine.types import moment_text
from sendoff.store.queries.attempts import Exchange, NewAttempt


@dataclass(frozen=True, slots=True)
class PlainFailure:
    """An attempt that failed, when its delivery is due again, and what went over the wire."""

    lease: str
    ended_at: datetime
    next_attempt_at: datetime
    attempt: NewAttempt
    exchange: Exchange

    @property
    def request_headers(self) -> str:
        """As JSON text."""
        return json_text(self.exchange.request_headers)

    @property
    def response_headers(self) -> str | None:
        """As JSON text."""
        headers = self.exchange.response_headers
        return None if headers is None else json_text(headers)


# `d.state || ''`: see `sendoff.store.hot.claims`. Locks are taken in the order of ids, so that none dead-lock.
_RECORD = """
    WITH r AS MATERIALIZED (
        SELECT * FROM unnest(
            $1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::int[], $6::timestamptz[], $7::int[],
            $8::text[], $9::int[], $10::text[], $11::text[], $12::text[], $13::text[], $14::bytea[], $15::bool[]
        ) AS r(
            delivery_id, lease, ended_at, next_attempt_at, number, started_at, duration_ms,
            outcome, response_status, error, url, request_headers, response_headers, response_body, response_truncated
        )
    ), ours AS MATERIALIZED (
        SELECT d.endpoint_id, r.* FROM r JOIN deliveries d ON d.id = r.delivery_id
        WHERE d.lease = r.lease AND d.state || '' = 'in_flight'
        ORDER BY d.id FOR UPDATE OF d
    ), to_charge AS MATERIALIZED (
        SELECT p.id, f.failures, f.at
        FROM (SELECT endpoint_id, count(*) AS failures, max(ended_at) AS at FROM ours GROUP BY endpoint_id) AS f
        JOIN endpoints p ON p.id = f.endpoint_id
        WHERE p.state || '' = 'active' AND p.consecutive_failures + f.failures < $16::int
        ORDER BY p.id FOR UPDATE OF p
    ), charged AS (
        UPDATE endpoints AS p SET consecutive_failures = p.consecutive_failures + c.failures, last_failure_at = c.at
        FROM to_charge c WHERE p.id = c.id
    ), recorded AS MATERIALIZED (
        SELECT ours.* FROM ours JOIN to_charge c ON c.id = ours.endpoint_id
    ), settled AS (
        UPDATE deliveries AS d SET state = 'pending', lease = NULL, blocked_since = NULL,
            next_attempt_at = r.next_attempt_at, attempt_count = r.number, last_attempt_at = r.started_at,
            last_response_status = r.response_status, last_error = r.error
        FROM recorded r WHERE d.id = r.delivery_id
    ), written AS (
        INSERT INTO attempts (delivery_id, number, started_at, duration_ms, outcome, response_status, error)
        SELECT delivery_id, number, started_at, duration_ms, outcome, response_status, error FROM recorded
    ), kept AS (
        INSERT INTO last_exchanges (delivery_id, attempt, url, request_headers,
            response_status, response_headers, response_body, response_truncated)
        SELECT delivery_id, number, url, request_headers::json,
            response_status, response_headers::json, response_body, response_truncated FROM recorded
        ON CONFLICT (delivery_id) DO UPDATE SET attempt = excluded.attempt, url = excluded.url,
            request_headers = excluded.request_headers, response_status = excluded.response_status,
            response_headers = excluded.response_headers, response_body = excluded.response_body,
            response_truncated = excluded.response_truncated
    )
    SELECT delivery_id, lease FROM recorded
"""

_COLUMNS = (
    "attempt.delivery_id",
    "lease",
    "ended_at",
    "next_attempt_at",
    "attempt.number",
    "attempt.started_at",
    "attempt.duration_ms",
    "attempt.outcome",
    "attempt.response_status",
    "attempt.error",
    "exchange.url",
    "request_headers",
    "response_headers",
    "exchange.response_body",
    "exchange.response_truncated",
)


async def record_failures(
    database: Database, failures: Sequence[PlainFailure], *, disable_at: int
) -> set[tuple[str, str]]:
    """Write them; those that were written, as `(id, lease)`.

    Left alone are those that are not in flight under their lease any more, and all of an endpoint that is not active or
    would get to `disable_at` consecutive failures by them.
    """
    if database.direct is None:
        work = partial(_record_in_sqlite, failures=failures, disable_at=disable_at)
        return await database.embedded.write(work)
    rows = await database.direct.fetch(_RECORD, *columns_of(failures, _COLUMNS), disable_at)
    return {(str(delivery_id), str(lease)) for delivery_id, lease in rows}


_FIND_OURS_IN_SQLITE = """
    SELECT endpoint_id FROM deliveries WHERE id = :delivery_id AND lease = :lease AND state = 'in_flight'
"""

_CHARGE_IN_SQLITE = """
    UPDATE endpoints SET consecutive_failures = consecutive_failures + :failures, last_failure_at = :at
    WHERE id = :id AND state = 'active' AND consecutive_failures + :failures < :disable_at
"""

_SETTLE_IN_SQLITE = """
    UPDATE deliveries SET state = 'pending', lease = NULL, blocked_since = NULL, next_attempt_at = :next_attempt_at,
        attempt_count = :number, last_attempt_at = :started_at, last_response_status = :response_status,
        last_error = :error
    WHERE id = :delivery_id
"""

_WRITE_ATTEMPT_IN_SQLITE = """
    INSERT INTO attempts (delivery_id, number, started_at, duration_ms, outcome, response_status, error)
    VALUES (:delivery_id, :number, :started_at, :duration_ms, :outcome, :response_status, :error)
"""

_KEEP_EXCHANGE_IN_SQLITE = """
    INSERT OR REPLACE INTO last_exchanges (delivery_id, attempt, url, request_headers,
        response_status, response_headers, response_body, response_truncated)
    VALUES (:delivery_id, :number, :url, :request_headers,
        :response_status, :response_headers, :response_body, :response_truncated)
"""


def _record_in_sqlite(
    connection: sqlite3.Connection, *, failures: Sequence[PlainFailure], disable_at: int
) -> set[tuple[str, str]]:
    by_endpoint: dict[str, list[PlainFailure]] = defaultdict(list)
    for failure in failures:
        identity = {"delivery_id": failure.attempt.delivery_id, "lease": failure.lease}
        for (endpoint_id,) in connection.execute(_FIND_OURS_IN_SQLITE, identity).fetchall():
            by_endpoint[endpoint_id].append(failure)
    recorded: set[tuple[str, str]] = set()
    for endpoint_id, its_own in by_endpoint.items():
        at = moment_text(max(failure.ended_at for failure in its_own))
        charge = {"id": endpoint_id, "failures": len(its_own), "at": at, "disable_at": disable_at}
        if connection.execute(_CHARGE_IN_SQLITE, charge).rowcount:
            for failure in its_own:
                _write_in_sqlite(connection, failure)
                recorded.add((failure.attempt.delivery_id, failure.lease))
    return recorded


def _write_in_sqlite(connection: sqlite3.Connection, failure: PlainFailure) -> None:
    values = zip(_COLUMNS, columns_of([failure], _COLUMNS), strict=True)
    row = {name.rpartition(".")[2]: as_sqlite_has_it(value) for name, [value] in values}
    for statement in (_SETTLE_IN_SQLITE, _WRITE_ATTEMPT_IN_SQLITE, _KEEP_EXCHANGE_IN_SQLITE):
        connection.execute(statement, row)
