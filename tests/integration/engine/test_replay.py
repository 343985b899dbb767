"""Replays, manual retries and discards, as operators do them."""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import AsyncMock

import pytest
from sqlalchemy import update
from sqlmodel import col

from sendoff.delivery.backlog import BacklogClaimer
from sendoff.delivery.dispatcher import Dispatcher
from sendoff.errors import Conflict, NotFound
from sendoff.operators.actions import discard_dead_letter, retry_delivery, switch_endpoint
from sendoff.operators.queries import get_delivery, list_dead_letters
from sendoff.operators.replays.replay import (
    Selection,
    cancel_replay,
    count_replay,
    get_replay,
    start_replay,
    tick_replay,
)
from sendoff.policy.delivery.replay_feed import DUE_TOGETHER, SPREAD_SECONDS
from sendoff.policy.states import DeliveryState
from sendoff.publishing.publish import NewEvent
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.tables import Delivery, ReplayItem
from tests.support.app_fixture import ACTOR, AppFixture, open_app
from tests.support.polling import eventually
from tests.support.receiver import Receiver

ALL = Selection(DeadLetterFilter())


async def drain_endpoint(app: AppFixture, receiver: Receiver, count: int) -> None:
    """Dead letters of one endpoint, whose receiver is mended afterwards."""
    await app.register(receiver.url("/hook"))
    receiver.program("/hook", 500)
    await app.publish(*[NewEvent("upload.completed", b"{}") for _ in range(count)])
    await app.work()
    receiver.program("/hook", 200)
    receiver.forget()


async def run_replay(app: AppFixture, replay_id: str, *, seconds: int) -> None:
    for _ in range(seconds):
        app.clock.advance(1)
        await tick_replay(app.context, replay_id)
        await app.work()


async def test_a_replay_is_counted_paced_and_delivers_the_same_event_under_the_next_attempt_number(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, retry_schedule="none", disable_after_failures=100) as app:
        await drain_endpoint(app, receiver, 5)
        dead = (await list_dead_letters(app.context, DeadLetterFilter(), limit=10)).rows
        assert await count_replay(app.context, ALL) == (5, 1)

        started = await start_replay(app.context, ACTOR, ALL, rate=2)
        await run_replay(app, started.replay.id, seconds=1)
        assert len(receiver.requests("/hook")) == 2
        await run_replay(app, started.replay.id, seconds=4)

        requests = receiver.requests("/hook")
        assert {request.header("X-OptimalDial-Delivery-Id") for request in requests} == {
            letter.delivery_id for letter in dead
        }
        assert {request.header("X-OptimalDial-Attempt") for request in requests} == {"2"}
        report = await get_replay(app.context, started.replay.id)
        assert (report.replay.state, report.replay.total) == ("completed", 5)
        assert (report.progress.replayed, report.progress.succeeded, report.progress.failed) == (5, 5, 0)
        replayed = (await list_dead_letters(app.context, DeadLetterFilter(state="replayed"), limit=10)).rows
        assert len(replayed) == 5
        assert await count_replay(app.context, ALL) == (0, 0)


async def test_a_replay_that_fails_leaves_a_new_dead_letter_and_the_endpoints_health_alone(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, retry_schedule="none", disable_after_failures=3) as app:
        await drain_endpoint(app, receiver, 2)
        receiver.program("/hook", 500)
        for _ in range(2):
            started = await start_replay(app.context, ACTOR, ALL)
            await run_replay(app, started.replay.id, seconds=2)
            report = await get_replay(app.context, started.replay.id)
            assert (report.replay.state, report.progress.failed) == ("completed", 2)
        letters = (await list_dead_letters(app.context, DeadLetterFilter(state="open"), limit=10)).rows
        assert [(letter.reason, letter.attempt_count) for letter in letters] == [("retries_exhausted", 3)] * 2


async def test_a_cancelled_replay_sends_no_more(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, retry_schedule="none", disable_after_failures=100) as app:
        await drain_endpoint(app, receiver, 6)
        started = await start_replay(app.context, ACTOR, ALL, rate=2)
        await run_replay(app, started.replay.id, seconds=1)
        cancelled = await cancel_replay(app.context, ACTOR, started.replay.id)
        await run_replay(app, started.replay.id, seconds=5)
        assert (cancelled.replay.state, cancelled.progress.replayed) == ("cancelled", 2)
        assert len(receiver.requests("/hook")) == 2
        with pytest.raises(Conflict):
            await cancel_replay(app.context, ACTOR, started.replay.id)
        with pytest.raises(NotFound):
            await get_replay(app.context, "no-such-replay")


