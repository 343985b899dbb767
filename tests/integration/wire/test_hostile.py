"""Receivers that break the rules: bounded time and memory, the right failure, and the next request unaffected."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sendoff.wire.errors import BadResponse, ConnectionLost, TimedOut, WireError
from sendoff.wire.http.client import Client
from sendoff.wire.http.message import Response
from tests.integration.wire.receivers import LOOPBACK, OK, Peer, RawReceiver, receiving, well_behaved
from tests.support.polling import eventually

BODY = b'{"id": "evt_1"}'
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def hasty() -> AsyncIterator[Client]:
    """A client that gives a body little time, so that no deadline has to be short."""
    async with Client(LOOPBACK, body_seconds=0.2) as running:
        yield running


def endlessly(start: bytes, filler: bytes) -> Callable[[Peer], Awaitable[None]]:
    """Sends `start`, then `filler` for as long as anybody takes it."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(start)
        while True:
            await peer.send(filler)

    return behave


def trickling(text: bytes) -> Callable[[Peer], Awaitable[None]]:
    """Sends a byte at a time, and never all of them within a test's deadline."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        for byte in text:
            await peer.send(bytes([byte]))
            await asyncio.sleep(0.05)

    return behave


async def outcome(client: Client, receiver: RawReceiver, *, seconds: float = 30) -> Response | WireError:
    try:
        return await client.send(receiver.target(), b"", BODY, timeout=seconds)
    except WireError as error:
        return error


async def assert_unaffected(client: Client) -> None:
    async with receiving(well_behaved) as receiver:
        response = await client.send(receiver.target(), b"", BODY, timeout=30)
        assert (response.status, response.body) == (200, b"ok")


@pytest.mark.parametrize(
    ("start", "filler"),
    [
        (HEAD, b"X-Filler: " + b"x" * 1_000 + b"\r\n"),
        (HEAD + b"X-Endless: ", b"x" * 10_000),
        (HEAD + b"X", b"x" * 10_000),
        (b"HTTP/1.1 200 ", b"reason " * 1_000),
        (HEAD, b"A: b\r\n" * 1_000),
        (b"HTTP/1.1 1", b"0" * 1_000),
        (b"", b"garbage " * 1_000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100),
        (b"", b"\r\n" * 1_000),
        (b"", b"\x00" * 10_000),
        (b"\x16\x03\x01", b"\x02" * 1_000),
    ],
    ids=lambda value: repr(value[:24]),
)
async def test_an_endless_head_is_a_bad_response(client: Client, start: bytes, filler: bytes) -> None:
    async with receiving(endlessly(start, filler)) as receiver:
        assert isinstance(await outcome(client, receiver), BadResponse)

    await assert_unaffected(client)


@pytest.mark.parametrize(
    ("start", "filler"),
    [
        (HEAD + b"\r\n", b"x" * 10_000),
        (HEAD + b"Content-Length: 1000000000000\r\n\r\n", b"x" * 10_000),
        (CHUNKED, b"2710\r\n" + b"x" * 10_000 + b"\r\n"),
        (CHUNKED, b"1;" + b"x" * 5_000 + b"\r\na\r\n"),
        (CHUNKED, b"1\r\na\r\n" * 100),
    ],
    ids=lambda value: repr(value[-24:]),
)
async def test_an_endless_body_is_cut_and_judged_on_its_status(client: Client, start: bytes, filler: bytes) -> None:
    async with receiving(endlessly(start, filler)) as receiver:
        response = await outcome(client, receiver)

    assert isinstance(response, Response)
    assert (response.status, response.truncated) == (200, True)
    assert len(response.body) <= 16_384
    await assert_unaffected(client)


async def test_a_byte_now_and_then_costs_the_deadline(client: Client) -> None:
    async with receiving(trickling(OK)) as receiver:
        error = await outcome(client, receiver, seconds=1.0)

    assert isinstance(error, TimedOut)
    assert error.phase == "headers"
    await assert_unaffected(client)


async def test_a_body_byte_now_and_then_costs_the_connection_and_not_the_status(hasty: Client) -> None:
    async def trickles_its_body(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + b"Content-Length: 1000\r\n\r\n")
        while True:
            await peer.send(b"x")
            await asyncio.sleep(0.05)

    async with receiving(trickles_its_body) as receiver:
        response = await outcome(hasty, receiver)

    assert isinstance(response, Response)
    assert (response.status, response.truncated) == (200, True)
    await assert_unaffected(hasty)


@pytest.mark.parametrize("cut", range(OK.index(b"\r\n\r\n") + 4))
async def test_a_response_that_ends_within_its_head_is_a_lost_connection(client: Client, cut: int) -> None:
    async def breaks_off(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK[:cut])

    async with receiving(breaks_off) as receiver:
        error = await outcome(client, receiver)

    assert isinstance(error, ConnectionLost)
    assert error.answered == (cut > 0)
    assert receiver.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 %d X\r\nContent-Length: 10\r\n\r\nok",
        b"HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\no",
        b"HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\r\n folded\r\n\r\n",
        b"HTTP/1.1 %d X\r\nContent-Type: text/event-stream\r\n\r\n: got it\n\n",
    ],
    ids=lambda value: repr(value[18:40]),
)
@pytest.mark.parametrize("status", [200, 204, 307, 410, 500])
@pytest.mark.parametrize("ending", ["close", "reset", "silence"])
async def test_once_the_head_is_in_its_status_counts_however_the_body_ends(
    hasty: Client, answer: bytes, status: int, ending: str
) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer % status)
        if ending == "silence":
            await peer.gone()
        elif ending == "reset":
            await asyncio.sleep(0.05)  # a reset discards what the other side has not read
            peer.reset()

    async with receiving(behave) as receiver:
        for _ in range(2):
            response = await outcome(hasty, receiver)
            assert isinstance(response, Response)
            assert response.status == status

    assert receiver.connections == 2
    await assert_unaffected(hasty)


async def test_a_body_without_end_is_given_up_long_before_the_deadline() -> None:
    async def streams(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + b"Content-Type: text/event-stream\r\n\r\n: got it\n\n")
        await peer.gone()

    async with Client(LOOPBACK, body_seconds=0.1) as client, receiving(streams) as receiver:
        response = await outcome(client, receiver, seconds=600)

    assert isinstance(response, Response)
    assert (response.status, response.body, response.truncated) == (200, b": got it\n\n", True)


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nContent-Length: 20\r\n\r\nok",
        HEAD + b"Content-Length: nonsense\r\n\r\nok",
        HEAD + b"X: a\r\n folded\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_a_head_that_can_be_read_in_two_ways_counts_with_its_status_alone(client: Client, answer: bytes) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await peer.gone()

    async with receiving(behave) as receiver:
        response = await outcome(client, receiver)

    assert isinstance(response, Response)
    assert (response.status, response.body, response.truncated) == (200, b"", True)
    await assert_unaffected(client)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"garbage before " + OK,
    ],
)
async def test_an_answer_that_does_not_fit_the_request_is_not_read_at_all(client: Client, answer: bytes) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await peer.gone()

    async with receiving(behave) as receiver:
        assert isinstance(await outcome(client, receiver), BadResponse)

    await assert_unaffected(client)


async def test_a_wrong_content_length_costs_the_connection(hasty: Client) -> None:
    async def lies(peer: Peer) -> None:
        length = b"200" if b"/more" in await peer.request() else b"1"
        await peer.send(HEAD + b"Content-Length: " + length + b"\r\n\r\nok")
        await peer.gone()

    async with receiving(lies) as receiver:
        response = await hasty.send(receiver.target("/more"), b"", BODY, timeout=30)
        assert (response.status, response.body, response.truncated) == (200, b"ok", True)
        for _ in range(2):
            assert (await hasty.send(receiver.target("/less"), b"", BODY, timeout=30)).body == b"o"

    assert receiver.connections == 3


@pytest.mark.parametrize("extra", [b"x", b"HTTP/1.1 500 Planted\r\nContent-Length: 0\r\n\r\n", b"\r\n"])
async def test_an_unrequested_response_is_never_read_as_the_next_one(client: Client, extra: bytes) -> None:
    planted = asyncio.Event()

    async def plants(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        if peer.number == 1:
            await asyncio.sleep(0.05)
            await peer.send(extra)
            planted.set()
        await peer.gone()

    async with receiving(plants) as receiver:
        assert (await client.send(receiver.target(), b"", BODY, timeout=30)).status == 200
        await asyncio.wait_for(planted.wait(), 5)
        await eventually(lambda: not client._open, what="the spoiled connection is closed")
        assert (await client.send(receiver.target(), b"", BODY, timeout=30)).status == 200

    assert receiver.connections == 2


async def test_an_answer_glued_to_another_is_dropped_with_its_connection(client: Client) -> None:
    async def glues(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"HTTP/1.1 500 Planted\r\nContent-Length: 0\r\n\r\n")
        await peer.gone()

    async with receiving(glues) as receiver:
        for _ in range(3):
            assert (await client.send(receiver.target(), b"", BODY, timeout=30)).status == 200

    assert receiver.connections == 3


async def test_an_answer_before_the_request_never_reaches_the_request_after_it(client: Client) -> None:
    async def answers_first(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 299 Premature\r\nContent-Length: 0\r\n\r\n")
        await peer.request()
        await peer.send(OK)
        await peer.gone()

    async with receiving(answers_first) as receiver:
        for _ in range(3):
            result = await outcome(client, receiver)
            # It is refused if it was there before the request left, and else is that request's answer; the real
            # answer, which comes behind it, spoils the connection in either case.
            assert isinstance(result, BadResponse) or (isinstance(result, Response) and result.status == 299)
            await asyncio.sleep(0.05)

    assert receiver.connections == 3


async def test_a_compressed_body_is_neither_asked_for_nor_unpacked(client: Client) -> None:
    bomb = gzip.compress(b"\x00" * 10_000_000)
    requests: list[bytes] = []

    async def sends_a_bomb(peer: Peer) -> None:
        requests.append(await peer.request())
        await peer.send(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)

    async with receiving(sends_a_bomb) as receiver:
        response = await outcome(client, receiver)

    assert isinstance(response, Response)
    assert response.body == bomb[:16_384]
    assert b"Accept-Encoding: identity\r\n" in requests[0]


async def test_many_hostile_receivers_at_once_cost_little_memory(client: Client) -> None:
    async with receiving(endlessly(HEAD + b"\r\n", b"x" * 20_000)) as receiver:
        tracemalloc.start()
        try:
            await asyncio.gather(*(outcome(client, receiver) for _ in range(40)))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak < 20_000_000
    await assert_unaffected(client)


async def test_receivers_that_never_answer_leave_no_connection_behind() -> None:
    under_way: set[Peer] = set()

    async def hangs(peer: Peer) -> None:
        under_way.add(peer)
        with contextlib.suppress(OSError):
            await peer.gone()
        under_way.discard(peer)

    async with Client(LOOPBACK) as client, receiving(hangs) as receiver:
        results = await asyncio.gather(*(outcome(client, receiver, seconds=0.5) for _ in range(200)))
        assert all(isinstance(result, TimedOut) for result in results)
        async with asyncio.timeout(5):
            while under_way:  # noqa: ASYNC110 - nobody tells us but the sockets
                await asyncio.sleep(0.01)
        await assert_unaffected(client)
