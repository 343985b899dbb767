"""A delivery's way through real SQL and a real wire: sent, signed, retried on schedule, given up, found again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sendoff.operators.queries import get_dead_letter, list_dead_letters
from sendoff.policy.states import DeliveryState
from sendoff.publishing.publish import NewEvent
from sendoff.store.queries import endpoints
from sendoff.store.queries.traffic import delivery_history
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.tables import Delivery
from tests.support.app_fixture import START, AppFixture, open_app
from tests.support.exchange import Received
from tests.support.receiver import Receiver
from tests.support.reference_signatures import is_signed

WAITS = [60, 300, 1800, 7200, 43200]


async def find(app: AppFixture, delivery_id: str) -> Delivery:
    async with app.transaction() as tx:
        found = await delivery_history.find(tx, delivery_id)
    assert found is not None
    return found


async def test_an_event_reaches_its_endpoint_signed_and_is_recorded(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        registered = await app.register(receiver.url("/hook"))
        [event] = await app.publish(NewEvent("upload.completed", b'{"b": 1.50, "a":"\\u00e9"}'))
        await app.work()

        ping, request = receiver.requests("/hook")
        assert ping.header("X-OptimalDial-Event") == "webhook.ping"
        assert b'"data":{"b": 1.50, "a":"\\u00e9"}}' in request.body
        assert request.header("X-OptimalDial-Event-Id") == event.id
        assert request.header("X-OptimalDial-Delivery-Id") == event.delivery_ids[0]
        assert request.header("X-OptimalDial-Timestamp") == str(int(START.timestamp()))
        delivery = await find(app, event.delivery_ids[0])
        assert (delivery.state, delivery.attempt_count) == (DeliveryState.DELIVERED, 1)
        async with app.transaction() as tx:
            [attempt] = await delivery_history.attempts_of(tx, delivery.id)
            endpoint = await endpoints.find(tx, registered.endpoint.id)
        assert (attempt.number, attempt.response_status, attempt.outcome) == (1, 200, "ok")
        assert endpoint is not None
        assert endpoint.last_success_at == START


async def test_a_receiver_that_fails_five_times_gets_six_attempts_with_the_same_bytes(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url) as app:
        registered = await app.register(receiver.url("/hook"))
        receiver.forget()
        receiver.program("/hook", 500, 502, 301, 404, 503, 200)
        [event] = await app.publish()
        await app.work()
        for made, wait in enumerate(WAITS, start=1):
            app.clock.advance(wait - 1)
            await app.work()
            assert len(receiver.requests("/hook")) == made
            app.clock.advance(1)
            await app.work()

        requests = receiver.requests("/hook")
        assert [request.header("X-OptimalDial-Attempt") for request in requests] == list("123456")
        assert len({request.body for request in requests}) == 1
        assert len({request.header("X-OptimalDial-Timestamp") for request in requests}) == 6
        assert len({request.header("X-OptimalDial-Signature") for request in requests}) == 6
        for request in requests:
            moment = int(request.header("X-OptimalDial-Timestamp"))
            assert is_signed(_as_if_it_arrived_at(request, moment), "optimaldial", [registered.secret])
        assert (await find(app, event.delivery_ids[0])).state == DeliveryState.DELIVERED


async def test_a_delivery_that_is_never_acknowledged_becomes_a_dead_letter_with_all_that_happened(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url) as app:
        registered = await app.register(receiver.url("/hook"))
        receiver.program("/hook", 500)
        [event] = await app.publish()
        await app.work()
        for wait in WAITS:
            app.clock.advance(wait)
            await app.work()
        app.clock.advance(timedelta(days=2).total_seconds())
        await app.work()

        delivery = await find(app, event.delivery_ids[0])
        assert (delivery.state, delivery.attempt_count, delivery.due_at) == (DeliveryState.DEAD, 6, None)
        [letter] = (await list_dead_letters(app.context, DeadLetterFilter(), limit=10)).rows
        assert (letter.reason, letter.attempt_count, letter.last_response_status) == ("retries_exhausted", 6, 500)
        report = (await get_dead_letter(app.context, letter.id)).delivery
        last = receiver.requests("/hook")[-1]
        assert report.request_body == last.body
        assert [attempt.number for attempt in report.attempts] == [1, 2, 3, 4, 5, 6]
        assert report.last_exchange is not None
        assert report.last_exchange.attempt == 6
        sent = dict(report.last_exchange.request_headers)
        assert sent["X-OptimalDial-Signature"] == last.header("X-OptimalDial-Signature")
        assert report.last_exchange.response_body == b"ok"
        async with app.transaction() as tx:
            endpoint = await endpoints.find(tx, registered.endpoint.id)
        assert endpoint is not None
        assert endpoint.consecutive_failures == 6


async def test_events_without_a_subscription_are_not_delivered(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        await app.register(receiver.url("/failed"), "upload.failed")
        await app.register(receiver.url("/both"), "upload.failed", "upload.completed")
        receiver.forget()
        await app.publish()
        await app.work()
        assert [request.path for request in receiver.requests()] == ["/both"]


async def test_an_endpoint_over_its_cap_gets_all_its_held_deliveries(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, endpoint_max_in_flight=3) as app:
        await app.register(receiver.url("/hook"))
        receiver.forget()
        events = await app.publish(*[NewEvent("upload.completed", b"{}") for _ in range(40)])
        await app.work()
        arrived = [request.header("X-OptimalDial-Event-Id") for request in receiver.requests("/hook")]
        assert sorted(arrived) == sorted(event.id for event in events)
        assert receiver.connections <= 4  # the ping's, and never more than three at once


async def test_twenty_consecutive_failures_disable_the_endpoint_and_dead_letter_its_deliveries(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url) as app:
        registered = await app.register(receiver.url("/hook"))
        receiver.program("/hook", 500)
        await app.publish(*[NewEvent("upload.completed", b"{}") for _ in range(19)])
        await app.work()
        async with app.transaction() as tx:
            before = await endpoints.find(tx, registered.endpoint.id)
        assert before is not None
        assert (before.state, before.consecutive_failures) == ("active", 19)

        await app.publish()
        await app.work()
        async with app.transaction() as tx:
            after = await endpoints.find(tx, registered.endpoint.id)
        assert after is not None
        assert (after.state, after.disabled_at, after.drain_due) == ("disabled", START, False)
        letters = (await list_dead_letters(app.context, DeadLetterFilter(), limit=100)).rows
        assert [letter.reason for letter in letters] == ["endpoint_disabled"] * 20
        sent = len(receiver.requests("/hook"))
        app.clock.advance(100_000)
        await app.work()
        assert len(receiver.requests("/hook")) == sent


async def test_a_410_disables_the_endpoint_for_good(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        await app.register(receiver.url("/hook"))
        receiver.program("/hook", 410)
        await app.publish()
        await app.work()
        [letter] = (await list_dead_letters(app.context, DeadLetterFilter(), limit=10)).rows
        assert (letter.reason, letter.attempt_count) == ("endpoint_gone", 1)
        assert await app.publish() != []
        assert app.queue.deliveries == []


@pytest.mark.parametrize("status", [200, 201, 204, 299])
async def test_any_2xx_acknowledges(sqlite_url: str, receiver: Receiver, status: int) -> None:
    async with open_app(sqlite_url) as app:
        await app.register(receiver.url("/hook"))
        receiver.program("/hook", status)
        [event] = await app.publish()
        await app.work()
        assert (await find(app, event.delivery_ids[0])).state == DeliveryState.DELIVERED


def _as_if_it_arrived_at(request: Received, moment: int) -> Received:
    return replace(request, arrived_at=float(moment))
