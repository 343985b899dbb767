"""Batches through what goes wrong with the database, or with the code itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sendoff.consuming import batches
from sendoff.consuming.acceptance import MessageOwner, MessageResult, accept_messages
from sendoff.consuming.batches import Batches
from sendoff.consuming.messages import Message
from sendoff.consuming.source import parse_source
from sendoff.errors import Unavailable
from sendoff.operators.rejected_messages import list_rejected_messages
from sendoff.processes.health import ProcessHealth
from tests.support.app_fixture import AppFixture, open_app

SOURCE = parse_source("amqp://127.0.0.1?queue=orders")
GOOD = Message(b'{"type": "upload.completed", "data": {"n": 1}}', {})


class Failing:
    """Accepts messages, and fails as often as it is told, before or after the commit."""

    def __init__(self, *errors: Exception, after: bool = False) -> None:
        self.errors = list(errors)
        self.after = after

    async def __call__(self, *arguments: Any) -> Any:
        outcomes = await accept_messages(*arguments) if self.after or not self.errors else None
        if self.errors:
            raise self.errors.pop(0)
        return outcomes


def batches_of(app: AppFixture, monkeypatch: pytest.MonkeyPatch, failing: Failing) -> tuple[Batches, asyncio.Event]:
    monkeypatch.setattr(batches, "accept_messages", failing)
    monkeypatch.setattr(batches, "FIRST_WAIT_SECONDS", 0.01)
    stopping = asyncio.Event()
    owner = MessageOwner(app.principal.organization_id, "sendoff-organization")
    health = ProcessHealth("The consumer")
    health.set_ready()
    return Batches(app.context, SOURCE, owner, stopping, health), stopping


@pytest.mark.parametrize("after", [False, True])
async def test_a_batch_is_tried_until_the_database_takes_it_and_accepted_once(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    async with open_app(sqlite_url) as app:
        kept: list[bool] = []

        async def keep() -> None:
            kept.append(True)

        failing = Failing(Unavailable("away"), Unavailable("away"), after=after)
        tried, _ = batches_of(app, monkeypatch, failing)
        [outcome] = await tried.accept([GOOD], keep=keep) or []
        assert outcome.verdict is (MessageResult.DUPLICATE if after else MessageResult.ACCEPTED)
        assert len(kept) == 2


async def test_a_process_that_stops_gives_the_batch_back(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_app(sqlite_url) as app:
        tried, stopping = batches_of(app, monkeypatch, Failing(*[Unavailable("away")] * 100))
        stopping.set()
        assert await tried.accept([GOOD]) is None


async def test_a_message_that_meets_a_defect_is_written_down_and_the_others_go_on(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(sqlite_url) as app:
        tried, _ = batches_of(app, monkeypatch, Failing(ZeroDivisionError(), ZeroDivisionError()))
        other = Message(b'{"type": "upload.completed", "data": {"n": 2}}', {})
        outcomes = await tried.accept([GOOD, other]) or []
        assert [one.verdict for one in outcomes] == [MessageResult.REJECTED, MessageResult.ACCEPTED]
        [row] = await list_rejected_messages(app.context, source="rabbitmq:orders", limit=10)
        assert (row.body, "defect" in row.reason) == (GOOD.body, True)
