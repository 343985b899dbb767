"""Lists of deliveries: what is on a page, and that a page costs the same however much history there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, text

from sendoff.ids import event_id_at, row_id_at
from sendoff.policy.states import DeliveryState
from sendoff.store.engine.database import Database
from sendoff.store.queries.installation.overview import prefer_indexes
from sendoff.store.queries.traffic import delivery_history
from sendoff.store.queries.traffic.delivery_history import DeliveryFilter, scan_page
from sendoff.store.tables import Delivery, Endpoint, Event, Organization
from tests.support.postgres import PostgresServer

BEGIN = datetime(2026, 4, 24, tzinfo=UTC)
STEP = timedelta(hours=1)
DAYS = 12
TYPES = ("upload.completed", "upload.failed")
STATES = tuple(DeliveryState)
ORGANIZATIONS, ENDPOINTS = 3, 4  # endpoints of each


def identifier(kind: str, number: int) -> str:
    return f"0199c5a0-0000-7000-800{kind}-{number:012x}"


ORGANIZATION_IDS = [identifier("a", number) for number in range(ORGANIZATIONS)]
ENDPOINT_IDS = [identifier("e", number) for number in range(ORGANIZATIONS * ENDPOINTS)]


@dataclass(frozen=True)
class Row:
    """A delivery, and what its event is of."""

    number: int

    @property
    def created_at(self) -> datetime:
        return BEGIN + STEP * self.number

    @property
    def id(self) -> str:
        return identifier("d", self.number)

    @property
    def event_id(self) -> str:
        return f"evt_{self.number:024x}"

    @property
    def type(self) -> str:
        return TYPES[self.number % 3 == 0]

    @property
    def endpoint_id(self) -> str:
        return ENDPOINT_IDS[self.number * 7 % len(ENDPOINT_IDS)]

    @property
    def organization_id(self) -> str:
        return ORGANIZATION_IDS[ENDPOINT_IDS.index(self.endpoint_id) // ENDPOINTS]

    @property
    def state(self) -> DeliveryState:
        return STATES[self.number * 11 % len(STATES)]

    def matches(self, chosen: DeliveryFilter) -> bool:
        return (
            chosen.organization_id in (None, self.organization_id)
            and chosen.endpoint_id in (None, self.endpoint_id)
            and chosen.event_id in (None, self.event_id)
            and chosen.event_type in (None, self.type)
            and (chosen.states is None or self.state in chosen.states)
            and (chosen.since is None or self.created_at >= chosen.since)
            and (chosen.until is None or self.created_at < chosen.until)
        )


ROWS = [Row(number) for number in range(DAYS * 24)]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database.open(database_url)
    await fill(opened, ROWS)
    yield opened
    await opened.close()


async def fill(database: Database, rows: Sequence[Row]) -> None:
    organizations = [{"id": key, "name": "Acme", "created_at": BEGIN} for key in ORGANIZATION_IDS]
    endpoints = [
        Endpoint(
            id=key,
            organization_id=ORGANIZATION_IDS[number // ENDPOINTS],
            dialect="optimaldial",
            url="https://example.com",
            events=[],
            secret=b"sealed",
            created_at=BEGIN,
            updated_at=BEGIN,
        ).model_dump()
        for number, key in enumerate(ENDPOINT_IDS)
    ]
    events = [
        Event(
            id=row.event_id,
            organization_id=row.organization_id,
            type=row.type,
            data="{}",
            occurred_at=row.created_at,
            created_at=row.created_at,
            delivery_count=1,
        ).model_dump()
        for row in rows
    ]
    deliveries = [
        Delivery(
            id=row.id,
            event_id=row.event_id,
            endpoint_id=row.endpoint_id,
            organization_id=row.organization_id,
            state=row.state,
            created_at=row.created_at,
        ).model_dump()
        for row in rows
    ]
    async with database.write() as tx:
        for table, content in ((Organization, organizations), (Endpoint, endpoints), (Event, events)):
            await tx.execute(insert(table), content)
        await tx.execute(insert(Delivery), deliveries)


FILTERS = {
    "all": DeliveryFilter(),
    "an organization": DeliveryFilter(organization_id=ORGANIZATION_IDS[1]),
    "an endpoint": DeliveryFilter(organization_id=ORGANIZATION_IDS[1], endpoint_id=ENDPOINT_IDS[4]),
    "another organization's endpoint": DeliveryFilter(organization_id=ORGANIZATION_IDS[0], endpoint_id=ENDPOINT_IDS[4]),
    "dead ones": DeliveryFilter(states=(DeliveryState.DEAD,)),
    "dead ones of an endpoint": DeliveryFilter(endpoint_id=ENDPOINT_IDS[4], states=(DeliveryState.DEAD,)),
    "dead ones of an organization": DeliveryFilter(organization_id=ORGANIZATION_IDS[2], states=(DeliveryState.DEAD,)),
    "open ones": DeliveryFilter(states=(DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.IN_FLIGHT)),
    "a type": DeliveryFilter(event_type="upload.failed"),
    "a type of an organization": DeliveryFilter(organization_id=ORGANIZATION_IDS[0], event_type="upload.failed"),
    "an event of an organization": DeliveryFilter(organization_id=ROWS[5].organization_id, event_id=ROWS[5].event_id),
    "two days": DeliveryFilter(since=BEGIN + timedelta(days=4), until=BEGIN + timedelta(days=6)),
    "two days of an organization": DeliveryFilter(
        organization_id=ORGANIZATION_IDS[0], since=BEGIN + timedelta(days=4), until=BEGIN + timedelta(days=6)
    ),
    "an hour": DeliveryFilter(since=BEGIN + timedelta(days=5), until=BEGIN + timedelta(days=5, hours=1)),
}


@pytest.mark.parametrize("name", FILTERS)
async def test_page_after_page_a_list_shows_what_its_filter_means_newest_first(database: Database, name: str) -> None:
    chosen = FILTERS[name]
    shown: list[tuple[str, str]] = []
    before: str | None = None
    async with database.read() as tx:
        while found := (await scan_page(tx, chosen, limit=7, before=before)).rows:
            assert len(found) <= 7
            shown += [(delivery.id, event_type) for delivery, event_type, _ in found]
            before = shown[-1][0]
    assert shown == [(row.id, row.type) for row in reversed(ROWS) if row.matches(chosen)]


HISTORY = 20_000
MOST_ROWS = 400
"""Read for a page of 50 by whatever plan, of an organization of four endpoints; a scan would read all."""

QUIET = 1_000
"""This number of the oldest rows are all that organization 0 ever had."""


@dataclass(frozen=True)
class OldRow(Row):
    """Nearly everything is delivered, within minutes; one organization is quiet since, and three died long ago."""

    @property
    def created_at(self) -> datetime:
        return BEGIN + timedelta(minutes=10) * self.number

    @property
    def endpoint_id(self) -> str:
        first, last = (0, ENDPOINTS) if self.number < QUIET else (ENDPOINTS, len(ENDPOINT_IDS))
        return ENDPOINT_IDS[first + self.number % (last - first)]

    @property
    def state(self) -> DeliveryState:
        return DeliveryState.DEAD if self.number in (QUIET + 1, QUIET + 2, QUIET + 3) else DeliveryState.DELIVERED


@pytest.fixture(scope="module")
def long_history_url(_migrated_postgres: PostgresServer) -> Iterator[str]:
    """A database for tests that only read."""
    url = _migrated_postgres.create_database("long_history", template="sendoff_template")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, fill_and_analyze(url)).result()
    yield url
    _migrated_postgres.drop_database("long_history")


async def fill_and_analyze(url: str) -> None:
    database = Database.open(url)
    await fill(database, [OldRow(number) for number in range(HISTORY)])
    async with database.write() as tx:
        await tx.execute(text("ANALYZE"))
    await database.close()


@pytest.fixture
async def long_history(long_history_url: str) -> AsyncIterator[Database]:
    opened = Database.open(long_history_url)
    yield opened
    await opened.close()


COSTLY_FILTERS = {
    "all": (DeliveryFilter(), 50),
    "a quiet organization": (DeliveryFilter(organization_id=ORGANIZATION_IDS[0]), 50),
    "a quiet endpoint": (DeliveryFilter(endpoint_id=ENDPOINT_IDS[0]), 50),
    "dead ones": (DeliveryFilter(states=(DeliveryState.DEAD,)), 3),
    "dead ones of an endpoint": (
        DeliveryFilter(endpoint_id=OldRow(QUIET + 1).endpoint_id, states=(DeliveryState.DEAD,)),
        1,
    ),
    "dead ones of an organization": (
        DeliveryFilter(organization_id=ORGANIZATION_IDS[1], states=(DeliveryState.DEAD,)),
        len([number for number in (1, 2, 3) if OldRow(QUIET + number).organization_id == ORGANIZATION_IDS[1]]),
    ),
    "held ones of an endpoint": (
        DeliveryFilter(endpoint_id=ENDPOINT_IDS[-1], states=(DeliveryState.HELD,)),
        0,
    ),
}


@pytest.mark.parametrize("name", COSTLY_FILTERS)
async def test_a_page_is_not_looked_for_in_all_of_the_history(long_history: Database, name: str) -> None:
    chosen, expected = COSTLY_FILTERS[name]
    found, read = await page_and_rows_read(long_history, chosen)
    assert len(found) == expected
    assert read <= MOST_ROWS


async def page_and_rows_read(
    database: Database, chosen: DeliveryFilter, *, by_indexes: bool = False
) -> tuple[Sequence[object], int]:
    """`by_indexes`: the table is too small for the planner to use them by itself."""
    async with database.read() as tx:
        if by_indexes:
            await prefer_indexes(tx)
        found = (await scan_page(tx, chosen, limit=50)).rows
        rows = await tx.execute(
            text(
                "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))"
                " FROM pg_stat_xact_user_tables WHERE relname IN ('deliveries', 'events')"
            )
        )
        return found, int(rows.scalar_one())


RARE_OF = {
    "anybody": DeliveryFilter(event_type="never.happened"),
    "an organization": DeliveryFilter(organization_id=ORGANIZATION_IDS[1], event_type="never.happened"),
    "an endpoint": DeliveryFilter(endpoint_id=ENDPOINT_IDS[-1], event_type="never.happened"),
    "a request": DeliveryFilter(request_id="req_0123456789abcdef"),
}


@pytest.mark.parametrize("name", RARE_OF)
async def test_a_search_for_what_never_happened_does_not_read_all_of_the_history(
    long_history: Database, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_history, "SCANNED_AT_MOST", 100)
    monkeypatch.setattr(delivery_history, "SCATTERED_AT_MOST", 100)
    monkeypatch.setattr(delivery_history, "_SMALLEST_SHARE", 25)
    found, read = await page_and_rows_read(long_history, RARE_OF[name])
    assert not found
    assert read <= MOST_ROWS


@dataclass(frozen=True)
class TimedRow(OldRow):
    """Its ids begin with the time at which it was made, as the product's do."""

    @property
    def id(self) -> str:
        return row_id_at(self.created_at)

    @property
    def event_id(self) -> str:
        return event_id_at(self.created_at)


