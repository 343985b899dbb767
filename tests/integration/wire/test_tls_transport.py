"""TLS of our own: whatever a receiver does below HTTP costs bounded memory and has the right name."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from sendoff.wire.errors import BadResponse, TimedOut, TlsFailed, WireError
from sendoff.wire.http.client import Client
from sendoff.wire.http.connection import HttpConnection
from sendoff.wire.http.memory_budget import MemoryBudget
from sendoff.wire.http.reader import ResponseReader
from sendoff.wire.tls.byte_budget import FREE_HANDSHAKE_BYTES, MOST_OVERHEAD_BYTES, MOST_UNASKED_ANSWERS, TlsByteBudget
from sendoff.wire.tls.transport import TlsTransport
from sendoff.wire.tls.trust import default_ssl_context
from tests.integration.wire.receivers import HEAD, LOOPBACK, OK, Behaviour, FixedResolver, Peer, receiving, well_behaved
from tests.support.polling import eventually

BODY = b"{}"


@pytest.fixture
def serving(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("hooks.example").configure_cert(context)
    return context


@pytest.fixture
def client(trusting: ssl.SSLContext) -> Client:
    return Client(LOOPBACK, ssl_context=trusting, resolver=FixedResolver(hooks_example=[["127.0.0.1"]]))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [0, 1, 4_095, 4_096, 16_384, 16_385, 300_000])
async def test_requests_and_answers_of_any_size_arrive_whole_on_one_connection(
    client: Client, serving: ssl.SSLContext, version: ssl.TLSVersion, size: int
) -> None:
    serving.maximum_version = version
    answer = bytes(index % 251 for index in range(min(size, 16_384)))
    requests: list[bytes] = []

    async def echoes(peer: Peer) -> None:
        while True:
            requests.append(await peer.request())
            await peer.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(answer) + answer)

    body = bytes(index % 241 for index in range(size))
    async with client, receiving(echoes, tls=serving) as receiver:
        for _ in range(3):
            response = await client.send(receiver.target(host="hooks.example"), b"", body, timeout=5)
            assert (response.body, response.truncated) == (answer, False)

    assert [request.partition(b"\r\n\r\n")[2] for request in requests] == [body] * 3
    assert receiver.connections == 1


@pytest.mark.parametrize("start", [b"", b"\x16\x03\x03\x40\x00" + b"\x02\x00\x3f\xfc", b"\x16"])
async def test_a_handshake_that_never_finishes_costs_the_deadline_and_the_connection(
    client: Client, start: bytes
) -> None:
    gone = asyncio.Event()

    async def stalls(peer: Peer) -> None:
        await peer.send(start)
        await peer.gone()
        gone.set()

    async with client, receiving(stalls) as receiver:
        receiver.scheme = "https"
        with pytest.raises(TimedOut) as timed_out:
            await client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=1.0)
        await asyncio.wait_for(gone.wait(), 5)

    assert timed_out.value.phase == "tls"


async def test_a_handshake_without_end_is_ended(client: Client) -> None:
    warning = b"\x15\x03\x03\x00\x02\x01\x5a"

    async def warns_for_ever(peer: Peer) -> None:
        while True:
            await peer.send(warning * 1_000)

    async with client, receiving(warns_for_ever) as receiver:
        receiver.scheme = "https"
        with pytest.raises(TlsFailed):
            await client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=10)


@pytest.fixture
def with_chain(ca: trustme.CA, tmp_path: Path) -> Callable[[int], ssl.SSLContext]:
    """A server's configuration with a valid certificate and `count` unrelated ones."""

    def make(others: int) -> ssl.SSLContext:
        chain = [ca.issue_cert("hooks.example").private_key_and_cert_chain_pem.bytes()]
        chain += [trustme.CA().cert_pem.bytes() for _ in range(others)]
        (tmp_path / "chain.pem").write_bytes(b"".join(chain))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "chain.pem")
        return context

    return make


async def test_a_huge_chain_of_certificates_is_refused(
    client: Client, with_chain: Callable[[int], ssl.SSLContext]
) -> None:
    async with client, receiving(well_behaved, tls=with_chain(MOST_OVERHEAD_BYTES // 400 + 1)) as receiver:
        with pytest.raises(TlsFailed, match="TLS handshake took more than"):
            await client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=5)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_long_certificate_chains_share_the_memory_budget(
    client: Client, with_chain: Callable[[int], ssl.SSLContext], version: ssl.TLSVersion
) -> None:
    long, short = with_chain(25), with_chain(1)
    long.maximum_version = version
    client._dialer._budget = MemoryBudget(6_000, free=FREE_HANDSHAKE_BYTES)
    async with client, receiving(well_behaved, tls=long) as first, receiving(well_behaved, tls=long) as second:
        await client.send(first.target(host="hooks.example"), b"", BODY, timeout=5)
        with pytest.raises(TlsFailed, match="no memory left"):
            await client.send(second.target(host="hooks.example"), b"", BODY, timeout=5)
        async with receiving(well_behaved, tls=short) as third:
            assert (await client.send(third.target(host="hooks.example"), b"", BODY, timeout=5)).status == 200
        client._pool.close()
        await eventually(lambda: client._dialer._budget.left == 6_000, what="what the connections took is given back")
        assert (await client.send(second.target(host="hooks.example"), b"", BODY, timeout=5)).status == 200


@pytest.mark.parametrize("how", ["reset", "end"])
async def test_a_body_that_ends_without_close_notify_is_truncated_and_its_status_counts(
    client: Client, serving: ssl.SSLContext, how: str
) -> None:
    async def breaks_off(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + b"\r\nnot all of it")
        # A reset might take along what was not read yet.
        await eventually(lambda: [connection._reader.status for connection in client._open] == [200])
        if how == "reset":
            peer.reset()
        else:
            peer.end_without_goodbye()
            await asyncio.sleep(30)

    async with client, receiving(breaks_off, tls=serving) as receiver:
        response = await client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=5)

    assert (response.status, response.truncated) == (200, True)