async def test_a_delivered_delivery_is_sent_again_by_its_id_and_only_so(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        await app.register(receiver.url("/hook"))
        [event] = await app.publish()
        await app.work()
        receiver.forget()
        with pytest.raises(Conflict):
            await retry_delivery(app.context, ACTOR, event.delivery_ids[0])
        by_id = Selection(DeadLetterFilter(), delivery_ids=tuple(event.delivery_ids))
        started = await start_replay(app.context, ACTOR, by_id)
        await run_replay(app, started.replay.id, seconds=2)
        [request] = receiver.requests("/hook")
        assert request.header("X-OptimalDial-Attempt") == "2"
        assert (await get_replay(app.context, started.replay.id)).progress.succeeded == 1


async def test_a_replay_for_a_disabled_endpoint_fails_and_its_dead_letters_stay_open(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, retry_schedule="none", disable_after_failures=100) as app:
        await drain_endpoint(app, receiver, 2)
        [letter, _] = (await list_dead_letters(app.context, DeadLetterFilter(), limit=10)).rows
        await switch_endpoint(app.context, ACTOR, letter.endpoint_id, on=False)
        started = await start_replay(app.context, ACTOR, ALL)
        await run_replay(app, started.replay.id, seconds=3)
        assert (await get_replay(app.context, started.replay.id)).progress.failed == 2
        assert receiver.requests("/hook") == []
        assert len((await list_dead_letters(app.context, DeadLetterFilter(state="open"), limit=10)).rows) == 2


async def test_a_manual_retry_replaces_the_automatic_one_and_the_schedule_continues(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, retry_schedule=[60, 300]) as app:
        await app.register(receiver.url("/hook"))
        receiver.program("/hook", 500)
        receiver.forget()
        [event] = await app.publish()
        await app.work()
        app.clock.advance(10)
        await retry_delivery(app.context, ACTOR, event.delivery_ids[0])
        await app.work()
        assert len(receiver.requests("/hook")) == 2
        app.clock.advance(60)
        await app.work()
        assert len(receiver.requests("/hook")) == 2  # the first automatic retry was replaced
        app.clock.advance(240)
        await app.work()
        report = await get_delivery(app.context, event.delivery_ids[0])
        assert [attempt.number for attempt in report.attempts] == [1, 2, 3]
        assert report.delivery.state == "dead"


async def test_a_discarded_dead_letter_is_kept_but_not_replayed(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, retry_schedule="none", disable_after_failures=100) as app:
        await drain_endpoint(app, receiver, 2)
        [letter, other] = (await list_dead_letters(app.context, DeadLetterFilter(), limit=10)).rows
        await discard_dead_letter(app.context, ACTOR, letter.id)
        assert await count_replay(app.context, ALL) == (1, 1)
        [kept] = (await list_dead_letters(app.context, DeadLetterFilter(state="discarded"), limit=10)).rows
        assert kept.id == letter.id
        assert other.state == "open"
        named = Selection(DeadLetterFilter(), delivery_ids=(other.delivery_id, letter.delivery_id))
        with pytest.raises(Conflict, match="discarded"):
            await count_replay(app.context, named)
        with pytest.raises(Conflict, match="discarded"):
            await start_replay(app.context, ACTOR, named)
        filtered = Selection(DeadLetterFilter(state="discarded"))
        assert await count_replay(app.context, filtered) == (0, 0)
        assert (await start_replay(app.context, ACTOR, filtered)).replay.total == 0
        with pytest.raises(Conflict, match="discarded"):
            await retry_delivery(app.context, ACTOR, letter.delivery_id)


async def test_a_dead_letter_that_is_discarded_during_a_replay_is_not_sent(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, retry_schedule="none", disable_after_failures=100) as app:
        await drain_endpoint(app, receiver, 2)
        [letter, _other] = (await list_dead_letters(app.context, DeadLetterFilter(), limit=10)).rows
        replay = (await start_replay(app.context, ACTOR, ALL)).replay
        await discard_dead_letter(app.context, ACTOR, letter.id)
        app.clock.advance(1)
        await tick_replay(app.context, replay.id)
        progress = (await get_replay(app.context, replay.id)).progress
        assert (progress.replayed, progress.failed) == (2, 1)


async def tick(app: AppFixture, replay_id: str) -> None:
    """A second of a replay, in which no worker delivers anything."""
    app.clock.advance(1)
    await tick_replay(app.context, replay_id)


async def test_a_replay_feeds_an_endpoint_no_more_than_it_takes_and_a_cancel_leaves_little(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sendoff.policy.delivery.replay_feed.LEAST_WAITING", 2)
    async with open_app(database_url, retry_schedule="none", disable_after_failures=100) as app:
        await drain_endpoint(app, receiver, 16)
        started = (await start_replay(app.context, ACTOR, ALL, rate=1_000)).replay
        for _ in range(3):
            await tick(app, started.id)
        assert (await get_replay(app.context, started.id)).progress.replayed == 2
        await app.work()
        await tick(app, started.id)
        assert (await get_replay(app.context, started.id)).progress.replayed == 2 + 8
        await cancel_replay(app.context, ACTOR, started.id)
        app.clock.advance(SPREAD_SECONDS)
        await app.work()
        assert len(receiver.requests("/hook")) == 10
        assert await count_replay(app.context, ALL) == (6, 1)


async def test_an_endpoint_without_room_keeps_no_other_from_its_turn(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sendoff.policy.delivery.replay_feed.LEAST_WAITING", 1)
    async with open_app(database_url, retry_schedule="none", disable_after_failures=100) as app:
        for path in ("/a", "/b", "/c"):
            await app.register(receiver.url(path))
            receiver.program(path, 500)
        await app.publish(*[NewEvent("upload.completed", b"{}") for _ in range(2)])
        await app.work()
        receiver.forget()
        for path in ("/a", "/b", "/c"):
            receiver.program(path, 200)
        started = (await start_replay(app.context, ACTOR, ALL, rate=1)).replay
        for _ in range(5):
            await tick(app, started.id)
        assert (await get_replay(app.context, started.id)).progress.replayed == 3
        await app.work()
        assert [len(receiver.requests(path)) for path in ("/a", "/b", "/c")] == [1, 1, 1]
        await run_replay(app, started.id, seconds=5)
        assert (await get_replay(app.context, started.id)).progress.succeeded == 6


async def test_what_a_replay_feeds_is_sent_bit_by_bit(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(database_url, retry_schedule="none", disable_after_failures=100) as app:
        await drain_endpoint(app, receiver, 2 * DUE_TOGETHER)
        started = (await start_replay(app.context, ACTOR, ALL)).replay
        app.clock.advance(1)
        fed = await tick_replay(app.context, started.id)
        await app.work()
        assert len(receiver.requests("/hook")) == DUE_TOGETHER
        monkeypatch.setattr(BacklogClaimer, "_find_endpoints", AsyncMock())  # or a look at the database would find it
        dispatcher = Dispatcher(app.context)
        dispatcher.backlog_falls_due(fed)
        app.clock.advance(SPREAD_SECONDS)
        await eventually(lambda: len(receiver.requests("/hook")) == 2 * DUE_TOGETHER, within=30, what="the others")
        await dispatcher.drain(10)


async def test_live_deliveries_do_not_wait_for_what_a_replay_feeds_later(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, retry_schedule="none", disable_after_failures=100) as app:
        await drain_endpoint(app, receiver, 2 * DUE_TOGETHER)
        started = (await start_replay(app.context, ACTOR, ALL)).replay
        await tick(app, started.id)
        await app.work()
        assert len(receiver.requests("/hook")) == DUE_TOGETHER
        [event] = await app.publish()
        assert await states_of(app, event.delivery_ids) == [DeliveryState.PENDING]
        async with app.context.database.write() as tx:
            await tx.execute(update(Delivery).where(col(Delivery.id).in_(event.delivery_ids)).values(state="held"))
        [behind] = await app.publish()
        assert await states_of(app, behind.delivery_ids) == [DeliveryState.HELD]


async def states_of(app: AppFixture, delivery_ids: Sequence[str]) -> list[str]:
    return [(await get_delivery(app.context, one)).delivery.state for one in delivery_ids]


async def test_a_clock_that_is_set_back_keeps_no_replay_waiting(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, retry_schedule="none", disable_after_failures=100) as app:
        await drain_endpoint(app, receiver, 2 * DUE_TOGETHER)
        started = (await start_replay(app.context, ACTOR, ALL)).replay
        await tick(app, started.id)
        app.clock.advance(-3600)
        await app.work()
        assert len(receiver.requests("/hook")) == 2 * DUE_TOGETHER


async def test_items_that_an_older_version_added_are_sent(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, retry_schedule="none", disable_after_failures=100) as app:
        await drain_endpoint(app, receiver, 3)
        started = (await start_replay(app.context, ACTOR, ALL)).replay
        async with app.context.database.write() as tx:
            await tx.execute(update(ReplayItem).values(endpoint_id=None))
        await run_replay(app, started.id, seconds=2)
        assert (await get_replay(app.context, started.id)).progress.succeeded == 3
