"""How much waits, counted for people. Every count is bounded, and reads an index alone, whatever the tables hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import text

from sendoff.policy.states import DeadLetterReason, DeliveryState, EndpointState
from sendoff.store.engine.batch import execute, is_sqlite, read_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sendoff.store.engine.database import Transaction

COUNTED_AT_MOST = 100_000
"""Counts end here, and then mean this many or more. A hundred thousand index entries take about ten milliseconds."""

COUNTED_OF_ENDPOINT = 10_000
"""The same for one endpoint, whose rows are read: a state is in no index by endpoint."""

_OPEN = (DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.QUEUED, DeliveryState.IN_FLIGHT)


@dataclass(frozen=True, slots=True)
class OpenCounts:
    """What is open; no number goes beyond the bound that was given."""

    deliveries: Mapping[DeliveryState, int]
    """Deliveries that have not ended, by state."""
    due: int
    """Those that are pending and due."""
    oldest_due_at: datetime | None
    """Since when the oldest of those is due; None if none is."""
    dead_letters: Mapping[DeadLetterReason, int]
    """Open dead letters by reason; a reason without any is missing."""
    endpoints: Mapping[EndpointState, int]


async def count_open(tx: Transaction, *, now: datetime, at_most: int | None = None) -> OpenCounts:
    """Count what is open, in one statement; each count goes up to `at_most`, by default COUNTED_AT_MOST."""
    counted = {
        **{f"delivery {state}": ("deliveries", f"state = '{state}'") for state in _OPEN},
        "due": ("deliveries", f"state = '{DeliveryState.PENDING}' AND due_at <= :now"),
        **{f"letter {one}": ("dead_letters", f"state = 'open' AND reason = '{one}'") for one in DeadLetterReason},
        **{f"endpoint {state}": ("endpoints", f"state = '{state}'") for state in EndpointState},
    }
    limit = COUNTED_AT_MOST if at_most is None else at_most
    counts = ", ".join(
        f'(SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {condition} LIMIT {limit}) AS c) AS "{name}"'
        for name, (table, condition) in counted.items()
    )
    await prefer_indexes(tx)
    oldest = f"(SELECT min(due_at) FROM deliveries WHERE state = '{DeliveryState.PENDING}' AND due_at <= :now)"
    row = (await execute(tx, f"SELECT {counts}, {oldest} AS oldest", now=now)).mappings().one()
    reasons = {one: row[f"letter {one}"] for one in DeadLetterReason}
    return OpenCounts(
        deliveries={state: row[f"delivery {state}"] for state in _OPEN},
        due=row["due"],
        oldest_due_at=read_time(row["oldest"]),
        dead_letters={reason: count for reason, count in reasons.items() if count},
        endpoints={state: row[f"endpoint {state}"] for state in EndpointState},
    )


async def count_open_of_endpoint(tx: Transaction, endpoint_id: str) -> dict[DeliveryState, int]:
    """An endpoint's deliveries that have not ended, by state; at most COUNTED_OF_ENDPOINT, and as many queued."""
    await prefer_indexes(tx)
    some = "SELECT state FROM deliveries WHERE endpoint_id = :endpoint_id AND state {condition} LIMIT {limit}"
    states = ", ".join(f"'{state}'" for state in _OPEN if state is not DeliveryState.QUEUED)
    parts = [
        f"SELECT * FROM ({some.format(condition=condition, limit=COUNTED_OF_ENDPOINT)}) AS p"
        for condition in (f"IN ({states})", f"= '{DeliveryState.QUEUED}'")
    ]
    query = f"SELECT state, count(*) AS number FROM ({' UNION ALL '.join(parts)}) AS c GROUP BY state"
    found = {row.state: row.number for row in await execute(tx, query, endpoint_id=endpoint_id)}
    return {state: found.get(state, 0) for state in _OPEN}


async def prefer_indexes(tx: Transaction) -> None:
    """For the rest of the transaction PostgreSQL reads no table from end to end, however old its statistics are."""
    if not is_sqlite(tx):
        # What has no index costs a planner so much then that it would compile the statement, or start processes for
        # it. Both take longer than the statement.
        off = ("enable_seqscan", "off"), ("jit", "off"), ("max_parallel_workers_per_gather", "0")
        await tx.execute(text("SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in off)))
