"""A history of millions of deliveries in partitions, made by PostgreSQL itself.

The server logs nothing while it is filled, and makes each partition's indexes when its rows are there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.fixtures import EVENT_TYPE
from bench.measurement.databases import POSTGRES_SETTINGS, Postgres
from bench.scale.rows import SeedEndpoint
from sendoff.policy.partitions import Partition, length_of, next_boundary
from sendoff.store.engine.database import Database, Transaction, migrate
from sendoff.store.partitions.convert import convert
from sendoff.store.partitions.layout import HISTORY, add_index, named, read_indexes, read_partitions, run
from sendoff.store.partitions.retire import add_partition

DAYS = 38
"""How long the history is: eight partitions at a retention of 30 days."""

ENDPOINTS = 1_000
ORGANIZATIONS = 100
DEAD_EVERY = 1_000
"""Deliveries of which one is dead, and stays when its partition is dropped."""

_AT_ONCE = 250_000
_QUIET_ROWS = 100  # at the beginning of the history, of an endpoint and an organization that get nothing else
_FILLING = POSTGRES_SETTINGS | {
    # What is written to a table that the same transaction truncated is not logged.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "maintenance_work_mem": "256MB",
}

_ENDPOINT_ID = "('01900000-0000-7000-8000-' || lpad(({})::text, 12, '0'))::uuid"
_ORGANIZATION_ID = "('01900000-0000-7000-9000-' || lpad(({})::text, 12, '0'))::uuid"
_URL = "https://bench.example/hook"

_OWNERS = (
    f"""
    INSERT INTO organizations (id, name, created_at)
    SELECT {_ORGANIZATION_ID.format("i")}, 'bench ' || i, now() FROM generate_series(0, {ORGANIZATIONS}) AS i
    """,  # noqa: S608 - constants of this module
    f"""
    INSERT INTO endpoints (id, organization_id, dialect, url, events, state, secret, consecutive_failures, drain_due,
        ordered, last_sequence, created_at, updated_at, last_success_at)
    SELECT {_ENDPOINT_ID.format("i")},
        {_ORGANIZATION_ID.format(f"CASE WHEN i = {ENDPOINTS} THEN {ORGANIZATIONS} ELSE i % {ORGANIZATIONS} END")},
        'standard', '{_URL}', '["*"]', 'active', '', 0, FALSE, FALSE, 0, now(), now(), now()
    FROM generate_series(0, {ENDPOINTS}) AS i
    """,  # noqa: S608 - constants of this module
)
_MADE = f"""
    CREATE TEMP TABLE made AS
    SELECT to_timestamp(ms / 1000.0) AS at, 'evt_' || h || substr(r, 1, 12) AS event_id,
        (substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-7' || substr(r, 1, 3) || '-8' || substr(r, 4, 3) || '-'
            || substr(r, 7, 12))::uuid AS id,
        {_ENDPOINT_ID.format("endpoint")} AS endpoint_id,
        {_ORGANIZATION_ID.format(f"CASE WHEN endpoint = {ENDPOINTS} THEN {ORGANIZATIONS} ELSE endpoint % {ORGANIZATIONS} END")}
            AS organization_id,
        i % {DEAD_EVERY} = 7 AS is_dead
    FROM (
        SELECT i, md5(i::text) AS r, CASE WHEN i < {_QUIET_ROWS} THEN {ENDPOINTS} ELSE i % {ENDPOINTS} END AS endpoint,
            {{first}}::bigint + i::bigint * {{span}}::bigint / {{number}} AS ms,
            lpad(to_hex({{first}}::bigint + i::bigint * {{span}}::bigint / {{number}}), 12, '0') AS h
        FROM generate_series({{begin}}, {{end}}) AS i
    ) AS timed
