"""Requests whose client has left are not worked at while others are under way."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from api.http.server.middleware import MANY_UNDER_WAY, RequestMiddleware
from api.http.server.protocol import HAS_LEFT


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


async def test_beside_many_others_a_request_begins_only_if_its_client_is_still_there() -> None:
    work = Work()
    middleware = RequestMiddleware(work, body_limit=1_000, body_timeout=60)
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
