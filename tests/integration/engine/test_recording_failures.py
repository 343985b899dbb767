"""What failed is recorded by the dozen; what turns out to be more than a plain failure is not lost among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from sendoff.delivery.pipeline import FinishedAttempt, claim, deliver
from sendoff.delivery.record import Recorder, record
from sendoff.endpoint_health.draining import drain_inactive_endpoints
from sendoff.endpoints import manage as managing
from sendoff.errors import Unavailable
from sendoff.observability.metrics import REGISTRY
from sendoff.operators.queries import list_dead_letters
from sendoff.policy.states import DeliveryState, EndpointState
from sendoff.publishing.publish import NewEvent
from sendoff.store.queries import endpoints
from sendoff.store.queries.traffic import delivery_history
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.queries.traffic.delivery_history import DeliveryFilter
from sendoff.store.tables import Delivery, Endpoint
from tests.support.app_fixture import ACTOR, AppFixture, open_app
from tests.support.exchange import Reply
from tests.support.query_counter import count_queries
from tests.support.receiver import Receiver

COMPLETED = NewEvent("upload.completed", b"{}")
FAILURES = 50


async def attempt(app: AppFixture, delivery_ids: Sequence[str]) -> list[FinishedAttempt]:
    claimed = (await claim(app.context, delivery_ids)).to_send
    return [await deliver(app.context, one) for one in claimed]


async def look(app: AppFixture, endpoint_id: str) -> tuple[Endpoint, list[Delivery]]:
    async with app.transaction() as tx:
        endpoint = await endpoints.find(tx, endpoint_id)
        found = (await delivery_history.scan_page(tx, DeliveryFilter(endpoint_id=endpoint_id), limit=100)).rows
    assert endpoint is not None
    return endpoint, [delivery for delivery, *_ in found]


async def test_a_failed_attempt_is_recorded_in_full_and_its_delivery_is_due_again(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url) as app:
        registered = await app.register(receiver.url("/hook"))
        replies = [Reply(status=500, body="one\x00", headers=(("X-Odd", "\xff\x80"),)), Reply(status=404, body="two")]
        receiver.program("/hook", *replies)
        [event] = await app.publish()
        for number, reply in enumerate(replies, start=1):
            await record(app.context, await attempt(app, event.delivery_ids))
            endpoint, [delivery] = await look(app, registered.endpoint.id)
            assert (endpoint.consecutive_failures, endpoint.last_failure_at) == (number, app.clock.now())
            assert (delivery.state, delivery.attempt_count) == (DeliveryState.PENDING, number)
            assert delivery.due_at is not None
            assert delivery.due_at > app.clock.now()
            assert delivery.last_response_status == reply.status
            async with app.transaction() as tx:
                kept = await delivery_history.last_exchange_of(tx, delivery.id)
                made = await delivery_history.attempts_of(tx, delivery.id)
            assert kept is not None
            assert (kept.attempt, kept.response_body) == (number, reply.body.encode())
            assert [pair for pair in kept.response_headers or [] if pair[0] == "x-odd"] == [
                [name.lower(), value] for name, value in reply.headers
            ]
            assert [one.response_status for one in made] == [500, 404][:number]
            app.clock.advance(3600)


async def test_failures_that_disable_an_endpoint_are_distinguished(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, disable_after_failures=3) as app:
        fails_often = await app.register(receiver.url("/often"), "upload.completed")
        fails_once = await app.register(receiver.url("/once"), "upload.failed")
        for path in ("/often", "/once"):
            receiver.program(path, 500)
        accepted = await app.publish(*[COMPLETED] * 3, NewEvent("upload.failed", b"{}"))
        await record(app.context, await attempt(app, [one for event in accepted for one in event.delivery_ids]))

        endpoint, failed = await look(app, fails_often.endpoint.id)
        assert (endpoint.state, endpoint.consecutive_failures) == (EndpointState.DISABLED, 3)
        assert {delivery.state for delivery in failed} == {DeliveryState.DEAD}
        assert len((await list_dead_letters(app.context, DeadLetterFilter(), limit=10)).rows) == 3
        endpoint, failed = await look(app, fails_once.endpoint.id)
        assert (endpoint.state, endpoint.consecutive_failures) == (EndpointState.ACTIVE, 1)
        assert [delivery.state for delivery in failed] == [DeliveryState.PENDING]


async def test_a_failure_for_an_endpoint_that_was_disabled_meanwhile_is_a_dead_letter(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url) as app:
        registered = await app.register(receiver.url("/hook"))
        receiver.program("/hook", 500)
        [event] = await app.publish()
        finished = await attempt(app, event.delivery_ids)
        await managing.delete_endpoint(app.context, app.principal.organization_id, ACTOR, registered.endpoint.id)
        await record(app.context, finished)
        _, [delivery] = await look(app, registered.endpoint.id)
        assert delivery.state == DeliveryState.DEAD
        [letter] = (await list_dead_letters(app.context, DeadLetterFilter(), limit=10)).rows
        assert (letter.reason, letter.attempt_count) == ("endpoint_deleted", 1)


async def test_a_failure_whose_lease_was_lost_changes_nothing(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        registered = await app.register(receiver.url("/hook"))
        receiver.program("/hook", 500, 200)
        [first] = await app.publish()
        late = await attempt(app, first.delivery_ids)
        app.clock.advance(app.context.settings.lease_seconds)
        await record(app.context, await attempt(app, first.delivery_ids))
        receiver.program("/hook", 500)
        [second] = await app.publish()
        await record(app.context, [*late, *await attempt(app, second.delivery_ids)])
        endpoint, found = await look(app, registered.endpoint.id)
        assert endpoint.consecutive_failures == 1
        assert {delivery.event_id: (delivery.state, delivery.attempt_count) for delivery in found} == {
            first.id: (DeliveryState.DELIVERED, 1),
            second.id: (DeliveryState.PENDING, 1),
        }


@pytest.mark.parametrize("status", [500, 200])
async def test_a_group_of_plain_attempts_is_one_statement(postgres_url: str, receiver: Receiver, status: int) -> None:
    async with open_app(postgres_url, disable_after_failures=FAILURES + 1) as app:
        await app.register(receiver.url("/hook"))
        receiver.program("/hook", status)
        accepted = await app.publish(*[COMPLETED] * FAILURES)
        finished = await attempt(app, [one for event in accepted for one in event.delivery_ids])
        with count_queries() as spent:
            await record(app.context, finished)
        assert (spent.statements, spent.commits) == (1, 1)
        async with app.transaction() as tx:
            recorded = await delivery_history.find_many(tx, [attempt.claim.delivery.id for attempt in finished])
        wanted = DeliveryState.DELIVERED if status == 200 else DeliveryState.PENDING
        assert Counter(delivery.state for delivery in recorded) == {wanted: FAILURES}
        assert {delivery.attempt_count for delivery in recorded} == {1}


async def test_successes_failures_and_dead_letters_share_one_statement(postgres_url: str, receiver: Receiver) -> None:
    async with open_app(postgres_url, retry_schedule="none") as app:
        answers_well = await app.register(receiver.url("/well"), "upload.completed")
        answers_badly = await app.register(receiver.url("/badly"), "upload.failed")
        receiver.program("/well", 200)
        receiver.program("/badly", 500)
        accepted = await app.publish(COMPLETED, NewEvent("upload.failed", b"{}"))
        finished = await attempt(app, [one for event in accepted for one in event.delivery_ids])
        with count_queries() as spent:
            await record(app.context, finished)
        assert (spent.statements, spent.commits) == (1, 1)
        _, [delivered] = await look(app, answers_well.endpoint.id)
        _, [dead] = await look(app, answers_badly.endpoint.id)
        assert (delivered.state, dead.state) == (DeliveryState.DELIVERED, DeliveryState.DEAD)
        [letter] = (await list_dead_letters(app.context, DeadLetterFilter(), limit=10)).rows
        assert (letter.delivery_id, letter.reason, letter.event_type) == (dead.id, "retries_exhausted", "upload.failed")
        assert letter.last_response_status == 500


async def test_an_endpoint_that_was_not_disabled_when_the_process_died_is_disabled_by_its_next_failure(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: object) -> None:
        raise Unavailable("The database cannot be reached; try again.")

    async with open_app(database_url, disable_after_failures=2) as app:
        registered = await app.register(receiver.url("/hook"))
        receiver.program("/hook", 500)
        first = await app.publish(COMPLETED, COMPLETED)
        failed = await attempt(app, [one for event in first for one in event.delivery_ids])
        with monkeypatch.context() as patched:
            patched.setattr("sendoff.endpoint_health.closing._close", unavailable)
            await record(app.context, failed)
        endpoint, _ = await look(app, registered.endpoint.id)
        assert (endpoint.state, endpoint.consecutive_failures) == (EndpointState.ACTIVE, 2)
        [event] = await app.publish()
        await record(app.context, await attempt(app, event.delivery_ids))
        endpoint, _ = await look(app, registered.endpoint.id)
        assert (endpoint.state, endpoint.consecutive_failures) == (EndpointState.DISABLED, 3)
        await drain_inactive_endpoints(app.context)
        _, found = await look(app, registered.endpoint.id)
        assert {delivery.state for delivery in found} == {DeliveryState.DEAD}


@pytest.mark.parametrize("step", ["close_failing_endpoints", "advance"])
async def test_attempts_are_recorded_once_though_what_follows_fails(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def count_lost() -> float:
        return REGISTRY.get_sample_value("sendoff_leases_lost_total") or 0.0

    async def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    done: list[FinishedAttempt] = []
    async with open_app(database_url) as app:
        registered = await app.register(receiver.url("/hook"))
        receiver.program("/hook", 500)
        accepted = await app.publish(COMPLETED, COMPLETED)
        failed = await attempt(app, [one for event in accepted for one in event.delivery_ids])
        lost_before = count_lost()
        monkeypatch.setattr(f"sendoff.delivery.record.{step}", fail)
        recorder = Recorder(app.context, done.extend)
        for one in failed:
            recorder.add(one)
        await recorder.close(within=30)
        endpoint, found = await look(app, registered.endpoint.id)
    assert done == failed
    assert endpoint.consecutive_failures == 2
    assert [delivery.attempt_count for delivery in found] == [1, 1]
    assert count_lost() == lost_before, "they were recorded under their leases"


async def test_dead_letters_are_counted_whatever_made_them(database_url: str, receiver: Receiver) -> None:
    def count() -> float:
        return REGISTRY.get_sample_value("sendoff_dead_letters_total", {"reason": "endpoint_deleted"}) or 0.0

    async with open_app(database_url) as app:
        registered = await app.register(receiver.url("/hook"))
        receiver.program("/hook", 500)
        under_way, _waits, claimed_later = await app.publish(COMPLETED, COMPLETED, COMPLETED)
        finished = await attempt(app, under_way.delivery_ids)
        before = count()
        async with app.context.database.write() as tx:
            endpoint = await endpoints.find(tx, registered.endpoint.id, lock=True)
            assert endpoint is not None
            endpoint.state, endpoint.drain_due = EndpointState.DELETED, True
        await record(app.context, finished)
        assert count() == before + 1
        await claim(app.context, claimed_later.delivery_ids)
        assert count() == before + 2
        await drain_inactive_endpoints(app.context)
        assert count() == before + 3
