"""Requests whose client has left are not worked at while others are under way."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from api.http.server.middleware import MANY_UNDER_WAY, RequestMiddleware
from api.http.server.protocol import HAS_LEFT
from sendoff.errors import SendoffError


class Work:
    """An application whose requests wait until it is told to answer; counts them."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_answer = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun += 1
        await self.may_answer.wait()
        await Response(status_code=204)(scope, receive, send)


class Client:
    """A client with one request, which may leave before it has its answer."""

    def __init__(self) -> None:
        self.has_left = False
        self.status = 0

    async def request(self, middleware: RequestMiddleware) -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], HAS_LEFT: lambda: self.has_left}
        await middleware(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.status = message.get("status", self.status)


class Answers:
    """A gate that lets every request pass, and notes the status of each answer."""

    def __init__(self) -> None:
        self.noted: list[int] = []

    async def refuse(self, _scope: Scope) -> SendoffError | None:
        return None

    def note(self, _scope: Scope, status: int, *, matched: bool) -> None:
        assert not matched
        self.noted.append(status)


async def test_beside_many_others_a_request_begins_only_if_its_client_is_still_there() -> None:
    """One that does not begin counts as nobody's."""
    work, answers = Work(), Answers()
    middleware = RequestMiddleware(work, body_limit=1_000, body_timeout=60, gate=answers)
    before = [Client() for _ in range(MANY_UNDER_WAY)]
    requests = [asyncio.create_task(client.request(middleware)) for client in before]
    await asyncio.sleep(0)
    assert work.begun == MANY_UNDER_WAY
    stays, leaves = Client(), Client()
    requests += [asyncio.create_task(client.request(middleware)) for client in (stays, leaves)]
    asyncio.get_running_loop().call_soon(setattr, leaves, "has_left", True)
    for _ in range(5):
        await asyncio.sleep(0)
    assert work.begun == MANY_UNDER_WAY + 1
    work.may_answer.set()
    await asyncio.gather(*requests)
    assert [client.status for client in (*before, stays, leaves)] == [204] * (MANY_UNDER_WAY + 1) + [0]
    assert answers.noted == [204] * (MANY_UNDER_WAY + 1)
