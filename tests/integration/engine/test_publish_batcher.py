"""Publishes that share a transaction: each gets its own answer, and nobody pays for a neighbour's mistake."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import pytest
from sqlalchemy import update

from sendoff.accounts import organizations
from sendoff.context import Context
from sendoff.errors import Invalid, MissingScope, TooLarge, Unauthenticated, UnknownEventType
from sendoff.policy.delivery.admission import most_due
from sendoff.publishing import batcher, evaluation, publish
from sendoff.publishing.batcher import PublishBatcher
from sendoff.publishing.evaluation import EvaluationJob, Evaluations, Slices, evaluate_cheap
from sendoff.publishing.event_types import create_event_type
from sendoff.publishing.publish import NewEvent, Publication, evaluate_publication
from sendoff.store.queries.endpoints import Subscriber
from sendoff.store.queries.traffic import delivery_history, events
from sendoff.store.tables import ApiKey
from tests.support.app_fixture import ACTOR, START, AppFixture, open_app
from tests.support.polling import eventually
from tests.support.query_counter import count_queries
from tests.support.receiver import Receiver

COMPLETED = NewEvent("upload.completed", b'{"n":1}')


async def mint(app: AppFixture, *scopes: str) -> tuple[str, str]:
    """A key of the app's organization: its id, and the header that carries it."""
    minted = await organizations.create_key(
        app.context,
        ACTOR,
        organization_id=app.principal.organization_id,
        email="backend@example.com",
        scopes=scopes,
    )
    return minted.id, f"Bearer {minted.key}"


async def mint_of_neighbour(app: AppFixture) -> str:
    """The header with a key of another organization."""
    neighbour = await organizations.create_organization(app.context, ACTOR, name="Neighbour", credits=None)
    minted = await organizations.create_key(
        app.context, ACTOR, organization_id=neighbour.id, email="n@example.com", scopes=["events:write"]
    )
    return f"Bearer {minted.key}"


async def test_a_hundred_publishes_at_once_are_each_accepted_in_a_few_transactions(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, endpoint_max_in_flight=100) as app:
        await app.register(receiver.url("/hook"))
        _, bearer = await mint(app, "events:write")
        acceptance = PublishBatcher(app.context)
        with count_queries() as spent:
            answers = await asyncio.gather(*[acceptance.publish(bearer, [COMPLETED]) for _ in range(100)])

        ids = [accepted.id for [accepted] in answers]
        assert len(set(ids)) == 100
        assert spent.commits <= 4
        assert len(app.queue.deliveries) == 100
        async with app.transaction() as tx:
            for identifier in ids:
                assert len(await delivery_history.of_event(tx, identifier)) == 1


