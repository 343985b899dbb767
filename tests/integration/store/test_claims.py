"""Claims: one owner at a time, for as long as the lease lasts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from sendoff.delivery.pipeline import claim, claim_held, deliver, release
from sendoff.delivery.record import record
from sendoff.ids import new_id
from sendoff.maintenance.clock_skew import repair_future_times
from sendoff.policy.delivery.admission import Quotas
from sendoff.policy.delivery.decision import HealthEffect
from sendoff.policy.states import DeliveryState
from sendoff.publishing.publish import NewEvent
from sendoff.recovery.sweep import sweep
from sendoff.settings import LONGEST_ENDPOINT_TIMEOUT_SECONDS
from sendoff.store.hot.rows import AttemptRecord
from sendoff.store.queries import endpoints
from sendoff.store.queries.traffic import deliveries, delivery_history
from sendoff.store.tables import Delivery
from tests.support.app_fixture import START, AppFixture, open_app
from tests.support.receiver import Receiver


async def publish_some(app: AppFixture, receiver: Receiver, count: int) -> list[str]:
    await app.register(receiver.url("/hook"))
    accepted = await app.publish(*[NewEvent("upload.completed", b"{}") for _ in range(count)])
    return [identifier for event in accepted for identifier in event.delivery_ids]


async def test_claims_of_the_same_deliveries_at_once_share_none(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        ids = await publish_some(app, receiver, 50)
        claims = await asyncio.gather(*[claim(app.context, ids) for _ in range(8)])
        taken = [claimed.delivery.id for found in claims for claimed in found.to_send]
        assert sorted(taken) == sorted(ids)


async def test_a_claim_can_be_taken_over_when_its_lease_ends_and_not_before(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, lease_seconds=20) as app:
        ids = await publish_some(app, receiver, 1)
        [first] = (await claim(app.context, ids)).to_send
        app.clock.advance(19)
        assert (await claim(app.context, ids)).to_send == []
        app.clock.advance(1)
        [second] = (await claim(app.context, ids)).to_send
        assert second.attempt_number == first.attempt_number == 1
        async with app.transaction() as tx:
            taken_over, owned = ((claimed.delivery.id, claimed.lease_token) for claimed in (first, second))
            assert await deliveries.lock_leased(tx, [taken_over, owned]) == {owned}


async def test_a_lease_that_lies_in_the_future_since_the_clock_was_set_back_is_shortened(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url) as app:
        ids = await publish_some(app, receiver, 1)
        [first] = (await claim(app.context, ids)).to_send
        app.clock.advance(-3600)
        assert [await repair_future_times(app.context) for _ in range(2)] == [1, 0]
        app.clock.advance(app.context.settings.lease_for(LONGEST_ENDPOINT_TIMEOUT_SECONDS))
        [second] = (await claim(app.context, ids)).to_send
        assert second.delivery.id == first.delivery.id


async def test_a_released_claim_is_due_at_once(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        ids = await publish_some(app, receiver, 3)
        claims = (await claim(app.context, ids)).to_send
        await release(app.context, claims)
        assert len((await claim(app.context, ids)).to_send) == 3


async def test_deliveries_for_a_full_endpoint_are_held_and_taken_oldest_first(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url) as app:
        ids = await publish_some(app, receiver, 10)
        endpoint_id = (await claim(app.context, ids[:1])).to_send[0].endpoint.id
        held = await claim(app.context, ids[1:], quotas=Quotas({endpoint_id: 0}, default=10))
        assert (held.to_send, held.held_endpoint_ids) == ([], {endpoint_id})
        async with app.transaction() as tx:
            assert [one.id for one in await deliveries.find_endpoints_with_held(tx)] == [endpoint_id]
            later = app.clock.now() + timedelta(days=1)
            assert await deliveries.find_due(tx, now=later, enqueued_until=later, limit=10) == ids[:1]
        second = await claim_held(app.context, {endpoint_id: 3})
        assert [claimed.delivery.id for claimed in second.to_send] == ids[1:4]


async def test_held_live_deliveries_are_taken_before_replayed_ones(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        ids = await publish_some(app, receiver, 6)
        endpoint_id = (await claim(app.context, ids[:1])).to_send[0].endpoint.id
        await claim(app.context, ids[1:], quotas=Quotas({endpoint_id: 0}, default=10))
        async with app.context.database.write() as tx:
            for delivery in await delivery_history.find_many(tx, ids[1:4]):
                delivery.replay_id = endpoint_id
        taken = await claim_held(app.context, {endpoint_id: 4})
        assert [claimed.delivery.id for claimed in taken.to_send] == [*ids[4:], *ids[1:3]]


async def test_of_due_deliveries_replayed_ones_are_held_first(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        ids = await publish_some(app, receiver, 4)
        async with app.context.database.write() as tx:
            found = await delivery_history.find_many(tx, ids[:2])
            for delivery in found:
                delivery.replay_id = delivery.endpoint_id
        taken = await claim(app.context, ids, quotas=Quotas({found[0].endpoint_id: 3}, default=10))
        assert [claimed.delivery.id for claimed in taken.to_send] == [*ids[2:], ids[0]]
        assert taken.held_endpoint_ids == {found[0].endpoint_id}


@pytest.mark.parametrize("status", [200, 500])
async def test_recording_waits_briefly_for_a_locked_row(database_url: str, receiver: Receiver, status: int) -> None:
    receiver.program("/hook", 200, status)  # the ping first
    async with open_app(database_url) as app:
        ids = await publish_some(app, receiver, 1)
        [claimed] = (await claim(app.context, ids)).to_send
        attempt = await deliver(app.context, claimed)
        async with app.context.database.write() as tx:
            # As a second claim of the same delivery does.
            await deliveries.lock_leased(tx, [(claimed.delivery.id, claimed.lease_token)])
            recording = asyncio.create_task(record(app.context, [attempt]))
            await asyncio.wait({recording}, timeout=0.1)
        await recording
        async with app.transaction() as tx:
            [recorded] = await delivery_history.find_many(tx, ids)
            assert (recorded.attempt_count, recorded.last_response_status) == (1, status)


async def test_a_claim_of_one_delivery_brings_what_a_claim_of_several_does(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url) as app:
        first, second = await publish_some(app, receiver, 2)
        [alone] = (await claim(app.context, [first])).to_send
        [among_others] = (await claim(app.context, [second, new_id()])).to_send
        assert alone.endpoint == among_others.endpoint
        assert replace(alone.delivery, id=second, event_id=among_others.event.id) == among_others.delivery
        assert replace(alone.event, id=among_others.event.id) == among_others.event


async def test_a_success_is_recorded_alike_whether_it_may_be_noted_or_not(
    database_url: str, receiver: Receiver
) -> None:
    """At an endpoint that began to fail meanwhile, from which a success takes its failures."""
    async with open_app(database_url) as app:
        ids = await publish_some(app, receiver, 2)
        [endpoint_id] = {claimed.endpoint.id for claimed in (await claim(app.context, ids)).to_send}
        recorded, endpoints_after = [], []
        for delivery_id, may_raise_event in zip(ids, (False, True), strict=True):
            async with app.context.database.write() as tx:
                [endpoint] = (await endpoints.find_many(tx, [endpoint_id])).values()
                endpoint.consecutive_failures, endpoint.first_failure_at = 2, START
                [delivery] = await delivery_history.find_many(tx, [delivery_id])
            attempt = success_of(delivery, may_raise_event=may_raise_event)
            written = await app.context.hot.record([attempt, success_of(None)], now=START, failing_at=10)
            assert written.claims == {(attempt.delivery_id, attempt.lease_token)}
            async with app.transaction() as tx:
                [after] = await delivery_history.find_many(tx, [delivery_id])
                recorded.append(after.model_dump(exclude={"id", "event_id"}))
                endpoints_after.append((await endpoints.find_many(tx, [endpoint_id]))[endpoint_id].model_dump())
        assert recorded[0] == recorded[1]
        assert endpoints_after[0] == endpoints_after[1]
        assert (endpoints_after[0]["consecutive_failures"], endpoints_after[0]["first_failure_at"]) == (0, None)


def success_of(delivery: Delivery | None, *, may_raise_event: bool = False) -> AttemptRecord:
    """The delivery's success, or that of a delivery that is not there any more."""
    return AttemptRecord(
        delivery_id=new_id() if delivery is None else delivery.id,
        lease_token=new_id() if delivery is None else str(delivery.lease_token),
        state=DeliveryState.DELIVERED,
        due_at=None,
        counted=True,
        number=1,
        started_at=START,
        ended_at=START + timedelta(milliseconds=5),
        duration_ms=5,
        outcome="ok",
        response_status=204,
        error=None,
        blocked_since=None,
        health=HealthEffect.SUCCESS,
        may_raise_event=may_raise_event,
    )


async def test_a_sweep_leaves_newly_accepted_deliveries_to_their_job(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        ids = await publish_some(app, receiver, 3)
        app.queue.deliveries.clear()
        await sweep(app.context, sweep_lag=timedelta(seconds=2))
        assert app.queue.deliveries == []
        [tried] = (await claim(app.context, ids[:1])).to_send
        app.clock.advance(1)
        await record(app.context, [await deliver(app.context, tried)])
        app.clock.advance(1)
        await sweep(app.context, sweep_lag=timedelta(seconds=2))
        assert app.queue.deliveries == ids[1:]
