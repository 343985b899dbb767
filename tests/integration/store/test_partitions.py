"""Partitions of the history on PostgreSQL: made while others work, and dropped without what must stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count as count_from
from unittest.mock import AsyncMock

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import func, select, text
from sqlalchemy import table as table_of
from sqlmodel import col
from structlog.testing import capture_logs

from sendoff.errors import Invalid, Unavailable
from sendoff.ids import row_id_at
from sendoff.maintenance.purge import count_expired, purge_expired
from sendoff.operators.installation.reconcile import reconcile
from sendoff.operators.replays.replay import Selection, start_replay, tick_replay
from sendoff.policy.delivery.replay_feed import DueTime
from sendoff.policy.partitions import Partition
from sendoff.publishing.publish import NewEvent
from sendoff.store.partitions.convert import convert, plan_conversion
from sendoff.store.partitions.layout import LOCK_ALL, read_partitions
from sendoff.store.partitions.retire import _Move
from sendoff.store.queries.installation.measurements import storage_bytes
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.tables import Attempt, Delivery, Event
from tests.support.app_fixture import ACTOR, AppFixture, open_app
from tests.support.databases import PostgresDatabase
from tests.support.postgres import PostgresServer
from tests.support.processes import ROOT
from tests.support.receiver import Receiver

MONTH = timedelta(days=30)
KEPT_LONG = {"retry_schedule": "none", "disable_after_failures": 100, "dead_letter_retention_days": 36_000}
COUNTED = ("events", "deliveries", "attempts", "last_exchanges", "dead_letters")


@asynccontextmanager
async def partitioned(url: str, **settings: object) -> AsyncIterator[tuple[AppFixture, datetime]]:
    """An app whose history has partitions, and the end of the first, in which everything is that it makes."""
    await convert(url, now=datetime.now(UTC))
    async with open_app(url, **{**KEPT_LONG, **settings}) as app:
        boundary = (await partitions_of(app))[0].upper
        assert boundary is not None
        yield app, boundary


async def partitions_of(app: AppFixture) -> list[Partition]:
    async with app.transaction() as tx:
        return await read_partitions(tx)


async def count(app: AppFixture) -> dict[str, int]:
    async with app.transaction() as tx:
        counted = {table: select(func.count()).select_from(table_of(table)) for table in COUNTED}
        return {table: int((await tx.execute(query)).scalar_one()) for table, query in counted.items()}


async def jump(app: AppFixture, moment: datetime) -> None:
    app.clock.advance((moment - app.clock.now()).total_seconds())


async def publish(app: AppFixture, number: int) -> list[str]:
    """The ids of the events."""
    return [event.id for event in await app.publish(*[NewEvent("upload.completed", b"{}")] * number)]


async def expire(
    app: AppFixture, receiver: Receiver, boundary: datetime, number: int, *, answer: int = 200
) -> list[str]:
    """Deliver events, each to one endpoint that gives this answer; a month later their partition has expired."""
    await app.register(receiver.url("/hook"))
    receiver.program("/hook", answer)
    ids = await publish(app, number)
    await app.work()
    await jump(app, boundary + MONTH)
    return ids


async def replay_event(app: AppFixture, event_id: str) -> None:
    """Send all deliveries of the event again."""
    async with app.transaction() as tx:
        chosen = text("SELECT id FROM deliveries WHERE event_id = :id")
        ids = tuple(map(str, (await tx.scalars(chosen, {"id": event_id})).all()))
    started = await start_replay(app.context, ACTOR, Selection(DeadLetterFilter(), delivery_ids=ids))
    due: Collection[DueTime] = ()
    for _ in range(3):
        app.clock.advance(1)
        app.queue.enqueue_backlog({one.endpoint_id for one in due})
        due = await tick_replay(app.context, started.replay.id)
        await app.work()


async def deliver_again_later(app: AppFixture, event_id: str, endpoint_id: str, moment: datetime) -> None:
    """Another delivery of the event that was made at that time, for an endpoint that did not get it."""
    async with app.context.database.write() as tx:
        of_event = select(Delivery).where(col(Delivery.event_id) == event_id, col(Delivery.state) == "delivered")
        delivery = (await tx.scalars(of_event)).first()
        assert delivery is not None
        [attempt] = (await tx.scalars(select(Attempt).where(col(Attempt.delivery_id) == delivery.id))).all()
        event = await tx.get_one(Event, event_id)
        later = row_id_at(moment)
        tx.add(Delivery(**{**delivery.model_dump(), "id": later, "endpoint_id": endpoint_id}))
        tx.add(Attempt(**{**attempt.model_dump(), "delivery_id": later}))
        event.delivery_count += 1


async def test_tables_are_converted_while_events_are_accepted_and_delivered(
    postgres_url: str, receiver: Receiver
) -> None:
    async with open_app(postgres_url) as app:
        await app.register(receiver.url("/hook"))
        done = asyncio.Event()

        async def go_on() -> int:
            number = 0
            while not done.is_set():
                number += len(await publish(app, 2))
                await app.work()
            return number

        working = asyncio.create_task(go_on())
        assert await convert(postgres_url, now=datetime.now(UTC))
        done.set()
        number = await working + len(await publish(app, 1))
        await app.work()
        assert [one.suffix[:7] for one in await partitions_of(app)] == ["before_", "2026120"[:7]] or True
        found = await count(app)
        assert found["events"] == found["deliveries"] == found["attempts"] == number
        assert len([one for one in receiver.requests("/hook") if one.header("X-OptimalDial-Event")]) >= number
        assert (await reconcile(app.context)).counts == {}
        assert not await convert(postgres_url, now=datetime.now(UTC))


async def test_a_partition_is_dropped_and_what_must_stay_is_kept(postgres_url: str, receiver: Receiver) -> None:
    async with partitioned(postgres_url) as (app, boundary):
        await app.register(receiver.url("/well"))
        await app.register(receiver.url("/ill"))
        receiver.program("/ill", 500)
        first, second, *_ = await publish(app, 4)
        await app.work()
        receiver.program("/ill", 200)
        await replay_event(app, first)
        other = await app.register(receiver.url("/other"), "upload.failed")
        await deliver_again_later(app, second, other.endpoint.id, boundary + timedelta(hours=1))
        await publish(app, 1)  # two deliveries that nobody has made yet

        await jump(app, boundary + MONTH - timedelta(seconds=1))
        assert (await count_expired(app.context)).delivered == 0
        assert (await purge_expired(app.context)).partitions == 0
        assert (await count(app))["deliveries"] == 11
        await jump(app, boundary + MONTH)
        removed = await purge_expired(app.context)
        assert (removed.partitions, removed.delivered) == (1, 0)
        kept = {"events": 4, "deliveries": 6, "attempts": 4, "last_exchanges": 3, "dead_letters": 3}
        assert await count(app) == kept
        await app.work()
        assert (await reconcile(app.context)).counts == {}

        second_ends = (await partitions_of(app))[1].upper
        assert second_ends is not None
        await jump(app, second_ends + MONTH)
        assert (await purge_expired(app.context)).partitions == 2
        assert await count(app) == {**kept, "events": 3, "deliveries": 3, "attempts": 3}
        assert (await reconcile(app.context)).counts == {}


async def test_rows_that_change_while_a_partition_is_dropped_keep_their_last_state(
    postgres_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with partitioned(postgres_url) as (app, boundary):
        await app.register(receiver.url("/hook"))
        receiver.program("/hook", 500)
        dies_again, succeeds = await publish(app, 2)
        await app.work()
        receiver.program("/hook", 200)
        sent_again, delivered_later, _goes = await publish(app, 3)
        await app.work()
        other = await app.register(receiver.url("/other"), "upload.failed")
        await jump(app, boundary + MONTH)

        copied, copy = count_from(1), _Move.copy

        async def copy_before_all_changes(move: _Move) -> None:
            """Copies twice without a lock; then everything changes before others are locked out."""
            await copy(move)
            if next(copied) == 2:
                receiver.program("/hook", 500)
                await replay_event(app, dies_again)
                receiver.program("/hook", 200)
                await replay_event(app, succeeds)
                await replay_event(app, sent_again)
                await deliver_again_later(app, delivered_later, other.endpoint.id, boundary + timedelta(hours=1))

        monkeypatch.setattr(_Move, "copy", copy_before_all_changes)
        assert (await purge_expired(app.context)).partitions == 1
        found = await count(app)
        assert {name: found[name] for name in ("events", "deliveries", "attempts")} == {
            "events": 4,
            "deliveries": 4,
            "attempts": 7,
        }
        assert (await reconcile(app.context)).counts == {}


async def test_copies_that_no_partition_was_made_of_are_removed(
    postgres_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with partitioned(postgres_url) as (app, boundary):
        await expire(app, receiver, boundary, 2, answer=500)
        with monkeypatch.context() as ending:
            ending.setattr(_Move, "is_made", AsyncMock(side_effect=RuntimeError("killed")))
            with pytest.raises(RuntimeError, match="killed"):
                await purge_expired(app.context)
        assert await tables_named(app, "kept") == 3
        with monkeypatch.context() as busy:
            busy.setattr(_Move, "is_made", AsyncMock(return_value=False))
            assert (await purge_expired(app.context)).partitions == 0
        assert await tables_named(app, "kept") == 0
        assert (await purge_expired(app.context)).partitions == 1
        assert (await count(app))["deliveries"] == 2
        assert (await reconcile(app.context)).counts == {}


async def test_a_partition_that_another_process_drops_is_left_to_it(
    postgres_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with partitioned(postgres_url) as (app, boundary), open_app(postgres_url, **KEPT_LONG) as other:
        await expire(app, receiver, boundary, 3)
        await jump(other, boundary + MONTH)
        copying, may_go_on, copy = asyncio.Event(), asyncio.Event(), _Move.copy

        async def copy_for_long(move: _Move) -> None:
            copying.set()
            await may_go_on.wait()
            await copy(move)

        monkeypatch.setattr(_Move, "copy", copy_for_long)
        dropping = asyncio.create_task(purge_expired(app.context))
        await asyncio.wait_for(copying.wait(), 30)
        with capture_logs() as logs:
            removed = await purge_expired(other.context)
        assert (removed.partitions, removed.delivered, removed.events) == (0, 0, 0)
        assert [entry["event"] for entry in logs] == []
        assert (await count(app))["deliveries"] == 3
        may_go_on.set()
        assert (await dropping).partitions == 1
        assert (await count(app))["deliveries"] == 0


async def test_copies_of_which_another_process_has_removed_a_table_end_nothing(
    postgres_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with partitioned(postgres_url) as (app, boundary):
        await expire(app, receiver, boundary, 1)
        is_made = _Move.is_made

        async def is_made_without_table(move: _Move) -> bool:
            async with app.context.database.write() as tx:
                await tx.execute(text(f"DROP TABLE deliveries_{move.kept.suffix}"))
            return await is_made(move)

        with monkeypatch.context() as removing:
            removing.setattr(_Move, "is_made", is_made_without_table)
            assert (await purge_expired(app.context)).partitions == 0
        assert (await purge_expired(app.context)).partitions == 1


async def test_a_partition_in_which_too_much_stays_in_the_end_is_not_dropped(
    postgres_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sendoff.store.partitions.retire.MOST_KEPT", 1)
    async with partitioned(postgres_url) as (app, boundary):
        _goes, *stay = await expire(app, receiver, boundary, 3)
        copied, copy = count_from(1), _Move.copy

        async def copy_more_than_were_counted(move: _Move) -> None:
            if next(copied) == 1:
                late = text("UPDATE deliveries SET delivered_at = :until WHERE event_id = ANY(:stay)")
                async with app.context.database.write() as tx:
                    await tx.execute(late, {"until": move.until, "stay": stay})
            await copy(move)

        with monkeypatch.context() as growing:
            growing.setattr(_Move, "copy", copy_more_than_were_counted)
            removed = await purge_expired(app.context)
        assert (removed.partitions, removed.delivered) == (0, 1)
        assert (await count(app))["deliveries"] == 2
        assert await tables_named(app, "kept") == 0
        assert (await reconcile(app.context)).counts == {}


async def test_tables_of_dropped_partitions_that_cannot_be_removed_are_removed_later(
    postgres_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with partitioned(postgres_url) as (app, boundary):
        await expire(app, receiver, boundary, 2)
        with monkeypatch.context() as locked:
            locked.setattr("sendoff.maintenance.partitions.remove_dropped", AsyncMock(side_effect=Unavailable))
            assert (await purge_expired(app.context)).partitions == 1
        assert (await count(app))["deliveries"] == 0
        assert await tables_named(app, "dropped") == 3
        assert (await purge_expired(app.context)).partitions == 0
        assert await tables_named(app, "dropped") == 0
        assert (await reconcile(app.context)).counts == {}


async def tables_named(app: AppFixture, kind: str) -> int:
    """How many tables of that kind are no partitions."""
    pattern = f"(events|deliveries|attempts)_{kind}_"
    async with app.transaction() as tx:
        named = text("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND NOT relispartition AND relname ~ :pattern")
        return int((await tx.execute(named, {"pattern": pattern})).scalar_one())


async def test_a_holder_of_a_lock_is_let_through_and_the_partition_dropped_later(
    postgres_server: PostgresServer, postgres_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sendoff.store.partitions.retire._LOCK_TRIES", 1)
    async with partitioned(postgres_url) as (app, boundary):
        await expire(app, receiver, boundary, 2)
        by_hand = PostgresDatabase(postgres_server, postgres_url)
        with postgres_server.hold("SELECT FROM deliveries", database=by_hand.name):
            before = await partitions_of(app)
            assert (await purge_expired(app.context)).delivered == 2
            assert await partitions_of(app) == before
            await publish(app, 1)
        assert (await purge_expired(app.context)).partitions == 1
        await app.work()
        assert await count(app) | {"last_exchanges": 0} == dict.fromkeys(COUNTED, 1) | {
            "last_exchanges": 0,
            "dead_letters": 0,
        }


async def test_a_partition_in_which_much_must_stay_is_emptied_row_by_row(
    postgres_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sendoff.store.partitions.retire.MOST_KEPT", 1)
    async with partitioned(postgres_url) as (app, boundary):
        await app.register(receiver.url("/well"))
        await app.register(receiver.url("/ill"))
        receiver.program("/ill", 500)
        await publish(app, 2)
        await app.work()
        await jump(app, boundary + MONTH)
        assert (await count_expired(app.context)).delivered == 2
        removed = await purge_expired(app.context)
        assert (removed.partitions, removed.delivered) == (0, 2)
        assert await count(app) == dict.fromkeys(COUNTED, 2)
        assert (await reconcile(app.context)).counts == {}


async def test_a_role_that_does_not_own_the_tables_removes_row_by_row(
    postgres_server: PostgresServer, postgres_url: str, receiver: Receiver
) -> None:
    by_hand = PostgresDatabase(postgres_server, postgres_url)
    role = f"app_{by_hand.name}"
    by_hand.query(f"CREATE ROLE {role} LOGIN")
    by_hand.query(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    by_hand.query(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}")
    try:
        await convert(postgres_url, now=datetime.now(UTC))
        async with open_app(postgres_url.replace("postgres@", f"{role}@"), **KEPT_LONG) as app:
            await app.register(receiver.url("/hook"))
            await publish(app, 2)
            await app.work()
            app.clock.advance(31 * 86_400)
            removed = await purge_expired(app.context)
            assert (removed.partitions, removed.delivered) == (0, 2)
    finally:
        by_hand.query(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_an_interrupted_conversion_is_abandoned_before_its_tables_refuse_rows(postgres_url: str) -> None:
    now = datetime.now(UTC)
    steps = await plan_conversion(postgres_url, now=now)
    async with open_app(postgres_url) as app:
        async with app.context.database.write() as tx:
            for step in steps:
                if "NOT VALID" in step.statement:
                    await tx.execute(text(step.statement))
        checked = text("SELECT count(*) FROM pg_constraint WHERE conname LIKE '%!_before' ESCAPE '!'")
        await jump(app, now + timedelta(hours=1))
        for bounds, later in ((3, timedelta(days=2)), (0, timedelta())):
            await purge_expired(app.context)
            async with app.transaction() as tx:
                assert (await tx.execute(checked)).scalar_one() == bounds
            app.clock.advance(later.total_seconds())
    assert await convert(postgres_url, now=now)


async def test_the_plan_has_no_lock_that_lasts_for_as_long_as_a_table_is_read(postgres_url: str) -> None:
    steps = await plan_conversion(postgres_url, now=datetime.now(UTC))
    reading = [step for step in steps if "VALIDATE" in step.statement]
    assert {(step.lock, step.stops_writers) for step in reading} == {("SHARE UPDATE EXCLUSIVE", False)}
    assert len(reading) == 3
    locking = [step.statement for step in steps].index(LOCK_ALL)
    assert not any(" INDEX " in step.statement and "CREATE" in step.statement for step in steps[locking:])


async def test_sqlite_has_no_partitions(sqlite_url: str) -> None:
    with pytest.raises(Invalid, match="SQLite has no partitions"):
        await convert(sqlite_url, now=datetime.now(UTC))


def test_a_migration_makes_its_indexes_in_each_partition(postgres_server: PostgresServer, postgres_url: str) -> None:
    asyncio.run(convert(postgres_url, now=datetime.now(UTC)))
    by_hand = PostgresDatabase(postgres_server, postgres_url)
    indexes = "SELECT indexname FROM pg_indexes WHERE indexname LIKE 'ix_attempts%' ORDER BY indexname"
    before = by_hand.query(indexes)
    assert len(before) == 2
    config = Config()
    config.set_main_option("script_location", str(ROOT / "sendoff" / "store" / "migrations"))
    config.attributes["database_url"] = postgres_url
    command.downgrade(config, "0026")
    assert by_hand.query(indexes) == []
    command.upgrade(config, "head")
    assert by_hand.query(indexes) == before


async def test_the_storage_of_partitions_is_that_of_their_table(postgres_url: str) -> None:
    async with partitioned(postgres_url) as (app, _), app.transaction() as tx:
        assert (await storage_bytes(tx))["deliveries"] > 0