"""  # noqa: S608, E501 - constants of this module
_ROWS = (
    f"""
    INSERT INTO events (id, organization_id, type, data, occurred_at, created_at, delivery_count)
    SELECT event_id, organization_id, '{EVENT_TYPE}', '{{"upload":{{"id":"' || event_id || '"}}}}', at, at, 1 FROM made
    """,  # noqa: S608 - constants of this module
    """
    INSERT INTO deliveries (id, event_id, endpoint_id, organization_id, state, attempt_count, created_at,
        last_attempt_at, last_response_status, delivered_at)
    SELECT id, event_id, endpoint_id, organization_id, CASE WHEN is_dead THEN 'dead' ELSE 'delivered' END, 1, at, at,
        CASE WHEN is_dead THEN 500 ELSE 200 END, CASE WHEN NOT is_dead THEN at END FROM made
    """,
    """
    INSERT INTO attempts (delivery_id, number, started_at, duration_ms, outcome, response_status)
    SELECT id, 1, at, 5, CASE WHEN is_dead THEN 'http_500' ELSE 'ok' END, CASE WHEN is_dead THEN 500 ELSE 200 END
    FROM made
    """,
    f"""
    INSERT INTO dead_letters (id, delivery_id, event_id, event_type, endpoint_id, endpoint_url, organization_id,
        reason, last_response_status, attempt_count, died_at, state)
    SELECT id, id, event_id, '{EVENT_TYPE}', endpoint_id, '{_URL}', organization_id, 'retries_exhausted', 500, 1, at,
        'open'
    FROM made WHERE is_dead
    """,  # noqa: S608 - constants of this module
    "DROP TABLE made",
)


@dataclass(frozen=True, slots=True)
class _History:
    """`number` deliveries, created evenly between two moments, which are milliseconds since 1970."""

    number: int
    first: int
    last: int

    def pieces(self, partition: Partition) -> Iterator[str]:
        """The statements that make the rows of that partition, some of them at a time."""
        begin, end = self._before(partition.lower, 0), self._before(partition.upper, self.number)
        for start in range(begin, end, _AT_ONCE):
            yield _MADE.format(
                first=self.first,
                span=self.last - self.first,
                number=self.number,
                begin=start,
                end=min(start + _AT_ONCE, end) - 1,
            )

    def _before(self, moment: datetime | None, otherwise: int) -> int:
        """How many of the deliveries were created before that moment."""
        if moment is None:
            return otherwise
        passed = int(moment.timestamp() * 1000) - self.first
        return min(self.number, max(0, -(-passed * self.number // (self.last - self.first))))


def endpoint(place: int) -> SeedEndpoint:
    """One of those that get deliveries; the one at ENDPOINTS got some long ago."""
    owner = ORGANIZATIONS if place == ENDPOINTS else place % ORGANIZATIONS
    return SeedEndpoint(f"01900000-0000-7000-8000-{place:012d}", f"01900000-0000-7000-9000-{owner:012d}", _URL)


def fill(directory: Path, number: int) -> None:
    """Make a PostgreSQL below `directory` with that many deliveries, unless it is there already."""
    done = directory / "filled"
    if done.exists():
        return
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)  # PostgreSQL may have to run as another user
    database, began = Postgres(directory, _FILLING), time.monotonic()
    try:
        migrate(database.url)
        asyncio.run(_fill(database.url, number))
    finally:
        database.stop()
    done.write_text(f"{number} deliveries in {time.monotonic() - began:.0f} s\n")


async def _fill(url: str, number: int) -> None:
    now = datetime.now(UTC)
    began = now - timedelta(days=DAYS)
    await convert(url, now=began)
    database = Database.open(url, command_seconds=None)
    history = _History(number, int(began.timestamp() * 1000), int((now - timedelta(hours=1)).timestamp() * 1000))
    try:
        await _make_partitions(database, now)
        async with database.write() as tx:
            await run(tx, _OWNERS)
            partitions = await read_partitions(tx)
        for partition in partitions:
            async with database.write() as tx:
                await _fill_partition(tx, history, partition)
        async with database.look() as tx:
            await run(tx, ["VACUUM (ANALYZE)"])
    finally:
        await database.close()


async def _make_partitions(database: Database, now: datetime) -> None:
    """Those that a worker would have made day by day."""
    while True:
        async with database.read() as tx:
            newest = (await read_partitions(tx))[-1]
        if newest.lower is None or newest.lower > now:
            return
        boundary = next_boundary(newest, now=newest.lower, length=length_of(30))
        if boundary is None or not await add_partition(database, newest, boundary):
            raise RuntimeError("a partition could not be made")


async def _fill_partition(tx: Transaction, history: _History, partition: Partition) -> None:
    tables = [named(table, partition) for table in HISTORY]
    indexes = {
        table: [one for one in await read_indexes(tx, table, suffix=partition.suffix) if not one.is_unique]
        for table in HISTORY
    }
    dropped = [f"DROP INDEX {one.name}_{partition.suffix}" for found in indexes.values() for one in found]
    await run(tx, [f"TRUNCATE {', '.join(tables)}", *dropped])
    for made in history.pieces(partition):
        await run(tx, [made, *_ROWS])
    await run(
        tx,
        [
            add_index(named(table, partition), partition.suffix, one)
            for table, found in indexes.items()
            for one in found
        ],
    )
