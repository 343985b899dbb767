"""Metrics agree with the tables: what was counted while deliveries were made, and what is counted in the database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import Counter, Histogram
from sqlalchemy import text
from structlog.testing import capture_logs

from sendoff.delivery.pipeline import claim
from sendoff.endpoints.state import disable_by_operator
from sendoff.observability import metrics
from sendoff.operators.actions import retry_delivery, switch_endpoint
from sendoff.operators.installation.measurements import count_unreadable_secrets, measure
from sendoff.operators.replays.replay import Selection, start_replay, tick_replay
from sendoff.policy.delivery.replay_feed import SPREAD_SECONDS
from sendoff.publishing.publish import NewEvent
from sendoff.store.queries import endpoints
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.vault import Vault
from tests.support.app_fixture import ACTOR, AppFixture, open_app
from tests.support.receiver import Receiver

SHORT = {"retry_schedule": "60s,60s", "disable_after_failures": 1_000}


class Counted:
    """What the counters of this process say since the start of a test."""

    def __init__(self) -> None:
        self._before = dict(self._samples())

    def of(self, counter: Counter | Histogram, **labels: str) -> float:
        """How much was added to the series with these labels, over all values of the others."""
        name = next(iter(counter.describe())).name
        return sum(
            value - self._before.get((sample, own), 0.0)
            for (sample, own), value in self._samples()
            if sample in (f"{name}_total", f"{name}_count") and labels.items() <= dict(own).items()
        )

    @staticmethod
    def _samples() -> Iterator[tuple[tuple[str, tuple[tuple[str, str], ...]], float]]:
        for family in metrics.REGISTRY.collect():
            for sample in family.samples:
                yield (sample.name, tuple(sample.labels.items())), sample.value


async def rows(app: AppFixture, query: str) -> dict[str, int]:
    async with app.transaction() as tx:
        return {str(name): int(number) for name, number in (await tx.execute(text(query))).all()}


async def test_counters_agree_with_the_tables_after_a_storm(database_url: str, receiver: Receiver) -> None:
    counted = Counted()
    async with open_app(database_url, **SHORT) as app:
        for path in ("/fine", "/fails", "/gone", "/recovers"):
            await app.register(receiver.url(path))
        receiver.program("/fails", 500)
        receiver.program("/gone", 410)
        receiver.program("/recovers", 503, 503, 503, 200)
        for _ in range(4):
            await app.publish(*[NewEvent("upload.completed", b"{}") for _ in range(5)])
            await app.work()
            app.clock.advance(61)
        await app.work()
        app.clock.advance(61)
        await app.work()
        await _replay_what_failed(app, receiver)

        attempts = await rows(app, "SELECT outcome, count(*) FROM attempts GROUP BY outcome")
        assert {outcome: counted.of(metrics.ATTEMPTS, outcome=outcome) for outcome in attempts} == attempts
        assert counted.of(metrics.ATTEMPT_SECONDS) == counted.of(metrics.ATTEMPTS) == sum(attempts.values())
        states = await rows(app, "SELECT state, count(*) FROM deliveries GROUP BY state")
        letters = await rows(app, "SELECT reason, count(*) FROM dead_letters GROUP BY reason")
        assert set(letters) == {"retries_exhausted", "endpoint_gone"}
        assert {reason: counted.of(metrics.DEAD_LETTERS, reason=reason) for reason in letters} == letters
        assert counted.of(metrics.DELIVERIES, result="dead") == sum(letters.values())
        assert counted.of(metrics.DELIVERIES, result="delivered") == states["delivered"]
        replayed = await rows(app, "SELECT state, count(*) FROM replay_items GROUP BY state")
        assert counted.of(metrics.RETRIES, trigger="replay") == sum(replayed.values())
        assert counted.of(metrics.DELIVERY_LATENCY) == states["delivered"] - replayed["succeeded"]
        assert counted.of(metrics.RETRIES, trigger="manual") == 1
        assert counted.of(metrics.RETRIES, trigger="automatic") > 0
        measured = await measure(app.context)
        assert sum(measured.deliveries_open.values()) == 0
        open_letters = await rows(app, "SELECT reason, count(*) FROM dead_letters WHERE state = 'open' GROUP BY reason")
        assert {reason: number for reason, number in measured.dead_letters_open.items() if number} == open_letters
        assert counted.of(metrics.ENDPOINT_STATE_CHANGES, to="gone", reason="answered_410") == 1


async def _replay_what_failed(app: AppFixture, receiver: Receiver) -> None:
    receiver.program("/fails", 200)
    [(delivery_id, _)] = (
        await rows(
            app, "SELECT delivery_id, 1 FROM dead_letters WHERE reason = 'retries_exhausted' ORDER BY id LIMIT 1"
        )
    ).items()
    await retry_delivery(app.context, ACTOR, delivery_id)
    started = await start_replay(
        app.context, ACTOR, Selection(DeadLetterFilter(reason="retries_exhausted")), rate=5_000
    )
    app.clock.advance(1)
    await tick_replay(app.context, started.replay.id)
    app.clock.advance(SPREAD_SECONDS)
    await app.work()


async def test_open_work_is_measured_in_the_database(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, endpoint_max_in_flight=1) as app:
        registered = await app.register(receiver.url("/hook"))
        await app.publish(*[NewEvent("upload.completed", b"{}") for _ in range(5)])
        app.clock.advance(30)
        measured = await measure(app.context)
        assert measured.deliveries_open == {"pending": 3, "held": 2, "queued": 0, "in_flight": 0}
        assert measured.oldest_due_seconds == pytest.approx(30)
        assert measured.endpoints["active"] == 1
        assert sum(measured.slow.storage_bytes.values()) > 0
        assert count_unreadable_secrets(app.context, measured) == 0
        other = replace(app.context, vault=Vault(["o" * 32]))
        assert count_unreadable_secrets(other, measured) == 1
        await switch_endpoint(app.context, ACTOR, registered.endpoint.id, on=False)
        again = await measure(app.context, before=measured)
        assert again.dead_letters_open["endpoint_disabled"] == 5
        assert again.slow == measured.slow  # younger than a minute
        assert again.oldest_due_seconds == 0


async def test_rows_that_purging_left_behind_are_measured(sqlite_url: str, receiver: Receiver) -> None:
    async with open_app(sqlite_url, retention_days=1) as app:
        await app.register(receiver.url("/hook"))
        await app.publish()
        await app.work()
        app.clock.advance(timedelta(days=1, hours=2).total_seconds())
        assert (await measure(app.context)).retention_lag_seconds == pytest.approx(7_200)


async def test_a_replay_that_sends_nothing_is_stuck(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, retry_schedule="none") as app:
        await app.register(receiver.url("/hook"))
        receiver.program("/hook", 500)
        await app.publish()
        await app.work()
        await start_replay(app.context, ACTOR, Selection(DeadLetterFilter()))
        app.clock.advance(59)
        first = await measure(app.context)
        assert (first.replays_running, first.replays_stuck) == (1, 0)
        app.clock.advance(2)
        assert (await measure(app.context)).replays_stuck == 1


async def test_a_takeover_is_counted_and_told(database_url: str, receiver: Receiver) -> None:
    counted = Counted()
    async with open_app(database_url, lease_seconds=20) as app:
        await app.register(receiver.url("/hook"))
        accepted = await app.publish(NewEvent("upload.completed", b"{}"), NewEvent("upload.completed", b"{}"))
        ids = [one for event in accepted for one in event.delivery_ids]
        with capture_logs() as logs:
            assert len((await claim(app.context, ids[:1])).to_send) == 1
            assert counted.of(metrics.LEASE_TAKEOVERS) == 0
            app.clock.advance(21)
            assert len((await claim(app.context, ids)).to_send) == 2
    assert counted.of(metrics.LEASE_TAKEOVERS) == 1
    [told] = [line for line in logs if line["event"] == "deliveries_taken_over"]
    assert told["deliveries"] == 1


async def _disable_and_fail(app: AppFixture, endpoint_id: str) -> None:
    async with app.context.database.write() as tx:
        endpoint = await endpoints.find(tx, endpoint_id, lock=True)
        assert endpoint is not None
        disable_by_operator(endpoint, app.clock.now())
        _ = 1 / 0


async def test_a_change_of_state_is_told_once_it_is_committed(sqlite_url: str, receiver: Receiver) -> None:
    counted = Counted()
    async with open_app(sqlite_url) as app:
        registered = await app.register(receiver.url("/hook?token=secret"))
        with capture_logs() as logs:
            with pytest.raises(ZeroDivisionError):
                await _disable_and_fail(app, registered.endpoint.id)
            assert counted.of(metrics.ENDPOINT_STATE_CHANGES) == 0
            await switch_endpoint(app.context, ACTOR, registered.endpoint.id, on=False)
    assert counted.of(metrics.ENDPOINT_STATE_CHANGES, to="disabled", reason="operator") == 1
    [told] = [line for line in logs if line["event"] == "endpoint_state_changed"]
    assert (told["before"], told["state"], told["reason"]) == ("active", "disabled", "operator")
    assert "secret" not in str(told)
