"""Requests on their way through the router: bodies of any length both ways, connections that are used again or end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from api.cells import client as cells
from api.cells.client import CellClient
from sendoff.errors import Unavailable
from tests.integration.cells.conftest import Network

PIECE = b"x" * 64 * 1024
PIECES = 100


class Echo:
    """A cell that says what it got, and streams an answer as long as asked."""

    def __init__(self) -> None:
        self.peers: set[tuple[str, int]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.peers.add(scope["client"])
        if scope["path"] == "/refused":
            await _answer(send, 413, b"too large")
            return
        size = 0
        while True:
            message = await receive()
            size += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        if scope["path"] == "/long":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(PIECES):
                await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            await _answer(send, 200, b"%d" % size)


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body)), (b"x-own", b"1")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Way:
    """A cell, and a client that forwards to it what it is given."""

    def __init__(self, url: str) -> None:
        self.client = CellClient({"eu": url})
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self._forward), base_url="http://router")

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"request_id": "r", "is_head": scope["method"] == "HEAD"}
        await self.client.forward("eu", scope, receive, send, query=scope["query_string"])


@asynccontextmanager
async def way_to(url: str) -> AsyncIterator[Way]:
    way = Way(url)
    try:
        async with way.http:
            yield way
    finally:
        way.client.close()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def way(echo: Echo) -> AsyncIterator[Way]:
    network = Network()
    await network.serve("eu", echo)
    try:
        async with way_to(network.urls["eu"]) as opened:
            yield opened
    finally:
        network.close()


@asynccontextmanager
async def raw_cell(answer: bytes) -> AsyncIterator[str]:
    """A cell that answers whatever comes with these bytes, and ends the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def silent_cell() -> AsyncIterator[str]:
    """A cell that takes connections and never answers."""
    taken: list[asyncio.StreamWriter] = []
    async with await asyncio.start_server(lambda _, writer: taken.append(writer), "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for writer in taken:
        writer.close()


async def pieces() -> AsyncIterator[bytes]:
    for _ in range(PIECES):
        yield PIECE


async def test_requests_share_a_connection(way: Way, echo: Echo) -> None:
    for body in (b"", b"one", b"two"):
        assert (await way.http.post("/", content=body)).text == str(len(body))
    assert (await way.http.get("/")).headers["x-own"] == "1"
    assert len(echo.peers) == 1


@pytest.mark.parametrize("headers", [{}, {"Content-Length": str(len(PIECE) * PIECES)}])
async def test_a_long_body_arrives_whole_with_and_without_its_length(way: Way, headers: dict[str, str]) -> None:
    answer = await way.http.post("/", content=pieces(), headers=headers)
    assert answer.text == str(len(PIECE) * PIECES)
    assert (await way.http.post("/", content=b"next")).text == "4"


async def test_a_long_answer_passes_to_a_slow_client_whole(way: Way, echo: Echo) -> None:
    received = []

    async def send(message: Message) -> None:
        received.append(len(message.get("body", b"")))
        await asyncio.sleep(0)

    scope = {
        "type": "http", "method": "GET", "path": "/long", "raw_path": b"/long", "query_string": b"", "headers": [],
        "client": ("127.0.0.1", 1), "state": {"request_id": "r"},
    }  # fmt: skip
    await way.client.forward("eu", scope, _nothing, send, query=b"")
    assert sum(received) == len(PIECE) * PIECES
    assert (await way.http.get("/")).text == "0"
    assert len(echo.peers) == 1


async def test_a_refusal_comes_before_the_body_is_sent(way: Way) -> None:
    answer = await way.http.post("/refused", content=pieces())
    assert (answer.status_code, answer.text) == (413, "too large")
    assert (await way.http.post("/", content=b"next")).text == "4"


async def test_the_answer_to_a_head_has_its_headers_alone(way: Way) -> None:
    answer = await way.http.head("/")
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "1", b"")
    assert (await way.http.get("/")).text == "0"


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\ncontent-le", b"HTTP/1.1 100 Continue\r\n\r\n"],
    ids=["nothing", "no HTTP", "half a head", "an interim answer alone"],
)
async def test_an_answer_without_a_head_is_an_outage(answer: bytes) -> None:
    async with raw_cell(answer) as url, way_to(url) as way:
        with pytest.raises(Unavailable):
            await way.http.get("/")


async def test_an_answer_that_breaks_off_is_not_passed_off_as_whole() -> None:
    async with raw_cell(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf") as url, way_to(url) as way:
        with pytest.raises(Exception, match="ended before the answer"):
            await way.http.get("/")


async def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    async with raw_cell(interim + b"HTTP/1.0 200 OK\r\nx-own: 2\r\n\r\nall of it") as url, way_to(url) as way:
        answer = await way.http.get("/")
        assert (answer.text, answer.headers["x-own"], "link" in answer.headers) == ("all of it", "2", False)


async def test_a_cell_that_is_silent_or_full_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "READ_SECONDS", 0.05)
    monkeypatch.setattr(cells, "MOST_CONNECTIONS", 1)
    async with silent_cell() as url, way_to(url) as way:
        answers = await asyncio.gather(way.http.get("/"), way.http.get("/"), return_exceptions=True)
        details = [str(getattr(one, "detail", one)) for one in answers]
        assert all(isinstance(one, Unavailable) for one in answers), answers
        assert len({"nothing came" in one for one in details}) == 2, details


async def test_a_body_that_cannot_be_read_ends_the_request_to_the_cell(way: Way) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield PIECE
        yield PIECE
        raise ValueError("the client left")

    with pytest.raises(ValueError, match="the client left"):
        await way.http.post("/", content=broken())
    assert (await way.http.post("/", content=b"next")).text == "4"


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}
