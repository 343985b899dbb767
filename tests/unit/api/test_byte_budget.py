"""The bounds of bytes that requests in progress hold."""

from __future__ import annotations

import asyncio

import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.errors import describe
from api.http.server import byte_budget
from api.http.server.byte_budget import OrganizationByteBudget, UnfinishedBodies
from api.http.server.middleware import RequestMiddleware
from sendoff.errors import RateLimited, SendoffError, Unavailable


class Body:
    """A body that is being received."""

    def __init__(self) -> None:
        self.is_evicted = False

    def evict(self) -> None:
        self.is_evicted = True


def test_bytes_of_an_organization_are_bounded_over_its_requests_and_come_back() -> None:
    budget = OrganizationByteBudget(100, share=40, what="events")
    with budget.held("a") as first, budget.held("a") as second:
        first(30)
        with pytest.raises(RateLimited, match="40 bytes of events"):
            second(11)
        second(10)
        with budget.held("b") as third, budget.held("c") as fourth:
            third(30)
            with pytest.raises(Unavailable):
                fourth(16)
            fourth(15)
    with budget.held("a") as again:
        again(40)


def test_over_the_limit_the_oldest_body_of_the_heaviest_address_gives_way() -> None:
    unfinished = UnfinishedBodies(100)
    honest, oldest, other = Body(), Body(), Body()
    unfinished.add(honest, "a", 30)
    for body in (oldest, other):
        unfinished.add(body, "b", 30)
    unfinished.add(other, "b", 11)
    assert [body.is_evicted for body in (honest, oldest, other)] == [False, True, False]
    unfinished.add(honest, "a", 29)
    assert not any(body.is_evicted for body in (honest, other))
    unfinished.remove(other)
    unfinished.add(honest, "a", 41)
    assert not honest.is_evicted


async def test_a_body_that_gives_way_is_answered_at_once_and_another_one_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(byte_budget.UnfinishedBodies.__init__, "__defaults__", (100,))
    middleware = RequestMiddleware(_read_all, body_limit=1_000, body_timeout=60)
    hostile, honest = Connection("192.0.2.1"), Connection("192.0.2.2")
    requests = [asyncio.create_task(one.request(middleware)) for one in (hostile, honest)]
    await hostile.send(90)
    await honest.send(20)
    await asyncio.wait_for(requests[0], 10)
    await honest.send(5, more=False)
    await asyncio.wait_for(requests[1], 10)
    assert (hostile.status, honest.status) == (408, 200)


class Connection:
    """A client that sends a body piece by piece."""

    def __init__(self, address: str) -> None:
        self.status = 0
        self._address = address
        self._pieces: asyncio.Queue[Message] = asyncio.Queue()

    async def request(self, app: ASGIApp) -> None:
        scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "client": (self._address, 1)}
        await app(scope, self._next_piece, self._receive)

    async def send(self, size: int, *, more: bool = True) -> None:
        await self._pieces.put({"type": "http.request", "body": b"x" * size, "more_body": more})
        await self._pieces.join()

    async def _next_piece(self) -> Message:
        message = await self._pieces.get()
        self._pieces.task_done()
        return message

    async def _receive(self, message: Message) -> None:
        self.status = message.get("status", self.status)


async def _read_all(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        while (await receive())["more_body"]:
            pass
        response = Response(status_code=200)
    except SendoffError as error:
        response = Response(status_code=describe(error).status)
    await response(scope, receive, send)
