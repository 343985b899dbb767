"""Figures of the whole installation besides `overview.py`: at any number of deliveries they cost the same."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import col, select

from sendoff.policy.partitions import row_by_row
from sendoff.policy.states import DeliveryState, EndpointState
from sendoff.store.engine.batch import execute, is_sqlite, read_time
from sendoff.store.engine.database import Transaction
from sendoff.store.partitions.layout import read_partitions
from sendoff.store.queries.installation.retention import created_before
from sendoff.store.tables import Endpoint
from sendoff.store.vault import KEY_ID_PLACE

_SHOWN_TABLES = (
    "attempts",
    "audit_log",
    "dead_letters",
    "deliveries",
    "endpoints",
    "events",
    "idempotency_records",
    "last_exchanges",
    "replay_items",
    "uploads",
)
_STUCK_AFTER = timedelta(minutes=1)


async def oldest_due(tx: Transaction, *, now: datetime) -> float:
    """For how many seconds the delivery has been due that waits for a worker for longest; 0 if none does."""
    query = """
        SELECT min(since) AS since FROM (
            SELECT min(due_at) AS since FROM deliveries WHERE state = 'pending'
            UNION ALL SELECT min(leased_until) FROM deliveries WHERE state = 'in_flight'
        ) AS firsts
    """
    since = read_time((await execute(tx, query)).scalar_one())
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())


async def count_replays(tx: Transaction, *, now: datetime) -> tuple[int, int]:
    """The running replays, and those of them that have deliveries to send and had no turn for a minute."""
    query = """
        SELECT count(*) AS running, count(CASE WHEN r.ticked_at < :until AND EXISTS (
            SELECT 1 FROM replay_items i WHERE i.replay_id = r.id AND i.state = 'waiting'
        ) THEN 1 END) AS stuck
        FROM replays r WHERE r.state = 'running'
    """
    row = (await execute(tx, query, until=now - _STUCK_AFTER)).one()
    return row.running, row.stuck


async def storage_bytes(tx: Transaction) -> dict[str, int]:
    """What each large table takes with its indexes; on SQLite the whole file, as `database`."""
    if is_sqlite(tx):
        query = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        return {"database": (await execute(tx, query)).scalar_one()}
    query = """
        SELECT relname, pg_total_relation_size(oid)
            + COALESCE((SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree(oid) WHERE isleaf), 0)::bigint
            AS bytes
        FROM pg_class WHERE oid = ANY(ARRAY[{}]::oid[])
    """
    names = ", ".join(f"to_regclass('{name}')" for name in _SHOWN_TABLES)
    return {row.relname: row.bytes for row in await execute(tx, query.format(names))}


async def retention_lag(tx: Transaction, *, delivered_until: datetime, dead_until: datetime) -> float:
    """For how many seconds the oldest row that is past its retention has been so; 0 if none is.

    Deliveries that leave with their partition stay a little longer than their retention.
    """
    left = row_by_row(await read_partitions(tx), until=delivered_until)
    created, bound = created_before(left.created_until, "id")
    dead: tuple[str, dict[str, str], datetime] = ("min(died_at) FROM dead_letters", {}, dead_until)
    delivered = (
        f"min(delivered_at) FROM deliveries WHERE state = '{DeliveryState.DELIVERED}' {created}",
        bound,
        delivered_until,
    )
    lags = [0.0]
    for oldest_of, parameters, until in [dead] if left.nothing else [dead, delivered]:
        oldest = read_time((await execute(tx, f"SELECT {oldest_of}", **parameters)).scalar_one())
        if oldest is not None:
            lags.append((until - oldest).total_seconds())
    return max(lags)


async def count_secrets_by_key(tx: Transaction) -> dict[str, int]:
    """The signing secrets of endpoints that are not deleted, by the id of the key that they are sealed under."""
    counted: Counter[str] = Counter()
    for column in (col(Endpoint.secret), col(Endpoint.previous_secret)):
        key_id = func.substr(column, *KEY_ID_PLACE)
        query = select(key_id, func.count()).where(column.is_not(None), col(Endpoint.state) != EndpointState.DELETED)
        counted.update({bytes(found).hex(): n for found, n in (await tx.execute(query.group_by(key_id))).all()})
    return dict(counted)
