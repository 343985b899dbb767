"""Replays of what was never sent, and of what waits for its retry."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from sendoff.context import Context
from sendoff.endpoints.manage import EndpointChange, update_endpoint
from sendoff.errors import Invalid
from sendoff.operators.actions import retry_delivery
from sendoff.operators.installation.reconcile import reconcile
from sendoff.operators.replays import missing, replay
from sendoff.operators.replays.replay import (
    Included,
    ReplayReport,
    Selection,
    cancel_replay,
    count_missing,
    count_replay,
    get_replay,
    start_replay,
    tick_replay,
)
from sendoff.policy.delivery.replay_feed import SPREAD_SECONDS
from sendoff.publishing import evaluation
from sendoff.publishing.evaluation import EvaluationJob
from sendoff.publishing.publish import NewEvent
from sendoff.store.queries import endpoints
from sendoff.store.queries.traffic import delivery_history
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from tests.support.app_fixture import ACTOR, START, AppFixture, open_app
from tests.support.receiver import Receiver


def missing_of(app: AppFixture, **filters: Any) -> Selection:
    chosen: dict[str, Any] = {"organization_id": app.principal.organization_id, "since": START - timedelta(hours=1)}
    return Selection(DeadLetterFilter(**(chosen | filters)), missing=True)


async def run(app: AppFixture, selection: Selection, *, rate: int = 1_000, seconds: int = 2) -> ReplayReport:
    started = await start_replay(app.context, ACTOR, selection, rate=rate)
    for _ in range(seconds):
        app.clock.advance(1)
        await tick_replay(app.context, started.replay.id)
        await app.work()
    return await get_replay(app.context, started.replay.id)


def steps(receiver: Receiver, path: str) -> list[int]:
    return [request.event["data"]["n"] for request in receiver.requests(path)]


async def test_an_endpoint_that_came_later_gets_what_it_would_have_got(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        await app.register(receiver.url("/before"))
        published = [NewEvent("upload.completed", b'{"n":%d}' % number) for number in range(4)]
        await app.publish(*published, NewEvent("upload.created", b'{"n":9}'))
        await app.work()
        late = await app.register(receiver.url("/late"), filter="data.n > 0", transform="{'n': data.n * 10}")
        receiver.forget()
        selection = missing_of(app)
        assert await count_replay(app.context, selection) == (0, 0)
        assert await count_missing(app.context, selection) == 3
        report = await run(app, selection)
        assert sorted(steps(receiver, "/late")) == [10, 20, 30]
        assert receiver.requests("/before") == []
        assert (report.replay.state, report.replay.total, report.progress.succeeded) == ("completed", 3, 3)
        assert await count_missing(app.context, selection) == 0
        again = await run(app, missing_of(app, endpoint_id=late.endpoint.id))
        assert (again.replay.state, again.replay.total) == ("completed", 0)
        assert (await reconcile(app.context)).is_clean


async def test_missing_deliveries_are_narrowed_by_time_type_event_and_endpoint(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url) as app:
        accepted = [(await app.publish(NewEvent("upload.completed", b"{}")))[0] for _ in range(2)]
        app.clock.advance(60)
        accepted += await app.publish(NewEvent("upload.failed", b"{}"))
        one = (await app.register(receiver.url("/one"))).endpoint
        await app.register(receiver.url("/two"))

        async def count(**filters: Any) -> int:
            return await count_missing(app.context, missing_of(app, **filters))

        assert await count() == 6
        assert await count(endpoint_id=one.id) == 3
        assert await count(endpoint_id=one.id, organization_id=None) == 3
        assert await count(event_type="upload.failed") == 2
        assert await count(since=START + timedelta(seconds=30)) == 2
        assert await count(since=None, since_event_id=accepted[2].id) == 2
        assert await count(organization_id=one.id) == 0
        await update_endpoint(app.context, one.organization_id, ACTOR, one.id, EndpointChange({"is_active": False}))
        assert await count() == 3


async def test_missing_deliveries_are_paced_and_a_cancelled_replay_makes_no_more(
    sqlite_url: str, receiver: Receiver
) -> None:
    async with open_app(sqlite_url) as app:
        await app.publish(*[NewEvent("upload.completed", b"{}")] * 6)
        await app.register(receiver.url("/hook"))
        receiver.forget()
        report = await run(app, missing_of(app), rate=2, seconds=1)
        assert len(receiver.requests("/hook")) == 2
        await cancel_replay(app.context, ACTOR, report.replay.id)
        app.clock.advance(1)
        await tick_replay(app.context, report.replay.id)
        await app.work()
        assert len(receiver.requests("/hook")) == 2
        assert await count_missing(app.context, missing_of(app)) == 4
        assert (await reconcile(app.context)).is_clean


async def test_changes_between_start_and_tick_are_respected(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        await app.publish(NewEvent("upload.completed", b'{"n":1}'))
        endpoint = (await app.register(receiver.url("/hook"))).endpoint
        receiver.forget()
        first = await start_replay(app.context, ACTOR, missing_of(app), rate=100)
        second = await start_replay(app.context, ACTOR, missing_of(app), rate=100)
        app.clock.advance(1)
        for started in (first, second):
            await tick_replay(app.context, started.replay.id)
        await app.work()
        assert steps(receiver, "/hook") == [1]
        assert (await get_replay(app.context, second.replay.id)).progress.failed == 1
        await app.publish(NewEvent("upload.created", b'{"n":2}'))
        change = EndpointChange({"events": ["*"], "transform": "{'n': data.nothing}"})
        await update_endpoint(app.context, endpoint.organization_id, ACTOR, endpoint.id, change)
        untransformed = await run(app, missing_of(app))
        assert (untransformed.replay.total, untransformed.progress.failed) == (1, 1)
        assert await count_replay(app.context, Selection(DeadLetterFilter(reason="transform_failed"))) == (1, 1)


async def test_no_transaction_is_open_while_a_replay_or_a_retry_evaluates(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(database_url, retry_schedule="none") as app:
        await app.publish(NewEvent("upload.completed", b'{"n":1}'))
        endpoint = (await app.register(receiver.url("/hook"), transform="{'n': data.missing}")).endpoint
        dead = await app.publish(*[NewEvent("upload.completed", b'{"n":%d}' % number) for number in (2, 3)])
        receiver.forget()
        change = EndpointChange({"transform": "{'n': data.n}"})
        await update_endpoint(app.context, endpoint.organization_id, ACTOR, endpoint.id, change)
        asked: list[str] = []

        async def evaluate(context: Context, organization_id: str, jobs: Sequence[EvaluationJob], *rest: Any) -> Any:
            # Fails while another transaction is open: of SQLite's one at a time, or with the endpoint's lock.
            async with asyncio.timeout(10), app.context.database.write() as tx:
                await endpoints.find(tx, endpoint.id, lock=True)
            asked.extend(job.source.id for job in jobs)
            return await evaluation_of_jobs(context, organization_id, jobs, *rest)

        evaluation_of_jobs = evaluation.evaluate
        monkeypatch.setattr(evaluation, "evaluate", evaluate)
        await retry_delivery(app.context, ACTOR, dead[0].delivery_ids[0])
        report = await run(app, missing_of(app))
        assert (report.replay.total, report.progress.succeeded) == (2, 2)
        assert sorted(steps(receiver, "/hook")) == [1, 2, 3]
        assert len(asked) == 3
        assert (await reconcile(app.context)).is_clean


async def test_a_transform_that_is_changed_during_its_evaluation_is_evaluated_at_the_next_tick(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(database_url) as app:
        await app.publish(NewEvent("upload.completed", b'{"n":1}'))
        endpoint = (await app.register(receiver.url("/hook"), transform="{'n': data.n}")).endpoint
        receiver.forget()
        evaluation_of_jobs = evaluation.evaluate

        async def evaluate(*args: Any) -> Any:
            monkeypatch.setattr(evaluation, "evaluate", evaluation_of_jobs)
            change = EndpointChange({"transform": "{'n': data.n + 1}"})
            await update_endpoint(app.context, endpoint.organization_id, ACTOR, endpoint.id, change)
            return await evaluation_of_jobs(*args)

        monkeypatch.setattr(evaluation, "evaluate", evaluate)
        report = await run(app, missing_of(app), seconds=1)
        assert (report.replay.total, report.progress.replayed) == (1, 0)
        app.clock.advance(1)
        await tick_replay(app.context, report.replay.id)
        await app.work()
        assert steps(receiver, "/hook") == [2]


async def test_pairs_of_expressions_share_the_time_of_a_tick(
    sqlite_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "_EVALUATION_SECONDS", 0)
    async with open_app(sqlite_url) as app:
        await app.publish(*[NewEvent("upload.completed", b'{"n":1}')] * 3)
        await app.register(receiver.url("/one"), filter="data.n > 0")
        await app.register(receiver.url("/two"), transform="{'n': data.n}")
        receiver.forget()
        for rounds in (1, 2, 3):
            report = await run(app, missing_of(app), seconds=1)
            assert report.progress.replayed == 2
            app.clock.advance(SPREAD_SECONDS)
            await app.work()
            assert [len(receiver.requests(path)) for path in ("/one", "/two")] == [rounds, rounds]
            await cancel_replay(app.context, ACTOR, report.replay.id)


async def test_an_ordered_endpoint_gets_what_it_missed_in_order(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        for number in range(5):
            await app.publish(NewEvent("upload.completed", b'{"n":%d}' % number))
        await app.register(receiver.url("/hook"), ordered=True)
        receiver.forget()
        report = await run(app, missing_of(app))
        assert report.progress.succeeded == 5
        assert steps(receiver, "/hook") == [0, 1, 2, 3, 4]


async def test_a_delivery_that_waits_for_its_retry_is_sent_now_and_its_schedule_goes_on(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, retry_schedule="1h,1h") as app:
        endpoint = (await app.register(receiver.url("/hook"))).endpoint
        receiver.program("/hook", 500)
        events = await app.publish(NewEvent("upload.completed", b"{}"), NewEvent("upload.failed", b"{}"))
        await app.work()
        chosen = DeadLetterFilter(endpoint_id=endpoint.id, event_type="upload.failed")
        assert await count_replay(app.context, Selection(chosen)) == (0, 0)
        waiting = Selection(chosen, include=(Included.DEAD, Included.PENDING))
        assert await count_replay(app.context, waiting) == (1, 1)
        receiver.forget()
        report = await run(app, waiting)
        assert (report.replay.state, report.progress.replayed) == ("running", 1)
        assert len(receiver.requests("/hook")) == 1
        async with app.transaction() as tx:
            [delivery] = await delivery_history.of_event(tx, events[1].id)
        assert (delivery.state, delivery.attempt_count) == ("pending", 2)
        receiver.program("/hook", 200)
        app.clock.advance(3_600)
        await app.work()
        await tick_replay(app.context, report.replay.id)
        ended = await get_replay(app.context, report.replay.id)
        assert (ended.replay.state, ended.progress.succeeded) == ("completed", 1)


async def test_too_many_events_are_refused_before_anything_is_made(
    sqlite_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing, "MOST_EVENTS", 2)
    async with open_app(sqlite_url) as app:
        await app.publish(*[NewEvent("upload.completed", b"{}")] * 3)
        await app.register(receiver.url("/hook"))
        with pytest.raises(Invalid, match="more than 2 events"):
            await start_replay(app.context, ACTOR, missing_of(app))
