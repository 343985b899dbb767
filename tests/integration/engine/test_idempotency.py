"""A key and the work that is done for it: what becomes of one when the other is broken off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sendoff import idempotency
from sendoff.errors import IdempotencyInProgress
from sendoff.idempotency import ABANDONED_AFTER, IdempotentRequest, StoredResponse, once
from tests.support.app_fixture import AppFixture, open_app
from tests.support.polling import eventually

ANSWER = StoredResponse(200, b"done")


class Work:
    """Counts how often it is done."""

    times = 0

    async def __call__(self) -> StoredResponse:
        self.times += 1
        return ANSWER


def request_of(app: AppFixture) -> IdempotentRequest:
    return IdempotentRequest(app.principal.organization_id, "key", "same")


async def test_work_cancelled_while_its_answer_is_stored_is_not_done_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(database_url) as app:
        request, work = request_of(app), Work()
        keeping, go_on, complete = asyncio.Event(), asyncio.Event(), idempotency.complete

        async def slow(*arguments: Any) -> None:
            keeping.set()
            await go_on.wait()
            await complete(*arguments)

        monkeypatch.setattr(idempotency, "complete", slow)
        asked = asyncio.create_task(once(app.context, request, work))
        await asyncio.wait_for(keeping.wait(), 10)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        go_on.set()
        answers: list[StoredResponse] = []

        async def is_kept() -> bool:
            try:
                answers.append(await once(app.context, request, work))
            except IdempotencyInProgress:
                return False
            return True

        await eventually(is_kept, within=10, what=lambda: "a kept answer")
        assert (answers[0].body, answers[0].replayed, work.times) == (ANSWER.body, True, 1)


async def test_work_that_is_broken_off_leaves_its_key_free(sqlite_url: str) -> None:
    async def broken_off() -> StoredResponse:
        raise asyncio.CancelledError

    async with open_app(sqlite_url) as app:
        request, work = request_of(app), Work()
        with pytest.raises(asyncio.CancelledError):
            await once(app.context, request, broken_off)
        assert await once(app.context, request, work) == ANSWER


async def test_the_key_of_a_process_that_died_is_free_after_a_while(sqlite_url: str) -> None:
    async with open_app(sqlite_url) as app:
        request, work = request_of(app), Work()
        async with app.context.database.write() as tx:
            await idempotency.reserve(tx, app.context, request)
        app.clock.advance(ABANDONED_AFTER.total_seconds() - 1)
        with pytest.raises(IdempotencyInProgress):
            await once(app.context, request, work)
        app.clock.advance(1)
        assert await once(app.context, request, work) == ANSWER
