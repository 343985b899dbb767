"""What comes in between: leases that end, replays that meet, endpoints that are switched while something is sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from sendoff.delivery.claims import Claim
from sendoff.delivery.pipeline import FinishedAttempt, claim, deliver
from sendoff.delivery.record import record
from sendoff.endpoints.manage import EndpointChange, update_endpoint
from sendoff.errors import Conflict
from sendoff.operators.actions import retry_delivery, switch_endpoint
from sendoff.operators.queries import get_delivery, list_dead_letters
from sendoff.operators.replays.replay import Selection, get_replay, start_replay, tick_replay
from sendoff.policy.states import DeliveryState, EndpointState
from sendoff.publishing.publish import NewEvent
from sendoff.store.queries import endpoints
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.tables import Endpoint
from tests.integration.engine.machine.fakes import Answer, FakeWire
from tests.support.app_fixture import ACTOR, AppFixture, open_app
from tests.support.receiver import Receiver

ALL = Selection(DeadLetterFilter())
WELL, ILL, GONE, UNREACHABLE = Answer(200), Answer(500), Answer(410), Answer(None, is_local=True)


def rewire(app: AppFixture) -> FakeWire:
    """From now on the app sends into a fake."""
    wire = FakeWire()
    app.context = replace(app.context, wire=cast("Any", wire))
    return wire


async def publish(app: AppFixture, number: int) -> list[str]:
    """The ids of as many deliveries, for an endpoint that takes them all."""
    accepted = await app.publish(*[NewEvent("upload.completed", b"{}") for _ in range(number)])
    app.queue.deliveries.clear()
    return [delivery_id for event in accepted for delivery_id in event.delivery_ids]


async def claim_all(app: AppFixture, delivery_ids: list[str]) -> list[Claim]:
    return (await claim(app.context, delivery_ids)).to_send


async def send(app: AppFixture, wire: FakeWire, claimed: Claim, answer: Answer) -> FinishedAttempt:
    wire.answer = answer
    return await deliver(app.context, claimed)


async def find_endpoint(app: AppFixture, endpoint_id: str) -> Endpoint:
    async with app.transaction() as tx:
        found = await endpoints.find(tx, endpoint_id)
    assert found is not None
    return found


async def tick(app: AppFixture, replay_id: str) -> None:
    app.clock.advance(1)
    await tick_replay(app.context, replay_id)


async def test_a_stalled_worker_does_not_send_deliveries_that_another_has_claimed(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, lease_seconds=20) as app:
        await app.register(receiver.url("/hook"))
        wire = rewire(app)
        ids = await publish(app, 1)
        [late] = await claim_all(app, ids)
        app.clock.advance(20)
        [punctual] = await claim_all(app, ids)
        await record(app.context, [await send(app, wire, punctual, WELL)])
        finished = await send(app, wire, late, WELL)
        await record(app.context, [finished])
        assert len(wire.sent) == 1
        assert finished.result.detail == "The lease ended before the request was sent."
        assert (await get_delivery(app.context, ids[0])).delivery.state == DeliveryState.DELIVERED


async def test_attempts_of_two_workers_that_are_recorded_together_count_once(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, lease_seconds=20) as app:
        await app.register(receiver.url("/hook"))
        wire = rewire(app)
        ids = await publish(app, 2)
        overtaken = [await send(app, wire, claimed, ILL) for claimed in await claim_all(app, ids)]
        app.clock.advance(20)
        ours = [await send(app, wire, claimed, WELL) for claimed in await claim_all(app, ids)]
        await record(app.context, [*overtaken, *ours])
        for delivery_id in ids:
            report = await get_delivery(app.context, delivery_id)
            assert [attempt.response_status for attempt in report.attempts] == [200]


async def test_a_success_ends_the_count_of_failures_that_were_recorded_since_it_was_claimed(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, disable_after_failures=3) as app:
        endpoint_id = (await app.register(receiver.url("/hook"))).endpoint.id
        await publish(app, 1)
        await app.work()  # so that the endpoint has been well less than a second ago
        wire = rewire(app)
        claims = await claim_all(app, await publish(app, 5))
        for claimed, answer in zip(claims, (ILL, ILL, WELL, ILL, ILL), strict=True):
            await record(app.context, [await send(app, wire, claimed, answer)])
        endpoint = await find_endpoint(app, endpoint_id)
        assert (endpoint.state, endpoint.consecutive_failures) == (EndpointState.ACTIVE, 2)


async def test_a_410_is_for_good_also_when_the_endpoint_is_off_by_the_time_it_comes(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url) as app:
        endpoint = (await app.register(receiver.url("/hook"))).endpoint
        wire = rewire(app)
        [claimed] = await claim_all(app, await publish(app, 1))
        organization_id, on = app.principal.organization_id, EndpointChange({"is_active": True})
        await update_endpoint(app.context, organization_id, ACTOR, endpoint.id, EndpointChange({"is_active": False}))
        await record(app.context, [await send(app, wire, claimed, GONE)])
        assert (await find_endpoint(app, endpoint.id)).state == EndpointState.GONE
        with pytest.raises(Conflict, match="410"):
            await update_endpoint(app.context, organization_id, ACTOR, endpoint.id, on)


async def test_a_delivery_that_never_leaves_this_host_is_dead_lettered_and_not_charged_to_its_endpoint(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, retry_schedule=[600, 600], disable_after_failures=1) as app:
        endpoint_id = (await app.register(receiver.url("/hook"))).endpoint.id
        wire = rewire(app)
        wire.answer = UNREACHABLE
        [delivery_id] = await publish(app, 1)
        for _ in range(2):
            await app.work()
            app.clock.advance(599)
        report = await get_delivery(app.context, delivery_id)
        assert (report.delivery.state, report.attempts) == (DeliveryState.PENDING, [])
        for _ in range(3):
            app.clock.advance(601)
            await app.work()
        report = await get_delivery(app.context, delivery_id)
        assert report.delivery.state == DeliveryState.DEAD
        assert [attempt.outcome for attempt in report.attempts] == ["local_failure"] * 3
        endpoint = await find_endpoint(app, endpoint_id)
        assert (endpoint.state, endpoint.consecutive_failures) == (EndpointState.ACTIVE, 0)


async def test_two_replays_of_the_same_dead_letters_deliver_them_once(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, retry_schedule="none", disable_after_failures=100) as app:
        await app.register(receiver.url("/hook"))
        wire = rewire(app)
        wire.answer = ILL
        await publish(app, 2)
        await app.work()
        wire.answer = WELL
        wire.sent.clear()
        first, second = [(await start_replay(app.context, ACTOR, ALL)).replay for _ in range(2)]
        for replay in (first, first, second, second):
            await tick(app, replay.id)
            await app.work()
        assert len(wire.sent) == 2
        for replay in (first, second):
            report = await get_replay(app.context, replay.id)
            assert (report.replay.state, report.progress.succeeded) == ("completed", 2)


async def test_a_replay_ends_when_its_deliveries_are_dead_lettered_meanwhile(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, retry_schedule=[60], disable_after_failures=100) as app:
        endpoint_id = (await app.register(receiver.url("/hook"))).endpoint.id
        wire = rewire(app)
        wire.answer = ILL
        await publish(app, 2)
        await switch_endpoint(app.context, ACTOR, endpoint_id, on=False)
        await switch_endpoint(app.context, ACTOR, endpoint_id, on=True)
        replay = (await start_replay(app.context, ACTOR, ALL)).replay
        await tick(app, replay.id)
        await app.work()  # both fail, and wait for the minute of the schedule
        await switch_endpoint(app.context, ACTOR, endpoint_id, on=False)
        await tick(app, replay.id)
        report = await get_replay(app.context, replay.id)
        assert (report.replay.state, report.progress.failed) == ("completed", 2)
        letters = (await list_dead_letters(app.context, DeadLetterFilter(state="open"), limit=10)).rows
        assert [letter.reason for letter in letters] == ["endpoint_disabled"] * 2


async def test_a_replay_goes_on_when_the_clock_was_set_back(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, retry_schedule="none", disable_after_failures=100) as app:
        await app.register(receiver.url("/hook"))
        wire = rewire(app)
        wire.answer = ILL
        [delivery_id] = await publish(app, 1)
        await app.work()
        replay = (await start_replay(app.context, ACTOR, ALL)).replay
        app.clock.advance(-3600)
        for _ in range(2):
            await tick(app, replay.id)
        assert (await get_delivery(app.context, delivery_id)).delivery.state == DeliveryState.HELD


async def test_a_manual_retry_overtakes_a_replay_that_has_not_come_to_it_yet(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, retry_schedule="none", disable_after_failures=100) as app:
        await app.register(receiver.url("/hook"))
        wire = rewire(app)
        wire.answer = ILL
        [delivery_id] = await publish(app, 1)
        await app.work()
        wire.answer = WELL
        replay = (await start_replay(app.context, ACTOR, ALL)).replay
        await retry_delivery(app.context, ACTOR, delivery_id)
        await app.work()
        for _ in range(2):
            await tick(app, replay.id)
        await app.work()
        assert len(wire.sent) == 2
        assert (await get_replay(app.context, replay.id)).replay.state == "completed"