async def test_each_request_of_a_group_gets_its_own_error(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        await app.register(receiver.url("/hook"))
        schema = {"type": "object", "required": ["total"]}
        await create_event_type(app.context, ACTOR, name="invoice.paid", data_schema=schema)
        _, bearer = await mint(app, "events:write")
        _, reader = await mint(app, "uploads:read")
        requests = [
            (bearer, [COMPLETED]),
            (reader, [COMPLETED]),
            ("Bearer od_live_" + "x" * 32, [COMPLETED]),
            (bearer, [COMPLETED, NewEvent("no.such.type", b"{}")]),
            (bearer, [NewEvent("invoice.paid", b"{}")]),
            (bearer, [NewEvent("invoice.paid", b'{"total":1}'), COMPLETED]),
        ]
        acceptance = PublishBatcher(app.context)
        answers = await asyncio.gather(
            *[acceptance.publish(key, events, in_batch=True) for key, events in requests], return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [
            list,
            MissingScope,
            Unauthenticated,
            UnknownEventType,
            Invalid,
            list,
        ]
        assert "events[1].type" in str(answers[3])
        assert "events[0].data" in str(answers[4])
        assert len(app.queue.deliveries) == 2


async def test_a_revoked_key_publishes_nothing_from_the_next_transaction_on(database_url: str) -> None:
    async with open_app(database_url) as app:
        key_id, bearer = await mint(app, "events:write")
        acceptance = PublishBatcher(app.context)
        await acceptance.publish(bearer, [COMPLETED])
        await organizations.revoke_key(app.context, ACTOR, key_id)
        with pytest.raises(Unauthenticated):
            await acceptance.publish(bearer, [COMPLETED])


@pytest.mark.parametrize("registered", [False, True])
async def test_an_event_that_comes_alone_is_one_statement(
    postgres_url: str, receiver: Receiver, registered: bool
) -> None:
    async with open_app(postgres_url) as app:
        await create_event_type(app.context, ACTOR, name="invoice.paid", data_schema=None)
        event = (
            NewEvent("invoice.paid", b'{"n": 1}', START) if registered else NewEvent("upload.completed", b'{"n": 1}')
        )
        for path in ("/one", "/two"):
            await app.register(receiver.url(path), event.type)
        await app.register(receiver.url("/other"), "upload.failed")
        _, bearer = await mint(app, "events:write")
        with count_queries() as spent:
            [accepted] = await PublishBatcher(app.context).publish(bearer, [event], request_id="req_1")
        assert (spent.statements, spent.commits) == (1, 1)
        assert sorted(app.queue.deliveries) == sorted(accepted.delivery_ids)
        async with app.transaction() as tx:
            found = await events.find(tx, accepted.id)
            deliveries = await delivery_history.of_event(tx, accepted.id)
        assert found is not None
        assert (found.type, found.data, found.occurred_at) == (event.type, '{"n": 1}', event.occurred_at or START)
        assert (found.created_at, found.request_id, found.delivery_count) == (START, "req_1", 2)
        assert found.organization_id == app.principal.organization_id
        assert sorted(one.id for one in deliveries) == sorted(accepted.delivery_ids)
        assert {(one.state, one.attempt_count, one.due_at, one.created_at) for one in deliveries} == {
            ("pending", 0, START, START)
        }


async def test_an_event_that_comes_alone_waits_behind_held_ones(postgres_url: str, receiver: Receiver) -> None:
    async with open_app(postgres_url, endpoint_max_in_flight=1) as app:
        await app.register(receiver.url("/hook"))
        _, bearer = await mint(app, "events:write")
        publish = PublishBatcher(app.context).publish
        many = await publish(bearer, [COMPLETED] * (most_due(1, slots=1_000) + 1), in_batch=True)
        [alone] = await publish(bearer, [COMPLETED])
        assert [str(delivery.state) for delivery in alone.deliveries] == ["held"]
        assert many[-1].deliveries[0].endpoint_id in app.queue.backlog
        assert not set(alone.delivery_ids) & set(app.queue.deliveries)


@pytest.mark.parametrize("scope", ["events:write", "uploads:read"])
@pytest.mark.parametrize("spoilt_by", ["revocation", "expiry", "suspension", "unknown type", "schema", "nothing"])
async def test_an_event_that_comes_alone_is_refused_for_what_refuses_several(
    database_url: str, receiver: Receiver, scope: str, spoilt_by: str
) -> None:
    """The single statement and the shared transaction refuse the same, for the same reason, and write nothing."""
    async with open_app(database_url) as app:
        await app.register(receiver.url("/hook"))
        await create_event_type(app.context, ACTOR, name="invoice.paid", data_schema={"required": ["total"]})
        key_id, bearer = await mint(app, scope)
        type_ = {"unknown type": "no.such.type", "schema": "invoice.paid"}.get(spoilt_by, "upload.completed")
        if spoilt_by == "revocation":
            await organizations.revoke_key(app.context, ACTOR, key_id)
        if spoilt_by == "suspension":
            await organizations.suspend_organization(app.context, ACTOR, app.principal.organization_id, suspended=True)
        if spoilt_by == "expiry":
            async with app.context.database.write() as tx:
                await tx.execute(update(ApiKey).values(expires_at=START))
        alone = PublishBatcher(app.context)
        one = await asyncio.gather(alone.publish(bearer, [NewEvent(type_, b"{}")]), return_exceptions=True)
        accepted_alone = len(app.queue.deliveries)
        two = await asyncio.gather(alone.publish(bearer, [NewEvent(type_, b"{}")] * 2), return_exceptions=True)
        assert [type(answer) for answer in one] == [type(answer) for answer in two]
        assert [str(answer) for answer in one if isinstance(answer, Exception)] == [
            str(answer) for answer in two if isinstance(answer, Exception)
        ]
        assert accepted_alone == (1 if (spoilt_by, scope) == ("nothing", "events:write") else 0)


async def test_a_publish_that_breaks_its_transaction_fails_alone(postgres_url: str, receiver: Receiver) -> None:
    async with open_app(postgres_url) as app:
        await app.register(receiver.url("/hook"))
        _, bearer = await mint(app, "events:write")
        acceptance = PublishBatcher(app.context)
        too_long = "r" * 65  # longer than the column; the API never lets it get this far
        answers = await asyncio.gather(
            acceptance.publish(bearer, [COMPLETED]),
            acceptance.publish(bearer, [COMPLETED], request_id=too_long),
            acceptance.publish(bearer, [COMPLETED]),
            return_exceptions=True,
        )
        assert [isinstance(answer, list) for answer in answers] == [True, False, True]
        assert len(app.queue.deliveries) == 2


async def test_keys_take_turns_and_small_requests_go_first(
    sqlite_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher, "EVENTS_AT_MOST", 20)
    async with open_app(sqlite_url) as app:
        await app.register(receiver.url("/hook"))
        (_, hostile), (_, other) = await mint(app, "events:write"), await mint(app, "events:write")
        acceptance = PublishBatcher(app.context)
        batches = [asyncio.create_task(acceptance.publish(hostile, [COMPLETED] * 20)) for _ in range(10)]
        event = asyncio.create_task(acceptance.publish(other, [COMPLETED]))
        await event
        assert sum(batch.done() for batch in batches) <= 1
        assert sum(len(accepted) for accepted in await asyncio.gather(*batches)) == 200


async def test_an_event_with_many_deliveries_is_committed_apart_and_once(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher, "DELIVERIES_AT_MOST", 10)
    async with open_app(database_url, endpoint_max_in_flight=10_000) as app:
        for number in range(3):
            await app.register(receiver.url(f"/{number}"))
        _, bearer = await mint(app, "events:write")
        acceptance = PublishBatcher(app.context)
        answers = await asyncio.gather(*[acceptance.publish(bearer, [COMPLETED] * size) for size in (9, 1, 8, 2, 4)])
        assert [len(accepted) for accepted in answers] == [9, 1, 8, 2, 4]
        assert len({event.id for accepted in answers for event in accepted}) == 24
        assert len(app.queue.deliveries) == 24 * 3


async def test_a_batch_that_makes_too_many_deliveries_is_refused_alone(
    sqlite_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "MAX_DELIVERIES", 5)
    async with open_app(sqlite_url) as app:
        for number in range(6):
            await app.register(receiver.url(f"/{number}"))
        _, bearer = await mint(app, "events:write")
        acceptance = PublishBatcher(app.context)
        answers = await asyncio.gather(
            acceptance.publish(bearer, [COMPLETED, COMPLETED]),
            acceptance.publish(bearer, [COMPLETED]),  # a single event reaches all endpoints, however many
            return_exceptions=True,
        )
        assert isinstance(answers[0], TooLarge)
        assert "12 deliveries for 6 endpoints" in str(answers[0])
        assert isinstance(answers[1], list)
        assert len(app.queue.deliveries) == 6


async def test_an_organization_without_filters_does_not_wait_for_the_filters_of_another(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluating, may_go_on = asyncio.Event(), asyncio.Event()

    async def evaluate_slowly(jobs: Iterable[EvaluationJob], slices: Slices) -> tuple[Evaluations, list[EvaluationJob]]:
        if wanted := list(jobs):
            evaluating.set()
            await may_go_on.wait()
        return await evaluate_cheap(wanted, slices)

    async with open_app(database_url) as app:
        await app.register(receiver.url("/hook"), filter="data.n == 1")
        _, filtered = await mint(app, "events:write")
        neighbour = await mint_of_neighbour(app)
        publish = PublishBatcher(app.context).publish
        await publish(filtered, [COMPLETED])
        monkeypatch.setattr(batcher, "evaluate_cheap", evaluate_slowly)
        waiting = asyncio.create_task(publish(filtered, [COMPLETED]))
        await evaluating.wait()
        beside = [await publish(neighbour, [COMPLETED] * count) for count in (1, 2)]
        assert [len(accepted) for accepted in beside] == [1, 2]
        assert not waiting.done()
        may_go_on.set()
        assert [len(event.deliveries) for event in await waiting] == [1]


async def test_filters_that_take_longer_than_their_slices_are_evaluated_apart_and_all_the_same(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "SECONDS_AT_ONCE", 0)
    async with open_app(database_url) as app:
        for number in range(12):
            await app.register(receiver.url(f"/{number}"), filter=f"data.n == {number % 6}")
        _, bearer = await mint(app, "events:write")
        publish = PublishBatcher(app.context).publish
        answers = await asyncio.gather(*[publish(bearer, [COMPLETED] * size) for size in (1, 3, 1)])
        assert [[len(event.deliveries) for event in accepted] for accepted in answers] == [[2], [2] * 3, [2]]


async def test_a_flood_of_filtered_events_is_evaluated_apart_a_few_at_once_and_holds_up_no_other_organization(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: a group has no time for filters. What this proves: its other requests are committed all the same."""
    monkeypatch.setattr(batcher, "EVALUATION_SECONDS", -1)
    monkeypatch.setattr(evaluation, "SECONDS_AT_ONCE", -1)
    may_go_on = asyncio.Event()
    running, most = 0, 0

    async def evaluate_slowly(context: Context, publication: Publication, subscribers: Sequence[Subscriber]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await may_go_on.wait()
        await evaluate_publication(context, publication, subscribers)
        running -= 1

    monkeypatch.setattr(batcher, "evaluate_publication", evaluate_slowly)
    async with open_app(database_url) as app:
        await app.register(receiver.url("/hook"), filter="data.n == 1")
        _, filtered = await mint(app, "events:write")
        neighbour = await mint_of_neighbour(app)
        publish = PublishBatcher(app.context).publish
        flood = [asyncio.create_task(publish(filtered, [COMPLETED])) for _ in range(10)]
        beside = await asyncio.gather(*[publish(neighbour, [COMPLETED] * 2) for _ in range(3)])
        assert [len(accepted) for accepted in beside] == [2, 2, 2]
        await eventually(lambda: running == batcher.EVALUATION_TASKS_AT_ONCE, what="a few are evaluated")
        may_go_on.set()
        assert [len(event.deliveries) for [event] in await asyncio.gather(*flood)] == [1] * 10
        assert most == batcher.EVALUATION_TASKS_AT_ONCE
