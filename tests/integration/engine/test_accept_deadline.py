"""A database that does not answer: publishers get an error in time, and what was refused is not accepted later."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from sendoff.accounts import organizations
from sendoff.errors import Unavailable
from sendoff.idempotency import StoredResponse
from sendoff.publishing import batcher
from sendoff.publishing.batcher import PublishBatcher
from sendoff.publishing.once import KeyedEvent, publish_each_once
from sendoff.publishing.publish import NewEvent, publish
from sendoff.publishing.turns import PublishTurns
from tests.support.app_fixture import ACTOR, AppFixture, open_app
from tests.support.databases import LiveDatabase, PostgresDatabase, SqliteFile
from tests.support.polling import eventually
from tests.support.postgres import PostgresServer

EVENT = NewEvent("upload.completed", b'{"n":1}')
_WAITING = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE NOT l.granted"
COUNT = "SELECT count(*) FROM events"


@pytest.fixture(params=["sqlite", "postgres"])
def live(request: pytest.FixtureRequest) -> LiveDatabase:
    url = request.getfixturevalue(f"{request.param}_url")
    if request.param == "sqlite":
        return SqliteFile(Path(url.partition(":///")[2]))
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return PostgresDatabase(server, url)


async def publisher(app: AppFixture) -> tuple[PublishBatcher, str]:
    minted = await organizations.create_key(
        app.context,
        ACTOR,
        organization_id=app.principal.organization_id,
        email="backend@example.com",
        scopes=["events:write"],
    )
    return PublishBatcher(app.context), f"Bearer {minted.key}"


@pytest.mark.parametrize("deliveries_at_most", [batcher.DELIVERIES_AT_MOST, -1], ids=["together", "apart"])
async def test_an_event_answered_with_an_error_is_not_accepted_later(
    live: LiveDatabase, monkeypatch: pytest.MonkeyPatch, deliveries_at_most: int
) -> None:
    """Setup: a lock on deliveries. Timeline: publish, wait for the errors, release the lock, publish once more.

    What this proves: neither a transaction that waited for the lock nor the requests behind it were committed, whether
    they share one or have their own.
    """
    monkeypatch.setattr(batcher, "DELIVERIES_AT_MOST", deliveries_at_most)
    monkeypatch.setattr(batcher, "ANSWER_SECONDS", 0.6)
    monkeypatch.setattr(batcher, "LEAST_SECONDS", 0.1)
    async with open_app(live.url) as app:
        line, bearer = await publisher(app)
        await line.publish(bearer, [EVENT])
        with live.locked():
            first = asyncio.create_task(line.publish(bearer, [EVENT]))
            await asyncio.sleep(0.05)  # the others come while its transaction is under way
            others = [asyncio.create_task(line.publish(bearer, [EVENT])) for _ in range(5)]
            answers = await asyncio.gather(first, *others, return_exceptions=True)
            assert {type(answer) for answer in answers} == {Unavailable}
            assert "may or may not have been accepted" in str(answers[0])
            if isinstance(live, PostgresDatabase):
                waiting = f"{_WAITING} AND d.datname = '{live.name}'"
                await eventually(
                    lambda: live.query(waiting) == [("0",)], within=20, what="the server gave up the statement"
                )
        await eventually(lambda: _accepts(line, bearer), within=20, what="events are accepted again")
        assert live.query(COUNT) == [("2",)]


async def test_waiting_for_others_of_the_organization_counts_as_waiting(sqlite_url: str) -> None:
    async with open_app(sqlite_url) as app:
        organization_id = app.principal.organization_id
        stored, keyed = StoredResponse(202, b""), [KeyedEvent(EVENT, "key")]
        async with app.context.service(PublishTurns.of).taken(organization_id, None):
            with pytest.raises(Unavailable, match="were not accepted"):
                await publish(app.context, organization_id, [EVENT], answer=lambda _: stored, within=0.05)
            with pytest.raises(Unavailable, match="were not accepted"):
                await publish_each_once(app.context, organization_id, keyed, answer=lambda _: b"", within=0.05)


async def test_more_than_may_wait_is_refused_at_once(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher, "WAITING_BYTES_AT_MOST", 10)
    async with open_app(sqlite_url) as app:
        line, bearer = await publisher(app)
        await line.publish(bearer, [EVENT])
        with pytest.raises(Unavailable, match="wait for the database"):
            await line.publish(bearer, [EVENT, EVENT])
        await line.publish(bearer, [EVENT])


async def test_a_client_that_leaves_while_it_waits_publishes_nothing(sqlite_url: str) -> None:
    live = SqliteFile(Path(sqlite_url.partition(":///")[2]))
    async with open_app(sqlite_url) as app:
        line, bearer = await publisher(app)
        with live.locked():
            first = asyncio.create_task(line.publish(bearer, [EVENT]))
            await asyncio.sleep(0.05)
            left = asyncio.create_task(line.publish(bearer, [EVENT]))
            await asyncio.sleep(0.05)
            left.cancel()
        await first
        await line.publish(bearer, [EVENT])
        async with app.transaction() as tx:
            assert (await tx.execute(text(COUNT))).scalar_one() == 2


async def _accepts(line: PublishBatcher, bearer: str) -> bool:
    try:
        await line.publish(bearer, [EVENT])
    except Unavailable:
        return False
    return True
