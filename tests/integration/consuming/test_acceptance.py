"""Batches of messages: each event once, whatever is in the batch with it, on either database."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlmodel import col

from sendoff.accounts import organizations
from sendoff.consuming import acceptance
from sendoff.consuming.acceptance import MessageOwner, MessageResult, Outcome, accept_messages
from sendoff.consuming.messages import Message
from sendoff.consuming.source import parse_source
from sendoff.errors import Unavailable
from sendoff.idempotency import LIFETIME, IdempotentRequest, StoredResponse, fingerprint
from sendoff.maintenance.purge import purge_expired
from sendoff.operators.rejected_messages import list_rejected_messages
from sendoff.publishing.event_types import create_event_type
from sendoff.publishing.publish import NewEvent, evaluate_publication, publish
from sendoff.store.tables import Delivery, Event, IdempotencyRecord, Organization
from tests.support.app_fixture import ACTOR, AppFixture, open_app
from tests.support.receiver import Receiver

SOURCE = parse_source("nats://127.0.0.1?stream=ORDERS")
ACCEPTED, DUPLICATE, REJECTED = MessageResult.ACCEPTED, MessageResult.DUPLICATE, MessageResult.REJECTED


def message(n: int, *, id: str | None = None, type: str = "upload.completed", **more: Any) -> Message:  # noqa: A002
    body = json.dumps({"type": type, "data": {"n": n}}).encode()
    return Message(body, more.pop("headers", {}), id=f"m{n}" if id is None else id or None, **more)


def cloud_event(n: int) -> Message:
    attributes = {"specversion": "1.0", "id": str(n), "source": "/orders", "type": "upload.completed"}
    return Message(json.dumps({**attributes, "data": {"n": n}}).encode(), {})


async def accept(app: AppFixture, *messages: Message, owner: MessageOwner | None = None) -> list[Outcome]:
    owner = owner or MessageOwner(app.principal.organization_id, "sendoff-organization")
    return await accept_messages(app.context, SOURCE, owner, messages)


def verdicts(outcomes: list[Outcome]) -> list[MessageResult]:
    return [outcome.verdict for outcome in outcomes]


async def numbers(app: AppFixture) -> list[int]:
    """The `n` of every event."""
    async with app.transaction() as tx:
        return sorted(json.loads(data)["n"] for data in await tx.scalars(select(col(Event.data))))


async def test_messages_become_events_with_deliveries_once(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        await app.register(receiver.url("/hook"))
        batch = [message(1), cloud_event(2), message(3, id="", position="nats:ORDERS:3:1")]
        assert verdicts(await accept(app, *batch)) == [ACCEPTED] * 3
        assert verdicts(await accept(app, *batch, message(4))) == [DUPLICATE] * 3 + [ACCEPTED]
        assert await numbers(app) == [1, 2, 3, 4]
        await app.work()
        async with app.transaction() as tx:
            assert list(await tx.scalars(select(col(Delivery.state)))) == ["delivered"] * 4


async def test_a_message_that_is_twice_in_a_batch_is_accepted_once(database_url: str) -> None:
    async with open_app(database_url) as app:
        outcomes = await accept(app, message(1), cloud_event(2), message(1), cloud_event(2), message(9, id="m1"))
        assert verdicts(outcomes) == [ACCEPTED, ACCEPTED, DUPLICATE, DUPLICATE, REJECTED]
        assert await numbers(app) == [1, 2]


async def test_unacceptable_messages_are_written_down_once_and_hold_up_nothing(database_url: str) -> None:
    async with open_app(database_url) as app:
        schema = {"properties": {"n": {"maximum": 5}}}
        await create_event_type(app.context, ACTOR, name="order.paid", data_schema=schema)
        poison = [
            Message(b"\xff\x00", {"a": "b\x00"}, id="bad\x00id"),
            message(7, type="order.paid"),
            message(8, type="no.such.type"),
            Message(b"x" * 300_000, {}, position="nats:ORDERS:9:1"),
        ]
        for _ in range(2):
            outcomes = await accept(app, *poison, message(1))
            assert verdicts(outcomes)[:4] == [REJECTED] * 4
        rows = {row.size: row for row in await list_rejected_messages(app.context, source="nats:ORDERS", limit=10)}
        assert len(rows) == 4
        assert (rows[2].body, rows[2].message_id) == (b"\xff\x00", "bad\\x00id")
        assert "schema" in rows[len(poison[1].body)].reason
        assert "no.such.type" in rows[len(poison[2].body)].reason
        assert (len(rows[300_000].body), rows[300_000].message_id) == (262_144, "nats:ORDERS:9:1")
        assert await numbers(app) == [1]


async def test_an_id_with_other_content_is_rejected_and_not_lost_silently(database_url: str) -> None:
    async with open_app(database_url) as app:
        await accept(app, message(1))
        [outcome] = await accept(app, message(2, id="m1"))
        assert outcome.verdict is REJECTED
        assert outcome.reason is not None
        assert "same id" in outcome.reason


async def test_a_message_without_any_id_is_a_duplicate_only_if_the_broker_says_so(database_url: str) -> None:
    async with open_app(database_url) as app:
        equal = [message(1, id=""), message(1, id="")]
        assert verdicts(await accept(app, *equal)) == [ACCEPTED, ACCEPTED]
        assert verdicts(await accept(app, message(1, id=""))) == [ACCEPTED]
        assert verdicts(await accept(app, message(1, id="", is_redelivered=True))) == [DUPLICATE]
        assert verdicts(await accept(app, message(2, id="", is_redelivered=True))) == [ACCEPTED]


async def test_a_message_belongs_to_the_organization_that_it_names(database_url: str) -> None:
    async with open_app(database_url) as app:
        other = await organizations.create_organization(
            app.context, ACTOR, name="Other", credits=None, external_id="customer-7"
        )
        named = MessageOwner(None, "sendoff-organization")
        mine = app.principal.organization_id
        batch = [
            message(1, headers={"sendoff-organization": mine.upper()}),
            message(1, headers={"sendoff-organization": "customer-7"}),
            message(2, headers={"sendoff-organization": "customer-8"}),
            message(3),
        ]
        outcomes = await accept(app, *batch, owner=named)
        assert verdicts(outcomes) == [ACCEPTED, ACCEPTED, REJECTED, REJECTED]
        assert "customer-8" in (outcomes[2].reason or "")
        assert "names no organization" in (outcomes[3].reason or "")
        async with app.transaction() as tx:
            assert set(await tx.scalars(select(col(Event.organization_id)))) == {mine, other.id}
        default = MessageOwner(mine, "sendoff-organization", is_default=True)
        assert verdicts(await accept(app, message(4), batch[1], owner=default)) == [ACCEPTED, DUPLICATE]
        await organizations.suspend_organization(app.context, ACTOR, other.id, suspended=True)
        [outcome] = await accept(app, message(5, headers={"sendoff-organization": other.id}), owner=named)
        assert "suspended" in (outcome.reason or "")


async def test_messages_wait_while_their_organization_moves_and_are_rejected_after_it(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(database_url) as app:

        async def change(**fields: Any) -> None:
            async with app.context.database.write() as tx:
                organization = await tx.get(Organization, app.principal.organization_id)
                assert organization is not None
                for name, value in fields.items():
                    setattr(organization, name, value)

        now = app.clock.now()

        async def fence_meanwhile(*arguments: Any) -> None:
            await evaluate_publication(*arguments)
            await change(moved_to="two", suspended_at=now)

        with monkeypatch.context() as patched:
            patched.setattr(acceptance, "evaluate_publication", fence_meanwhile)
            with pytest.raises(Unavailable):
                await accept(app, message(1))
        with pytest.raises(Unavailable):
            await accept(app, message(1))
        assert await numbers(app) == []
        await change(moved_at=now)
        [outcome] = await accept(app, message(1))
        assert "cell two" in (outcome.reason or "")


async def test_a_key_counts_for_a_day_and_again_after_it_was_purged(database_url: str) -> None:
    async with open_app(database_url) as app:
        await accept(app, message(1))
        app.clock.advance(LIFETIME.total_seconds() - 1)
        assert verdicts(await accept(app, message(1))) == [DUPLICATE]
        app.clock.advance(1)
        assert verdicts(await accept(app, message(1), message(2))) == [ACCEPTED, ACCEPTED]
        app.clock.advance(LIFETIME.total_seconds() + 1)
        assert (await purge_expired(app.context)).idempotency_records == 2


async def test_a_large_fan_out_is_committed_in_parts(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptance, "DELIVERIES_AT_MOST", 4)
    async with open_app(database_url) as app:
        for path in ("/a", "/b", "/c"):
            await app.register(receiver.url(path))
        assert verdicts(await accept(app, *map(message, range(7)))) == [ACCEPTED] * 7
        async with app.transaction() as tx:
            assert await tx.scalar(select(func.count()).select_from(Delivery)) == 21


async def test_an_event_that_comes_by_http_as_well_is_accepted_once(sqlite_url: str) -> None:
    async with open_app(sqlite_url) as app:
        sent = message(1)
        await accept(app, sent)
        same = fingerprint(b"POST", b"/api/v1/events", sent.body)
        request = IdempotentRequest(app.principal.organization_id, "m1", same)
        answer = await publish(
            app.context,
            app.principal.organization_id,
            [NewEvent("upload.completed", b'{"n": 1}')],
            answer=lambda _: StoredResponse(500, b""),
            idempotent=request,
        )
        assert (answer.status, answer.replayed, json.loads(answer.body)["type"]) == (202, True, "upload.completed")
        async with app.transaction() as tx:
            assert await tx.scalar(select(func.count()).select_from(IdempotencyRecord)) == 1
