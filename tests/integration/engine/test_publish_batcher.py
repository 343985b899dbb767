"""Publishes that share a transaction: each gets its own answer, and nobody pays for a neighbour's mistake."""

from __future__ import annotations

import asyncio

import pytest

from sendoff.accounts import organizations
from sendoff.errors import Invalid, MissingScope, Unauthenticated, UnknownEventType
from sendoff.publishing.batcher import PublishBatcher
from sendoff.publishing.event_types import create_event_type
from sendoff.publishing.publish import NewEvent
from sendoff.store.queries import delivery_history
from tests.support.app_fixture import ACTOR, AppFixture, open_app
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
