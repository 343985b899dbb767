"""The dispatcher where processes would have to be caught in an unlucky moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from sendoff.delivery import backlog
from sendoff.delivery import dispatcher as dispatching
from sendoff.delivery import record as recording
from sendoff.delivery.claims import Claim, Claims
from sendoff.delivery.dispatcher import Dispatcher
from sendoff.delivery.pipeline import FinishedAttempt, claim, claim_held, deliver
from sendoff.errors import Unavailable
from sendoff.policy.delivery.admission import Quotas, Responsiveness, Ticket
from sendoff.policy.states import DeliveryState
from sendoff.publishing.publish import AcceptedEvent
from sendoff.store.queries.traffic import delivery_history
from tests.support.app_fixture import AppFixture, open_app
from tests.support.exchange import Reply
from tests.support.polling import eventually
from tests.support.receiver import Receiver


async def states(app: AppFixture, delivery_ids: Sequence[str]) -> set[str]:
    async with app.transaction() as tx:
        return {delivery.state for delivery in await delivery_history.find_many(tx, delivery_ids)}


async def submit_one(app: AppFixture, receiver: Receiver) -> tuple[Dispatcher, AcceptedEvent]:
    """A dispatcher that was handed the only delivery of an event, for an endpoint at `/hook`."""
    await app.register(receiver.url("/hook"))
    receiver.forget()
    [event] = await app.publish()
    dispatcher = Dispatcher(app.context)
    await dispatcher.submit(event.delivery_ids)
    return dispatcher, event


async def test_a_sent_delivery_that_cannot_be_recorded_is_not_sent_again_by_the_same_worker(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    database_is_away = asyncio.Event()
    database_is_away.set()
    record = recording.record

    async def record_if_possible(*arguments: Any) -> None:
        if database_is_away.is_set():
            raise Unavailable("away")
        await record(*arguments)

    monkeypatch.setattr(recording, "record", record_if_possible)
    async with open_app(database_url) as app:
        dispatcher, event = await submit_one(app, receiver)
        await receiver.wait_for(1, "/hook")
        app.clock.advance(app.context.settings.lease_seconds + 1)
        await dispatcher.submit(event.delivery_ids)
        database_is_away.clear()
        await eventually(lambda: dispatcher.is_idle, what="an idle dispatcher")
        await dispatcher.drain(0)
        assert len(receiver.requests("/hook")) == 1
        assert await states(app, event.delivery_ids) == {DeliveryState.DELIVERED}


async def test_a_worker_whose_unrecorded_delivery_another_worker_held_goes_on_recording(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, database_is_back = recording.record, asyncio.Event()
    held_claims: list[Claims] = []

    async def record_if_possible(*arguments: Any) -> None:
        if not database_is_back.is_set():
            raise Unavailable("away")
        await record(*arguments)

    async def claim_held_and_note(*arguments: Any) -> Claims:
        held_claims.append(await claim_held(*arguments))
        return held_claims[-1]

    monkeypatch.setattr(recording, "record", record_if_possible)
    monkeypatch.setattr(backlog, "claim_held", claim_held_and_note)
    async with open_app(database_url) as app:
        dispatcher, event = await submit_one(app, receiver)
        await receiver.wait_for(1, "/hook")
        app.clock.advance(app.context.settings.lease_seconds + 1)
        elsewhere = await claim(app.context, event.delivery_ids, quotas=Quotas({}, default=0, restricted=0))
        dispatcher.backlog_available(elsewhere.held_endpoint_ids)
        await eventually(lambda: any(claims.to_send for claims in held_claims), what="a claim of what is held")
        database_is_back.set()
        await eventually(lambda: dispatcher.is_idle, what="an idle dispatcher")
        assert len(receiver.requests("/hook")) == 1
        await dispatcher.submit(event.delivery_ids)
        await eventually(lambda: dispatcher.is_idle, what="an idle dispatcher")
        assert await states(app, event.delivery_ids) == {DeliveryState.DELIVERED}
        await dispatcher.drain(0)


async def test_a_claim_that_took_most_of_its_lease_is_given_back_unsent(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(database_url) as app:

        async def claim_slowly(*arguments: Any, **options: Any) -> Claims:
            claims = await claim(*arguments, **options)
            app.clock.advance(15)  # of the lease's 20 seconds; an attempt may take 10
            return claims

        monkeypatch.setattr(dispatching, "claim", claim_slowly)
        dispatcher, event = await submit_one(app, receiver)
        assert await states(app, event.delivery_ids) == {DeliveryState.PENDING}
        await dispatcher.drain(0)
        assert receiver.requests("/hook") == []


async def test_a_delivery_that_would_start_too_late_in_its_lease_is_given_back(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[float] = []
    async with open_app(database_url, lease_seconds=20, attempt_timeout_seconds=10) as app:

        async def deliver_and_look(context: Any, claimed: Claim) -> FinishedAttempt:
            left.append((claimed.leased_until - app.clock.now()).total_seconds())
            return await deliver(context, claimed)

        monkeypatch.setattr(dispatching, "deliver", deliver_and_look)
        await app.register(receiver.url("/hook"))
        receiver.forget()
        [event] = await app.publish()
        dispatcher = Dispatcher(app.context)
        run = dispatcher._run
        late: list[str] = []

        async def run_late(ticket: Ticket[Claim]) -> None:
            monkeypatch.setattr(dispatcher, "_run", run)
            late.append(ticket.item.delivery.id)
            app.clock.advance(15)
            await run(ticket)

        monkeypatch.setattr(dispatcher, "_run", run_late)
        await dispatcher.submit(event.delivery_ids)
        await receiver.wait_for(1, "/hook")
        await eventually(lambda: dispatcher.is_idle, what="an idle dispatcher")
        await dispatcher.drain(0)
        assert (late, left) == (event.delivery_ids, [20.0])
        assert await states(app, event.delivery_ids) == {DeliveryState.DELIVERED}


async def test_a_job_that_is_cancelled_in_its_claim_leaves_nothing_claimed_and_unsent(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = asyncio.Event()

    async def claim_and_tell(*arguments: Any, **options: Any) -> Claims:
        claims = await claim(*arguments, **options)
        claimed.set()
        await asyncio.sleep(0)  # where the cancellation comes in
        return claims

    monkeypatch.setattr(dispatching, "claim", claim_and_tell)
    async with open_app(database_url) as app:
        await app.register(receiver.url("/hook"))
        receiver.forget()
        [event] = await app.publish()
        dispatcher = Dispatcher(app.context)
        job = asyncio.create_task(dispatcher.submit(event.delivery_ids))
        await claimed.wait()
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        await receiver.wait_for(1, "/hook")
        await eventually(lambda: dispatcher.is_idle, what="an idle dispatcher")
        assert await states(app, event.delivery_ids) == {DeliveryState.DELIVERED}
        await dispatcher.drain(0)


async def test_a_worker_stops_although_the_database_is_away(
    sqlite_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(recording, "record", refuse)
    monkeypatch.setattr(dispatching, "release", refuse)
    monkeypatch.setattr(dispatching, "_LAST_RECORDS_SECONDS", 0.1)
    async with open_app(sqlite_url) as app:
        await app.register(receiver.url("/hook"))
        receiver.forget()
        receiver.program("/hook", 200, Reply(hang=True))
        events = await app.publish(), await app.publish()
        dispatcher = Dispatcher(app.context)
        await dispatcher.submit([identifier for [event] in events for identifier in event.delivery_ids])
        await receiver.wait_for(2, "/hook")
        async with asyncio.timeout(10):
            await dispatcher.drain(0.1)


async def test_a_stopped_dispatcher_releases_unsent_deliveries_at_once(database_url: str, receiver: Receiver) -> None:
    """More endpoints hang than are probed in the same moment: the others wait in memory."""
    paths = [f"/hook{number}" for number in range(24)]
    async with open_app(database_url, attempt_timeout_seconds=3) as app:
        for path in paths:
            await app.register(receiver.url(path))
            receiver.program(path, Reply(hang=True))
        receiver.forget()
        [event] = await app.publish()
        ids = event.delivery_ids
        dispatcher = Dispatcher(app.context)
        await dispatcher.submit(ids)
        draining = asyncio.create_task(dispatcher.drain(60))
        await eventually(lambda: _count(app, ids, DeliveryState.PENDING), what="deliveries that are left to others")
        sent = len(await receiver.wait_for(await _count(app, ids, DeliveryState.IN_FLIGHT)))
        assert not draining.done()
        await draining
        assert 0 < sent == len(receiver.requests()) < len(ids)
        async with app.transaction() as tx:
            counts = Counter(delivery.attempt_count for delivery in await delivery_history.find_many(tx, ids))
        assert counts == {1: sent, 0: len(ids) - sent}


async def _count(app: AppFixture, ids: Sequence[str], state: DeliveryState) -> int:
    async with app.transaction() as tx:
        return sum(delivery.state == state for delivery in await delivery_history.find_many(tx, ids))


@pytest.mark.parametrize(
    ("answered_before", "expected"),
    [(None, Responsiveness.UNTRIED), (200, Responsiveness.UNKNOWN), (500, Responsiveness.UNRESPONSIVE)],
)
async def test_the_database_says_which_class_an_endpoint_waits_in(
    database_url: str, receiver: Receiver, answered_before: int | None, expected: Responsiveness
) -> None:
    async with open_app(database_url, attempt_timeout_seconds=5) as app:
        endpoint_id = (await app.register(receiver.url("/hook"))).endpoint.id
        if answered_before is not None:
            receiver.program("/hook", answered_before)
            await app.publish()
            await app.work()
        receiver.program("/hook", Reply(hang=True))
        [event] = await app.publish()
        dispatcher = Dispatcher(app.context)
        await dispatcher.submit(event.delivery_ids)
        assert dispatcher.admission.responsiveness(endpoint_id) is expected
        await dispatcher.drain(0)
