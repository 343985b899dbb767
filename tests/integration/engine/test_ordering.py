"""Ordered endpoints: one delivery at a time in the order of acceptance, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sendoff.delivery.pipeline import claim
from sendoff.endpoints.fields import NewEndpoint
from sendoff.endpoints.manage import EndpointChange, register_endpoint, update_endpoint
from sendoff.operators.actions import retry_delivery
from sendoff.operators.installation.reconcile import reconcile
from sendoff.operators.replays.replay import Selection, start_replay, tick_replay
from sendoff.policy.states import DeliveryState
from sendoff.publishing.history import ListedDelivery, list_deliveries
from sendoff.publishing.publish import NewEvent
from sendoff.recovery.sweep import sweep
from sendoff.store.queries.traffic import deliveries, delivery_history, ordering
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.queries.traffic.delivery_history import DeliveryFilter
from sendoff.store.tables import Delivery, Endpoint
from tests.support.app_fixture import ACTOR, AppFixture, open_app
from tests.support.exchange import Reply
from tests.support.receipts import PING
from tests.support.receiver import Receiver

PENDING, QUEUED = DeliveryState.PENDING, DeliveryState.QUEUED


async def register(app: AppFixture, url: str, *, ordered: bool = True) -> str:
    new = NewEndpoint(url=url, ordered=ordered)
    return (await register_endpoint(app.context, app.principal, ACTOR, new)).endpoint.id


async def set_ordered(app: AppFixture, endpoint_id: str, *, ordered: bool) -> None:
    change = EndpointChange({"ordered": ordered})
    await update_endpoint(app.context, app.principal.organization_id, ACTOR, endpoint_id, change)


async def publish(app: AppFixture, count: int) -> list[str]:
    """Ids of deliveries in the order of acceptance."""
    accepted = await app.publish(*[NewEvent("upload.completed", b'{"n": %d}' % number) for number in range(count)])
    return [identifier for event in accepted for identifier in event.delivery_ids]


async def states_of(app: AppFixture, ids: Sequence[str]) -> list[str]:
    async with app.transaction() as tx:
        found: dict[str, Delivery] = {row.id: row for row in await delivery_history.find_many(tx, ids)}
    return [found[one].state for one in ids]


async def listed(app: AppFixture, endpoint_id: str) -> dict[str, ListedDelivery]:
    page = (await list_deliveries(app.context, DeliveryFilter(endpoint_id=endpoint_id), limit=100)).rows
    return {one.delivery.id: one for one in page}


def sent(receiver: Receiver, path: str = "/hook") -> list[str]:
    found = [request for request in receiver.requests(path) if request.header("X-OptimalDial-Event") != PING]
    return [request.header("X-OptimalDial-Delivery-Id") for request in found]


async def test_deliveries_go_out_one_at_a_time_in_the_order_of_acceptance(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url) as app:
        endpoint_id = await register(app, receiver.url("/hook"))
        ids = await publish(app, 5) + await publish(app, 3)
        assert await states_of(app, ids) == [PENDING, *[QUEUED] * 7]
        found = await listed(app, endpoint_id)
        assert [found[one].waits_for for one in ids] == [None, *[ids[0]] * 7]
        assert [found[one].delivery.next_attempt_at is None for one in ids] == [False, *[True] * 7]
        receiver.forget()
        await app.work()
        assert sent(receiver) == ids
        assert (await reconcile(app.context)).findings == []


async def test_one_that_fails_holds_back_the_later_ones_until_it_is_delivered_or_dead(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, disable_after_failures=1_000) as app:
        endpoint_id = await register(app, receiver.url("/hook"))
        await register(app, receiver.url("/other"), ordered=False)
        receiver.program("/hook", 500, 500, 200)
        ids = [one for one in await publish(app, 4) if one in await listed(app, endpoint_id)]
        receiver.forget()
        await app.work()
        assert sent(receiver) == ids[:1]
        assert len(sent(receiver, "/other")) == 4  # nobody else waits
        assert [(await listed(app, endpoint_id))[one].waits_for for one in ids] == [None, *ids[:1] * 3]
        app.clock.advance(16 * 3600)
        await app.work()
        app.clock.advance(16 * 3600)
        await app.work()
        assert sent(receiver) == [ids[0]] * 3 + ids[1:]


async def test_the_line_goes_on_when_its_head_is_dead(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, retry_schedule="none", disable_after_failures=1_000) as app:
        await register(app, receiver.url("/hook"))
        receiver.program("/hook", 500, 200)
        ids = await publish(app, 3)
        receiver.forget()
        await app.work()
        assert await states_of(app, ids) == ["dead", "delivered", "delivered"]
        assert sent(receiver) == ids


async def test_a_replayed_delivery_takes_its_old_place(database_url: str, receiver: Receiver) -> None:
    """The first two are dead, the third waits for its retry: a replay sends the first two before it, in order."""
    async with open_app(database_url, retry_schedule="1h,1h", disable_after_failures=1_000) as app:
        await register(app, receiver.url("/hook"))
        receiver.program("/hook", *[500] * 7, 200)
        ids = await publish(app, 4)
        receiver.forget()
        for _ in range(4):
            await app.work()
            app.clock.advance(2 * 3600)
        await app.work()
        assert await states_of(app, ids) == ["dead", "dead", PENDING, QUEUED]
        receiver.forget()
        replay = (await start_replay(app.context, ACTOR, Selection(DeadLetterFilter()), rate=100)).replay
        app.clock.advance(0.02)  # two at this rate
        await tick_replay(app.context, replay.id)
        assert await states_of(app, ids) == [PENDING, QUEUED, QUEUED, QUEUED]
        await app.work()
        assert sent(receiver) == ids[:2]
        assert await states_of(app, ids) == ["delivered", "delivered", PENDING, QUEUED]  # its retry keeps its time
        app.clock.advance(2 * 3600)
        await app.work()
        assert sent(receiver) == ids
        assert (await reconcile(app.context)).findings == []


async def test_a_manual_retry_keeps_the_order(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, disable_after_failures=1_000) as app:
        endpoint_id = await register(app, receiver.url("/hook"))
        receiver.program("/hook", 500, 200)
        ids = await publish(app, 3)
        receiver.forget()
        await app.work()
        report = await retry_delivery(app.context, ACTOR, ids[1])
        assert (report.delivery.state, report.waits_for) == (QUEUED, ids[0])
        await app.work()
        assert sent(receiver) == ids[:1]
        await retry_delivery(app.context, ACTOR, ids[0])
        await app.work()
        assert sent(receiver) == [ids[0], *ids]
        assert all(one.waits_for is None for one in (await listed(app, endpoint_id)).values())


async def test_a_dead_one_that_is_retried_by_hand_waits_for_one_in_flight(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, retry_schedule="none", disable_after_failures=1_000) as app:
        await register(app, receiver.url("/hook"))
        receiver.program("/hook", 500, 200)
        ids = await publish(app, 1)
        await app.work()
        later = await publish(app, 2)
        [claimed] = (await claim(app.context, later)).to_send
        report = await retry_delivery(app.context, ACTOR, ids[0])
        assert report.waits_for == claimed.delivery.id == later[0]
        assert await states_of(app, [*ids, *later]) == [QUEUED, "in_flight", QUEUED]
        assert (await claim(app.context, [*ids, *later])).to_send == []


async def test_a_line_whose_worker_died_after_recording_is_advanced_by_the_sweep(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url) as app:
        await register(app, receiver.url("/hook"))
        ids = await publish(app, 2)
        async with app.context.database.write() as tx:  # what the record leaves if nothing follows it
            await deliveries.mark_dead(tx, ids[:1])
        await sweep(app.context)
        assert (await states_of(app, ids))[1] == PENDING
        assert app.queue.deliveries[-1] == ids[1]


async def test_switching_order_on_lines_up_what_is_not_under_way(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, endpoint_max_in_flight=2) as app:
        endpoint_id = await register(app, receiver.url("/hook"), ordered=False)
        ids = await publish(app, 6)
        [claimed] = (await claim(app.context, ids[:1])).to_send
        await set_ordered(app, endpoint_id, ordered=True)
        assert await states_of(app, ids) == ["in_flight", *[QUEUED] * 5]
        more = await publish(app, 1)
        receiver.forget()
        app.clock.advance(60)  # the worker that had the first one is gone
        await app.work()
        assert claimed.delivery.id == ids[0]
        assert sent(receiver) == [*ids, *more]


async def test_switching_order_off_frees_the_line(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, disable_after_failures=1_000) as app:
        endpoint_id = await register(app, receiver.url("/hook"))
        receiver.program("/hook", 500, 200)
        ids = await publish(app, 4)
        receiver.forget()
        await app.work()
        await set_ordered(app, endpoint_id, ordered=False)
        assert await states_of(app, ids) == [PENDING, *["held"] * 3]
        assert app.queue.backlog == {endpoint_id}
        await app.work()
        assert await states_of(app, ids) == [PENDING, *["delivered"] * 3]
        assert sorted(sent(receiver)) == sorted(ids)


async def test_deliveries_accepted_while_order_was_switched_on_enter_the_line(
    database_url: str, receiver: Receiver
) -> None:
    """A publish that read the endpoint before the switch inserts deliveries without a place; a claim notices."""
    async with open_app(database_url) as app:
        endpoint_id = await register(app, receiver.url("/hook"), ordered=False)
        stragglers = await publish(app, 3)
        async with app.context.database.write() as tx:
            (await tx.get_one(Endpoint, endpoint_id)).ordered = True
        assert (await claim(app.context, stragglers)).to_send == []
        assert sorted(await states_of(app, stragglers)) == [PENDING, QUEUED, QUEUED]
        receiver.forget()
        await app.work()
        assert sent(receiver) == stragglers


async def test_places_are_given_in_the_order_of_commits(database_url: str, receiver: Receiver) -> None:
    """Publishers at once: every place is taken once, and a transaction that ends later has the later places."""
    async with open_app(database_url) as app:
        endpoint_id = await register(app, receiver.url("/hook"))
        found = [await publish(app, 1), *await asyncio.gather(*[publish(app, 3) for _ in range(8)])]
        async with app.transaction() as tx:
            rows = await delivery_history.find_many(tx, [one for ids in found for one in ids])
        places = {row.id: row.sequence for row in rows}
        assert sorted(place for place in places.values() if place is not None) == list(range(1, 26))
        for ids in found:
            first = places[ids[0]]
            assert first is not None
            assert [places[one] for one in ids] == list(range(first, first + len(ids)))
        assert sum(state == PENDING for state in await states_of(app, list(places))) == 1
        in_order = sorted(places, key=lambda one: places[one] or 0)
        receiver.forget()
        await app.work()
        assert sent(receiver) == in_order
        async with app.transaction() as tx:
            assert await ordering.find_heads(tx, [endpoint_id]) == {}


async def test_a_line_of_a_disabled_endpoint_is_dead_lettered(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        endpoint_id = await register(app, receiver.url("/hook"))
        ids = await publish(app, 5)
        change = EndpointChange({"is_active": False})
        await update_endpoint(app.context, app.principal.organization_id, ACTOR, endpoint_id, change)
        assert await states_of(app, ids) == ["dead"] * 5
        await app.work()
        assert sent(receiver) == []


async def test_a_late_answer_does_not_let_two_of_a_line_run_at_once(database_url: str, receiver: Receiver) -> None:
    """The head's receiver keeps its answer back: nothing else of the line is claimed, by any worker."""
    async with open_app(database_url) as app:
        await register(app, receiver.url("/hook"))
        receiver.program("/hook", Reply(held=True), 200)
        ids = await publish(app, 3)
        receiver.forget()
        working = asyncio.create_task(app.work())
        await receiver.wait_for(1, "/hook")
        await sweep(app.context)
        assert (await claim(app.context, ids)).to_send == []
        receiver.release()
        await working
        assert sent(receiver) == ids


@pytest.mark.parametrize("behind", [2_000])
async def test_the_sweep_passes_over_a_blocked_line(database_url: str, receiver: Receiver, behind: int) -> None:
    """However many wait behind a head: they are not found due, not held, and their endpoint is not looked into."""
    async with open_app(database_url, disable_after_failures=1_000) as app:
        await register(app, receiver.url("/hook"))
        receiver.program("/hook", 500)
        for _ in range(behind // 1_000):
            await publish(app, 1_000)
        await app.work()
        app.queue.deliveries.clear()
        async with app.transaction() as tx:
            now = app.clock.now()
            assert await deliveries.find_due(tx, now=now, enqueued_until=now, limit=10) == []
            assert await deliveries.find_endpoints_with_held(tx) == []
            assert await ordering.find_stalled(tx) == []
        assert await sweep(app.context) == 0
