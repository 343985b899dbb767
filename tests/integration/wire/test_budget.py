"""What unfinished answers may hold together: each a little for itself, the rest out of one budget."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from sendoff.wire.errors import BadResponse, TimedOut, WireError
from sendoff.wire.http import client as client_module
from sendoff.wire.http.client import Client
from sendoff.wire.http.memory_budget import FREE_BYTES, MemoryBudget
from sendoff.wire.http.message import Response
from sendoff.wire.http.reader import ResponseReader
from tests.integration.wire.receivers import LOOPBACK, Behaviour, Peer, RawReceiver, receiving

HEAD = b"HTTP/1.1 200 OK\r\n"
IN_PAIRS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"2\r\nxy\r\n" * 8_000


def beginning(answer: bytes) -> Behaviour:
    """Sends the incomplete `answer`, and nothing more."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await peer.gone()

    return behave


async def outcome(client: Client, receiver: RawReceiver, *, seconds: float = 5) -> Response | WireError:
    try:
        return await client.send(receiver.target(), b"", b"{}", timeout=seconds)
    except WireError as error:
        return error


def test_a_large_response_reserves_memory_and_releases_it() -> None:
    budget = MemoryBudget(10_000)
    assert budget.change(0, FREE_BYTES) == 0
    charged = budget.change(0, FREE_BYTES + 6_000)
    assert (charged, budget.left) == (6_000, 4_000)
    assert budget.change(0, FREE_BYTES + 4_001) is None
    assert budget.change(6_000, FREE_BYTES + 10_000) == 10_000
    assert budget.left == 0
    assert budget.change(10_000, 0) == 0
    assert budget.left == 10_000


def test_an_answer_whose_status_is_known_ends_truncated_when_there_is_no_budget_left() -> None:
    reader = ResponseReader(16_384, MemoryBudget(0))
    assert not reader.feed(HEAD + b"Content-Length: 16000\r\n\r\n" + b"x" * 1_000)
    assert reader.feed(b"x" * 5_000)
    assert (reader.status, reader.truncated, reader.reusable, len(reader.body())) == (200, True, False, 6_000)


def test_a_head_that_does_not_end_is_refused_when_there_is_no_budget_left() -> None:
    reader = ResponseReader(16_384, MemoryBudget(0))
    with pytest.raises(BadResponse, match="memory for such responses"):
        reader.feed(HEAD + b"X-Endless: " + b"x" * FREE_BYTES)


def test_a_whole_answer_needs_no_budget() -> None:
    reader = ResponseReader(16_384, MemoryBudget(0))
    assert reader.feed(HEAD + b"Content-Length: 16000\r\n\r\n" + b"x" * 16_000)
    assert (reader.truncated, reader.reusable) == (False, True)


@pytest.mark.parametrize("ends_by", ["deadline", "answer", "cancellation"])
async def test_however_an_exchange_ends_its_share_is_given_back(ends_by: str) -> None:
    rest = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + b"Content-Length: 12000\r\n\r\n" + b"x" * 11_000)
        await rest.wait()
        await peer.send(b"x" * 1_000)
        await peer.gone()

    async with Client(LOOPBACK) as client, receiving(behave) as receiver:
        whole = client._budget.left
        sending = asyncio.create_task(outcome(client, receiver, seconds=2 if ends_by == "deadline" else 10))
        async with asyncio.timeout(5):
            while client._budget.left == whole:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.01)
        if ends_by == "cancellation":
            sending.cancel()
            await asyncio.wait([sending])
        elif ends_by == "deadline":
            response = await sending
            assert isinstance(response, Response)
            assert (response.status, response.truncated, len(response.body)) == (200, True, 11_000)
        else:
            rest.set()
            assert isinstance(await sending, Response)
        assert client._budget.left == whole


async def test_the_budget_holds_over_all_connections_of_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_MOST_HELD_BYTES", 20_000)
    part = HEAD + b"Content-Length: 16000\r\n\r\n" + b"x" * 12_000
    async with Client(LOOPBACK) as client, receiving(beginning(part)) as receiver:
        results = await asyncio.gather(*(outcome(client, receiver, seconds=5) for _ in range(10)))
        truncated = [result for result in results if isinstance(result, Response) and result.truncated]
        assert len(truncated) >= 7
        assert all(isinstance(result, (Response, TimedOut)) for result in results)
        assert client._budget.left == 20_000


async def test_a_body_in_the_smallest_chunks_takes_no_more_memory_than_it_has_bytes() -> None:
    async with Client(LOOPBACK) as client, receiving(beginning(IN_PAIRS)) as receiver:
        tracemalloc.start()
        try:
            await asyncio.gather(*(outcome(client, receiver, seconds=2) for _ in range(20)))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4_000_000
