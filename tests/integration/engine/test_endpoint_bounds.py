"""What an endpoint has of its own: a retry schedule, a timeout, a cap of requests under way over all workers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from sendoff.delivery.dispatcher import Dispatcher
from sendoff.delivery.pipeline import claim, release
from sendoff.policy.states import DeliveryState
from sendoff.store.engine.batch import execute
from sendoff.store.queries.traffic import delivery_history
from sendoff.store.tables import Delivery
from tests.support.app_fixture import START, AppFixture, open_app
from tests.support.exchange import Reply
from tests.support.polling import eventually
from tests.support.receiver import Receiver


async def deliveries_of(app: AppFixture, ids: Sequence[str]) -> list[Delivery]:
    async with app.transaction() as tx:
        return sorted(await delivery_history.find_many(tx, ids), key=lambda one: one.id)


async def test_an_endpoint_retries_by_its_own_schedule(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        await app.register(receiver.url("/own"), retry_schedule=["90s", "2h"])
        await app.register(receiver.url("/once"), retry_schedule=[])
        receiver.program("/own", 500)
        receiver.program("/once", 500)
        [event] = await app.publish()
        own, once = event.delivery_ids
        for due in (START + timedelta(seconds=90), START + timedelta(seconds=90, hours=2), None):
            await app.work()
            [delivery] = await deliveries_of(app, [own])
            assert delivery.due_at == due
            app.clock.advance((due - app.context.clock.now()).total_seconds() if due else 0)
        assert [(one.state, one.attempt_count) for one in await deliveries_of(app, [own, once])] == [
            (DeliveryState.DEAD, 3),
            (DeliveryState.DEAD, 1),
        ]


@pytest.mark.parametrize("stored", ['["soon"]', "[5]", "7"])
async def test_an_unreadable_schedule_stands_for_none_and_fails_no_claim(
    sqlite_url: str, receiver: Receiver, stored: str
) -> None:
    async with open_app(sqlite_url, retry_schedule="45s") as app:
        broken = await app.register(receiver.url("/broken"))
        await app.register(receiver.url("/other"))
        receiver.program("/broken", 500)
        async with app.context.database.write() as tx:
            await execute(
                tx, "UPDATE endpoints SET retry_schedule = :stored WHERE id = :id", stored=stored, id=broken.endpoint.id
            )
        [event] = await app.publish()
        with capture_logs() as logs:
            await app.work()
        found = await deliveries_of(app, event.delivery_ids)
        assert {(one.state, one.due_at) for one in found} == {
            (DeliveryState.PENDING, START + timedelta(seconds=45)),
            (DeliveryState.DELIVERED, None),
        }
        assert {one["endpoint_id"] for one in logs if one["event"] == "retry_schedule_unreadable"} == {
            broken.endpoint.id
        }


async def test_an_attempt_ends_at_its_endpoints_own_timeout(sqlite_url: str, receiver: Receiver) -> None:
    async with open_app(sqlite_url, attempt_timeout_seconds=15) as app:
        await app.register(receiver.url("/hook"), timeout_seconds=1)
        receiver.program("/hook", Reply(hang=True))
        [event] = await app.publish()
        await app.work()
        async with app.transaction() as tx:
            [attempt] = await delivery_history.attempts_of(tx, event.delivery_ids[0])
        assert attempt.outcome == "timed_out"


@pytest.mark.parametrize(("seconds", "lease"), [(30, 40), (10, 20), (1, 20)])
async def test_a_longer_timeout_makes_the_lease_longer_by_as_much(
    database_url: str, receiver: Receiver, seconds: int, lease: int
) -> None:
    async with open_app(database_url, lease_seconds=20, attempt_timeout_seconds=10) as app:
        await app.register(receiver.url("/hook"), timeout_seconds=seconds)
        [event] = await app.publish()
        [claimed] = (await claim(app.context, event.delivery_ids)).to_send
        [delivery] = await deliveries_of(app, event.delivery_ids)
        assert delivery.leased_until == claimed.leased_until == START + timedelta(seconds=lease)


async def test_a_claim_takes_no_more_than_the_cap_of_all_workers(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        endpoint = (await app.register(receiver.url("/hook"), max_in_flight=2)).endpoint
        ids = [(await app.publish())[0].delivery_ids[0] for _ in range(4)]
        first = await claim(app.context, ids[:3])
        assert [one.delivery.id for one in first.to_send] == ids[:2]
        assert first.held_endpoint_ids == {endpoint.id}
        second = await claim(app.context, ids[3:])
        assert second.to_send == []
        assert second.held_endpoint_ids == set()
        await release(app.context, first.to_send[:1])
        third = await claim(app.context, ids[:1])
        assert [one.delivery.id for one in third.to_send] == ids[:1]


async def test_two_workers_together_keep_to_an_endpoints_cap(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        await app.register(receiver.url("/hook"), max_in_flight=1)
        receiver.forget()
        receiver.program("/hook", Reply(held=True))
        ids = [(await app.publish())[0].delivery_ids[0] for _ in range(6)]
        workers = [Dispatcher(app.context), Dispatcher(app.context)]
        await workers[0].submit(ids[:3])
        await workers[1].submit(ids[3:])
        for arrived in range(1, 7):
            await receiver.wait_for(arrived, "/hook")
            assert len(receiver.requests("/hook")) == arrived
            receiver.release()
        await eventually(lambda: all(worker.is_idle for worker in workers), what="idle workers")
        for worker in workers:
            await worker.drain(0)
        assert {one.state for one in await deliveries_of(app, ids)} == {DeliveryState.DELIVERED}
