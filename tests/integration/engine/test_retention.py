"""Retention: what is finished leaves after its time with all that belongs to it, and nothing else ever does."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, text

from sendoff.maintenance.purge import Removed, purge_expired
from sendoff.operators.actions import discard_dead_letter
from sendoff.operators.installation.reconcile import reconcile
from sendoff.operators.queries import list_dead_letters
from sendoff.operators.replays.replay import Selection, get_replay, start_replay, tick_replay
from sendoff.publishing.publish import NewEvent
from sendoff.store.queries import audit, idempotency
from sendoff.store.queries.audit import AuditFilter
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.tables import (
    Attempt,
    DeadLetter,
    Delivery,
    Event,
    IdempotencyRecord,
    LastExchange,
    Replay,
    ReplayItem,
)
from tests.support.app_fixture import ACTOR, AppFixture, open_app
from tests.support.receiver import Receiver

DAY = 86_400
HISTORY = (Event, Delivery, Attempt, LastExchange, DeadLetter, Replay, ReplayItem)
ALL = Selection(DeadLetterFilter())


async def count(app: AppFixture) -> dict[str, int]:
    """How many rows there are of each kind of history that has any."""
    async with app.transaction() as tx:
        numbers = {
            model.__name__: (await tx.execute(select(func.count()).select_from(model))).scalar_one()
            for model in HISTORY
        }
    return {name: number for name, number in numbers.items() if number}


async def purge_and_check(app: AppFixture) -> Removed:
    """What was removed; the audit finds nothing to say about it."""
    removed = await purge_expired(app.context)
    assert (await reconcile(app.context)).counts == {}
    return removed


async def publish_and_work(app: AppFixture, number: int = 1) -> None:
    await app.publish(*[NewEvent("upload.completed", b"{}") for _ in range(number)])
    await app.work()


async def test_delivered_deliveries_are_purged_after_their_retention(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, retention_days=30) as app:
        await app.register(receiver.url("/hook"))
        await publish_and_work(app, 3)
        app.clock.advance(10 * DAY)
        await publish_and_work(app, 2)
        app.clock.advance(20 * DAY)
        assert await purge_and_check(app) == Removed(0, 0, 0, 0, 0)
        app.clock.advance(1)
        assert await purge_and_check(app) == Removed(3, 0, 0, 0, 0)
        assert await count(app) == {"Event": 2, "Delivery": 2, "Attempt": 2}
        app.clock.advance(10 * DAY)
        await purge_and_check(app)
        assert await count(app) == {}


async def test_a_delivery_that_is_still_to_be_made_stays_however_old_it_is(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url) as app:
        await app.register(receiver.url("/hook"))
        receiver.program("/hook", 500)
        await publish_and_work(app)
        receiver.program("/hook", 200)
        app.clock.advance(1_000 * DAY)
        await purge_expired(app.context)
        assert await count(app) == {"Event": 1, "Delivery": 1, "Attempt": 1, "LastExchange": 1}
        await app.work()
        assert receiver.requests("/hook")[-1].header("X-OptimalDial-Attempt") == "2"


async def test_dead_letters_have_a_time_of_their_own_and_take_their_deliveries_with_them(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, retry_schedule="none", dead_letter_retention_days=90) as app:
        await app.register(receiver.url("/well"))
        await app.register(receiver.url("/ill"))
        receiver.program("/ill", 500)
        await publish_and_work(app, 2)
        [letter, _] = (await list_dead_letters(app.context, DeadLetterFilter(), limit=10)).rows
        await discard_dead_letter(app.context, ACTOR, letter.id)

        app.clock.advance(31 * DAY)
        assert await purge_and_check(app) == Removed(2, 0, 0, 0, 0)
        assert await count(app) == {"Event": 2, "Delivery": 2, "Attempt": 2, "LastExchange": 2, "DeadLetter": 2}
        app.clock.advance(60 * DAY)
        assert await purge_and_check(app) == Removed(0, 2, 0, 0, 0)
        assert await count(app) == {}


async def test_a_dead_letter_of_a_delivery_that_was_taken_up_again_leaves_alone(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, retry_schedule="none", disable_after_failures=100) as app:
        await app.register(receiver.url("/hook"))
        receiver.program("/hook", 500)
        await publish_and_work(app, 2)
        app.clock.advance(89 * DAY)
        await replay(app, ALL)
        app.clock.advance(2 * DAY)
        assert await purge_and_check(app) == Removed(0, 2, 0, 0, 0)
        letters = (await list_dead_letters(app.context, DeadLetterFilter(), limit=10)).rows
        assert [(letter.state, letter.attempt_count) for letter in letters] == [("open", 2)] * 2

        receiver.program("/hook", 200)
        await replay(app, ALL)
        app.clock.advance(31 * DAY)
        await purge_and_check(app)
        assert await count(app) == {}


async def test_events_without_deliveries_ended_replays_and_old_answers_are_purged(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url) as app:
        await publish_and_work(app, 3)
        await replay(app, ALL)
        async with app.context.database.write() as tx:
            organization_id, now = app.principal.organization_id, app.clock.now()
            record = IdempotencyRecord(organization_id=organization_id, key="1", request_hash="", created_at=now)
            await idempotency.insert_if_new(tx, record)
        app.clock.advance(31 * DAY)
        assert await purge_and_check(app) == Removed(0, 0, 3, 1, 1)
        assert await count(app) == {}


async def test_a_replay_whose_deliveries_are_past_their_retention_comes_to_its_end(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url) as app:
        await app.register(receiver.url("/hook"))
        [event] = await app.publish()
        await app.work()
        app.clock.advance(31 * DAY)
        selection = Selection(DeadLetterFilter(), delivery_ids=tuple(event.delivery_ids))
        started = (await start_replay(app.context, ACTOR, selection)).replay
        await purge_and_check(app)
        for _ in range(2):
            app.clock.advance(1)
            await tick_replay(app.context, started.id)
        report = await get_replay(app.context, started.id)
        assert (report.replay.state, report.progress.failed) == ("completed", 1)


async def test_much_is_removed_in_many_small_transactions(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sendoff.maintenance.purge.AT_ONCE", 2)
    async with open_app(database_url, retry_schedule="none", disable_after_failures=100) as app:
        await app.register(receiver.url("/well"))
        await app.register(receiver.url("/ill"))
        receiver.program("/ill", 500)
        await publish_and_work(app, 5)
        await replay(app, ALL)
        await app.publish(*[NewEvent("upload.failed", b"{}") for _ in range(5)])
        app.clock.advance(365 * DAY)
        removed = await purge_expired(app.context)
        assert (removed.delivered, removed.dead_letters, removed.replay_rows) == (5, 10, 6)
        assert await count(app) == {"Event": 5, "Delivery": 10}


async def test_an_event_that_lacks_a_delivery_is_kept_for_inspection(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        await app.register(receiver.url("/one"))
        await app.register(receiver.url("/two"))
        [event] = await app.publish()
        await app.work()
        async with app.context.database.write() as tx:
            await tx.execute(text("DELETE FROM attempts WHERE delivery_id = :id"), {"id": event.delivery_ids[0]})
            await tx.execute(text("DELETE FROM deliveries WHERE id = :id"), {"id": event.delivery_ids[0]})
        app.clock.advance(31 * DAY)
        await purge_expired(app.context)
        [finding] = (await reconcile(app.context)).findings
        assert (finding.check.kind, finding.ids) == ("delivery_count", {"event_id": event.id})


async def replay(app: AppFixture, selection: Selection) -> None:
    """Start a replay and let it come to its end."""
    started = (await start_replay(app.context, ACTOR, selection)).replay
    for _ in range(3):
        app.clock.advance(1)
        await tick_replay(app.context, started.id)
        await app.work()
    assert (await get_replay(app.context, started.id)).replay.state == "completed"


async def test_audit_entries_are_removed_after_their_retention(database_url: str) -> None:
    async with open_app(database_url) as app:
        await check_audit_retention(app)


async def check_audit_retention(app: AppFixture) -> None:
    async with app.context.database.read() as tx:
        written = len(await audit.page(tx, AuditFilter(), limit=100))
    assert written > 0
    app.clock.advance(729 * DAY)
    assert (await purge_expired(app.context)).audit_entries == 0
    app.clock.advance(2 * DAY)
    assert (await purge_expired(app.context)).audit_entries == written
    async with app.context.database.read() as tx:
        assert await audit.page(tx, AuditFilter(), limit=100) == []