async def test_bytes_outside_a_tls_record_break_an_encrypted_connection(
    client: Client, serving: ssl.SSLContext
) -> None:
    async def interjects(peer: Peer) -> None:
        await peer.request()
        os.write(peer.writer.get_extra_info("socket").fileno(), OK)
        await peer.gone()

    async with client, receiving(interjects, tls=serving) as receiver:
        with pytest.raises(TlsFailed, match="encrypted connection broke"):
            await client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=5)


@pytest.mark.parametrize(
    ("start", "filler", "expected"),
    [
        (HEAD + b"X-Endless: ", b"x" * 20_000, BadResponse),
        (HEAD + b"\r\n", b"x" * 20_000, None),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 3_000, None),
        (b"garbage", b"\x00" * 20_000, BadResponse),
    ],
)
async def test_endless_answers_are_bounded_under_encryption_too(
    client: Client, serving: ssl.SSLContext, start: bytes, filler: bytes, expected: type[WireError] | None
) -> None:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(start)
        while True:
            await peer.send(filler)

    async with client, receiving(behave, tls=serving) as receiver:
        sending = client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=10)
        if expected is None:
            assert (await sending).truncated
        else:
            with pytest.raises(expected):
                await sending


async def test_an_unasked_answer_ends_an_idle_encrypted_connection(client: Client, serving: ssl.SSLContext) -> None:
    async def answers_twice(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        if peer.number == 1:
            await asyncio.sleep(0.05)
            await peer.send(HEAD.replace(b"200", b"500") + b"Content-Length: 0\r\n\r\n")
        await peer.gone()

    async with client, receiving(answers_twice, tls=serving) as receiver:
        target = receiver.target(host="hooks.example")
        assert (await client.send(target, b"", BODY, timeout=5)).status == 200
        await eventually(lambda: not client._open, what="the spoiled connection is closed")
        assert (await client.send(target, b"", BODY, timeout=5)).status == 200

    assert receiver.connections == 2


def test_renegotiation_is_refused() -> None:
    assert default_ssl_context().options & ssl.OP_NO_RENEGOTIATION


async def test_answers_below_http_are_counted(trusting: ssl.SSLContext) -> None:
    buffers = memoryview(bytearray(1_000)), memoryview(bytearray(1_000))
    transport = TlsTransport(
        lambda: pytest.fail("no connection"), trusting, "hooks.example", buffers, TlsByteBudget(MemoryBudget(0))
    )
    written = Written()
    transport.connection_made(written)
    for _ in range(MOST_UNASKED_ANSWERS):
        transport._outgoing.write(b"a change of keys, answered")
        transport.buffer_updated(0)
    assert not written.aborted
    transport._outgoing.write(b"one more")
    transport.buffer_updated(0)
    assert written.aborted


class Written(asyncio.Transport):
    """Takes what is written, and that it is aborted."""

    aborted = False

    def write(self, data: object) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def reads_nothing_valid(answer: bytes) -> Behaviour:
    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await peer.gone()

    return behave


@pytest.mark.usefixtures("no_garbage_collection")
@pytest.mark.parametrize("answer", [b"garbage", HEAD + b"X-Long: " + b"x" * 60_000, b"HTTP/1.1 2000 OK\r\n\r\n", b""])
@pytest.mark.parametrize("encrypted", [True, False])
async def test_a_failed_exchange_releases_its_memory_at_once(
    client: Client, serving: ssl.SSLContext, answer: bytes, encrypted: bool
) -> None:
    def alive() -> int:
        kept = (TlsTransport, HttpConnection, ResponseReader)
        return sum(isinstance(found, kept) for found in gc.get_objects())

    async def little_is_kept() -> bool:
        return await asyncio.to_thread(alive) - before <= 3

    before = alive()
    async with client, receiving(reads_nothing_valid(answer), tls=serving if encrypted else None) as receiver:
        for _ in range(10):
            with pytest.raises(WireError):
                await client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=0.2)
        await eventually(lambda: not client._open, what="all connections closed")
        await eventually(little_is_kept, within=30, what=lambda: f"nothing is kept, {alive() - before} are")


@pytest.mark.parametrize("encrypted", [True, False])
async def test_a_connection_whose_request_was_not_read_is_not_kept(
    client: Client, serving: ssl.SSLContext, encrypted: bool
) -> None:
    async def answers_without_reading(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await peer.send(OK)
        await asyncio.sleep(30)

    async def answers_after_the_head(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await answers_without_reading(peer)

    body = b"x" * 8_000_000
    async with client, receiving(answers_after_the_head, tls=serving if encrypted else None) as receiver:
        response = await client.send(receiver.target(host="hooks.example"), b"", body, timeout=10)
        assert response.status == 200
        assert len(client._pool) == 0
        await eventually(lambda: not client._open, what="the connection is closed")
