"""What receivers say is honoured: when to come back, never to come back, and nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import format_datetime

import pytest

from sendoff.operators.queries import list_dead_letters
from sendoff.policy.states import DeliveryState
from sendoff.store.queries import endpoints
from sendoff.store.queries.traffic import delivery_history
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.tables import Delivery, Endpoint
from tests.support.app_fixture import START, AppFixture, open_app
from tests.support.exchange import Reply
from tests.support.receiver import Receiver

LONGEST_WAIT = 43_200


async def find(app: AppFixture, delivery_id: str) -> Delivery:
    async with app.transaction() as tx:
        found = await delivery_history.find(tx, delivery_id)
    assert found is not None
    return found


async def find_endpoint(app: AppFixture, endpoint_id: str) -> Endpoint:
    async with app.transaction() as tx:
        found = await endpoints.find(tx, endpoint_id)
    assert found is not None
    return found


def http_date(moment: datetime) -> str:
    return format_datetime(moment.replace(microsecond=0), usegmt=True)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("said", "wait"),
    [
        ("3600", 3600),
        (http_date(START + timedelta(seconds=7200)), 7200),
        ("7", 60),  # sooner than the schedule: the schedule's
        ("9999999", LONGEST_WAIT),
        ("soon", 60),
        (http_date(START - timedelta(days=1)), 60),
    ],
)
async def test_retry_after_is_followed_never_sooner_and_no_longer_than_the_schedule_waits(
    database_url: str, receiver: Receiver, status: int, said: str, wait: int
) -> None:
    async with open_app(database_url) as app:
        await app.register(receiver.url("/hook"))
        receiver.program("/hook", Reply(status=status, headers=(("Retry-After", said),)), 200)
        [event] = await app.publish()
        await app.work()
        due_at = (await find(app, event.delivery_ids[0])).due_at
        assert due_at is not None
        assert abs(due_at - START - timedelta(seconds=wait)) <= timedelta(seconds=1)
        receiver.forget()
        app.clock.advance(wait - 1)
        await app.work()
        assert receiver.requests("/hook") == []
        app.clock.advance(2)
        await app.work()
        assert (await find(app, event.delivery_ids[0])).state == DeliveryState.DELIVERED


async def test_retry_after_on_another_status_means_nothing(sqlite_url: str, receiver: Receiver) -> None:
    async with open_app(sqlite_url) as app:
        await app.register(receiver.url("/hook"))
        receiver.program("/hook", Reply(status=500, headers=(("Retry-After", "3600"),)))
        [event] = await app.publish()
        await app.work()
        assert (await find(app, event.delivery_ids[0])).due_at == START + timedelta(seconds=60)


async def test_a_410_is_the_end_for_all_that_the_endpoint_still_had(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        registered = await app.register(receiver.url("/hook"))
        receiver.program("/hook", 503, 410)
        [first] = await app.publish()
        await app.work()
        [second] = await app.publish()
        await app.work()
        assert (await find_endpoint(app, registered.endpoint.id)).state == "gone"
        letters = (await list_dead_letters(app.context, DeadLetterFilter(), limit=10)).rows
        assert {letter.event_id: letter.reason for letter in letters} == {
            first.id: "endpoint_gone",
            second.id: "endpoint_gone",
        }
        [third] = await app.publish()
        assert third.delivery_ids == []


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 308])
async def test_a_redirect_is_a_failure_and_is_never_followed(sqlite_url: str, receiver: Receiver, status: int) -> None:
    async with open_app(sqlite_url) as app:
        registered = await app.register(receiver.url("/hook"))
        receiver.program("/hook", Reply(status=status, headers=(("Location", receiver.url("/elsewhere")),)))
        [event] = await app.publish()
        await app.work()
        delivery = await find(app, event.delivery_ids[0])
        assert (delivery.state, delivery.attempt_count, delivery.last_response_status) == ("pending", 1, status)
        assert (await find_endpoint(app, registered.endpoint.id)).consecutive_failures == 1
        assert receiver.requests("/elsewhere") == []


@pytest.mark.parametrize(("status", "state"), [(200, "delivered"), (500, "pending")])
async def test_a_body_over_the_cap_is_judged_on_its_status(
    sqlite_url: str, receiver: Receiver, status: int, state: str
) -> None:
    async with open_app(sqlite_url) as app:
        await app.register(receiver.url("/hook"))
        receiver.program("/hook", Reply(status=status, body="x" * 1_000_000))
        [event] = await app.publish()
        await app.work()
        delivery = await find(app, event.delivery_ids[0])
        assert (delivery.state, delivery.attempt_count, delivery.last_response_status) == (state, 1, status)


async def test_a_2xx_whose_body_never_ends_acknowledges(sqlite_url: str, receiver: Receiver) -> None:
    async with open_app(sqlite_url, attempt_timeout_seconds=0.5) as app:
        registered = await app.register(receiver.url("/hook"))
        receiver.program("/hook", Reply(status=200, body="x" * 100, trickle=0.1))
        [event] = await app.publish()
        await app.work()
        async with app.transaction() as tx:
            [attempt] = await delivery_history.attempts_of(tx, event.delivery_ids[0])
        assert (attempt.outcome, attempt.response_status) == ("ok", 200)
        assert (await find_endpoint(app, registered.endpoint.id)).consecutive_failures == 0