TIMED = 4_000
"""Rows, of which a day has 144; the newer half would be read without a bound."""


async def test_a_time_long_ago_is_found_by_ids_unless_clocks_differ(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same condition on the rows of another clock must find the same, however long it takes."""
    monkeypatch.setattr(delivery_history, "SCATTERED_AT_MOST", TIMED)  # one scan reads them all
    middle = TimedRow(TIMED // 2).created_at
    of_a_day = DeliveryFilter(since=middle - timedelta(days=1), until=middle)
    chosen = [of_a_day, replace(of_a_day, endpoint_id=ENDPOINT_IDS[-1])]
    chosen.append(replace(of_a_day, organization_id=ORGANIZATION_IDS[-1]))
    opened = Database.open(postgres_url)
    try:
        await fill(opened, [TimedRow(number) for number in range(TIMED)])
        async with opened.write() as tx:
            await tx.execute(text("ANALYZE"))
        in_time = [await page_and_rows_read(opened, one, by_indexes=True) for one in chosen]
        assert [len(found) for found, _ in in_time] == [50, 18, 50]
        assert max(read for _, read in in_time) <= TIMED // 3
        async with opened.write() as tx:
            await tx.execute(text("UPDATE deliveries SET created_at = created_at + interval '8 days'"))
        later = [replace(one, since=middle + timedelta(days=7), until=middle + timedelta(days=8)) for one in chosen]
        assert [len((await page_and_rows_read(opened, one))[0]) for one in later] == [50, 18, 50]
    finally:
        await opened.close()
