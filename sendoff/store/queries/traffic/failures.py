"""What fails, grouped: open dead letters and deliveries that wait for a retry, by endpoint, outcome and status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sendoff.policy.delivery.attempt_result import classify_response
from sendoff.store.engine.batch import execute, read_time
from sendoff.store.engine.database import Transaction
from sendoff.store.queries.installation.overview import prefer_indexes

LOOKED_AT = 2_000
"""Dead letters, and waiting deliveries, that are grouped: the newest ones. Each that was not answered costs a look at
its last attempt, about five microseconds; an answer's status says what the outcome was."""


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Deliveries to one endpoint that failed alike. `dead` and `waiting` count them, `last_error` is one of theirs."""

    endpoint_id: str
    endpoint_url: str
    organization_id: str
    outcome: str
    response_status: int | None
    reason: str | None
    """The dead letters' reason; null for those that wait for a retry."""
    count: int
    first_at: datetime
    last_at: datetime
    last_error: str | None


async def group_failures(tx: Transaction, *, endpoint_id: str | None, limit: int) -> Sequence[FailureGroup]:
    """The largest groups, of one endpoint or of all."""
    # Not said to be equal: a planner would then take the order by endpoint for nothing, and could read all there is.
    narrowed = "" if endpoint_id is None else " AND endpoint_id >= :endpoint_id AND endpoint_id <= :endpoint_id"
    newest_dead = "id DESC" if endpoint_id is None else "endpoint_id DESC, id DESC"
    newest_pending = "due_at DESC" if endpoint_id is None else "endpoint_id DESC, id DESC"
    await prefer_indexes(tx)
    result = await execute(
        tx,
        f"""
        WITH failing AS (
            SELECT * FROM (
                SELECT delivery_id, endpoint_id, organization_id, attempt_count, last_response_status, last_error,
                    reason, died_at AS at
                FROM dead_letters WHERE state = 'open'{narrowed} ORDER BY {newest_dead} LIMIT {LOOKED_AT}
            ) AS dead
            UNION ALL
            SELECT * FROM (
                SELECT id AS delivery_id, endpoint_id, organization_id, attempt_count, last_response_status, last_error,
                    NULL AS reason, last_attempt_at AS at
                FROM deliveries WHERE state = 'pending'{narrowed} ORDER BY {newest_pending} LIMIT {LOOKED_AT}
            ) AS waiting WHERE attempt_count > 0
        ), named AS (
            SELECT f.*, CASE WHEN f.last_response_status IS NULL THEN COALESCE((
                SELECT a.outcome FROM attempts a WHERE a.delivery_id = f.delivery_id AND a.number = f.attempt_count
            ), f.reason, 'unknown') END AS outcome
            FROM failing f
        ), grouped AS (
            SELECT endpoint_id, organization_id, outcome, last_response_status, reason, count(*) AS number,
                min(at) AS first_at, max(at) AS last_at, max(last_error) AS last_error
            FROM named GROUP BY endpoint_id, organization_id, outcome, last_response_status, reason
        )
        SELECT g.*, e.url FROM grouped g JOIN endpoints e ON e.id = g.endpoint_id
        ORDER BY g.number DESC, g.last_at DESC LIMIT :limit
        """,
        limit=limit,
        **({} if endpoint_id is None else {"endpoint_id": endpoint_id}),
    )
    return [_group(row) for row in result]


def _group(row: Any) -> FailureGroup:
    return FailureGroup(
        endpoint_id=str(row.endpoint_id),
        endpoint_url=row.url,
        organization_id=str(row.organization_id),
        outcome=row.outcome or classify_response(row.last_response_status, (), read_time(row.last_at)).name,
        response_status=row.last_response_status,
        reason=row.reason,
        count=row.number,
        first_at=read_time(row.first_at),
        last_at=read_time(row.last_at),
        last_error=row.last_error,
    )
