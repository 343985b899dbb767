"""The client with receivers that mean well, or at least speak HTTP."""

from __future__ import annotations

import asyncio

import pytest

from sendoff.wire.errors import ConnectFailed, ConnectionLost, TimedOut
from sendoff.wire.http.client import Client
from sendoff.wire.http.message import encode_headers
from tests.integration.wire.receivers import LOOPBACK, OK, Peer, answering, receiving, well_behaved
from tests.support.polling import eventually

BODY = b'{"id": "evt_1"}'


async def test_a_request_arrives_as_it_was_given_and_its_answer_comes_back(client: Client) -> None:
    arrived: list[bytes] = []

    async def behave(peer: Peer) -> None:
        arrived.append(await peer.request())
        await peer.send(b"HTTP/1.1 202 Accepted\r\nX-Trace: \xe4\r\nContent-Length: 5\r\n\r\nfine\n")

    async with receiving(behave) as receiver:
        head = encode_headers([("Content-Type", "application/json"), ("X-Signature", "v1=abc")])
        response = await client.send(receiver.target("/hooks?a=b"), head, BODY, timeout=5)

    assert arrived == [
        b"POST /hooks?a=b HTTP/1.1\r\n"
        b"Host: 127.0.0.1:%d\r\n"
        b"Accept-Encoding: identity\r\n"
        b"Content-Length: 15\r\n"
        b"Content-Type: application/json\r\n"
        b"X-Signature: v1=abc\r\n"
        b"\r\n" % receiver.port + BODY
    ]
    assert (response.status, response.body, response.truncated) == (202, b"fine\n", False)
    assert response.headers == (("x-trace", "ä"), ("content-length", "5"))
    assert response.header("x-trace") == "ä"
    assert response.header("retry-after") is None
    assert response.elapsed_ms >= 0


async def test_one_connection_serves_many_requests(client: Client) -> None:
    async with receiving(well_behaved) as receiver:
        for _ in range(5):
            assert (await client.send(receiver.target(), b"", BODY, timeout=5)).body == b"ok"

    assert receiver.connections == 1


async def test_simultaneous_requests_take_a_connection_each_and_keep_their_answers_apart(client: Client) -> None:
    async def echo(peer: Peer) -> None:
        while True:
            body = (await peer.request()).partition(b"\r\n\r\n")[2]
            await asyncio.sleep(0.01)
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with receiving(echo) as receiver:
        for _ in range(2):
            bodies = [b"%d" % number for number in range(20)]
            sent = [client.send(receiver.target(), b"", body, timeout=5) for body in bodies]
            assert [response.body for response in await asyncio.gather(*sent)] == bodies

    assert receiver.connections == 20


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_a_connection_that_the_receiver_will_close_is_not_reused(client: Client, answer: bytes) -> None:
    async with receiving(answering(answer)) as receiver:
        for _ in range(2):
            assert (await client.send(receiver.target(), b"", BODY, timeout=5)).body == b"ok"

    assert receiver.connections == 2


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", 304, b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n", 301, b""),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\nT: t\r\n\r\n", 200, b"ok"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, 200, b"ok"),
    ],
)
async def test_every_way_to_frame_an_answer_keeps_the_connection_in_step(
    client: Client, answer: bytes, status: int, body: bytes
) -> None:
    async with receiving(answering(answer)) as receiver:
        for _ in range(3):
            response = await client.send(receiver.target(), b"", BODY, timeout=5)
            assert (response.status, response.body) == (status, body)
            assert not any(name == "link" for name, _ in response.headers)

    assert receiver.connections == 1


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\n\r\nok", b"HTTP/1.0 200 OK\r\n\r\nok", b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nok"]
)
async def test_a_body_may_end_with_the_connection(client: Client, answer: bytes) -> None:
    async with receiving(answering(answer, then_close=True)) as receiver:
        for _ in range(2):
            response = await client.send(receiver.target(), b"", BODY, timeout=5)
            assert (response.status, response.body, response.truncated) == (200, b"ok", False)

    assert receiver.connections == 2


async def test_a_redirect_is_an_answer_and_nothing_more(client: Client) -> None:
    async with receiving(well_behaved) as elsewhere:
        location = b"http://127.0.0.1:%d/" % elsewhere.port
        answer = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % location
        async with receiving(answering(answer)) as receiver:
            assert (await client.send(receiver.target(), b"", BODY, timeout=5)).status == 307

    assert elsewhere.connections == 0


async def test_a_large_request_body_arrives_whole(client: Client) -> None:
    sizes: list[int] = []

    async def behave(peer: Peer) -> None:
        sizes.append(len((await peer.request()).partition(b"\r\n\r\n")[2]))
        await peer.send(OK)

    async with receiving(behave) as receiver:
        await client.send(receiver.target(), b"", b"x" * 5_000_000, timeout=10)

    assert sizes == [5_000_000]


async def test_a_get_has_no_length_and_a_head_no_body(client: Client) -> None:
    requests: list[bytes] = []

    async def behave(peer: Peer) -> None:
        while True:
            requests.append(await peer.request())
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + b"ok" * requests[-1].startswith(b"GET"))

    async with receiving(behave) as receiver:
        assert (await client.send(receiver.target(), b"", b"", timeout=5, method="GET")).body == b"ok"
        assert (await client.send(receiver.target(), b"", b"", timeout=5, method="HEAD")).body == b""
        assert (await client.send(receiver.target(), b"", b"", timeout=5, method="GET")).body == b"ok"

    assert b"content-length" not in requests[0].lower()


# Reused connections that die


async def test_a_reused_connection_that_ends_without_an_answer_is_replaced_once(client: Client) -> None:
    async def hangs_up_at_the_second_request(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        if peer.number == 1:
            await peer.request()
        else:
            await well_behaved(peer)

    async with receiving(hangs_up_at_the_second_request) as receiver:
        for _ in range(3):
            assert (await client.send(receiver.target(), b"", BODY, timeout=5)).status == 200

    assert receiver.connections == 2


async def test_a_connection_that_was_closed_while_idle_is_not_used_again(client: Client) -> None:
    async def hangs_up_after_each_answer(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)

    async with receiving(hangs_up_after_each_answer) as receiver:
        for _ in range(3):
            assert (await client.send(receiver.target(), b"", BODY, timeout=5)).status == 200

    assert receiver.connections == 3


async def test_the_second_attempt_on_a_fresh_connection_is_the_last(client: Client) -> None:
    requests: list[bytes] = []

    async def hangs_up_on_all_but_the_first_request(peer: Peer) -> None:
        requests.append(await peer.request())
        if peer.number == 1:
            await peer.send(OK)
            requests.append(await peer.request())

    async with receiving(hangs_up_on_all_but_the_first_request) as receiver:
        await client.send(receiver.target(), b"", BODY, timeout=5)
        with pytest.raises(ConnectionLost) as lost:
            await client.send(receiver.target(), b"", BODY, timeout=5)

    assert not lost.value.answered
    assert len(requests) == 3


async def test_a_fresh_connection_that_ends_without_an_answer_is_not_tried_again(client: Client) -> None:
    async def hangs_up(peer: Peer) -> None:
        await peer.request()

    async with receiving(hangs_up) as receiver:
        with pytest.raises(ConnectionLost):
            await client.send(receiver.target(), b"", BODY, timeout=5)

    assert receiver.connections == 1


async def test_a_reused_connection_that_ends_within_an_answer_is_not_tried_again(client: Client) -> None:
    async def breaks_off_the_second_answer(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        await peer.send(b"H")

    async with receiving(breaks_off_the_second_answer) as receiver:
        await client.send(receiver.target(), b"", BODY, timeout=5)
        with pytest.raises(ConnectionLost) as lost:
            await client.send(receiver.target(), b"", BODY, timeout=5)

    assert lost.value.answered
    assert receiver.connections == 1


@pytest.mark.parametrize("status", [408, 421, 425])
@pytest.mark.parametrize("headers", [b"Connection: close\r\nContent-Length: 0\r\n", b"Content-Length: 0\r\n", b""])
async def test_a_request_that_a_reused_connection_did_not_process_is_sent_once_on_a_fresh_one(
    client: Client, status: int, headers: bytes
) -> None:
    requests: list[bytes] = []

    async def times_out_at_the_second_request(peer: Peer) -> None:
        requests.append(await peer.request())
        await peer.send(OK)
        if peer.number == 1:
            requests.append(await peer.request())
            await peer.send(b"HTTP/1.1 %d X\r\n%b\r\n" % (status, headers))
        else:
            await well_behaved(peer)

    async with receiving(times_out_at_the_second_request) as receiver:
        for _ in range(3):
            assert (await client.send(receiver.target(), b"", BODY, timeout=5)).status == 200

    assert len(requests) == 3
    assert receiver.connections == 2


@pytest.mark.parametrize("status", [408, 421, 425])
async def test_the_same_status_on_a_fresh_connection_is_the_response(client: Client, status: int) -> None:
    requests: list[bytes] = []

    async def accepts_the_first_request_only(peer: Peer) -> None:
        while True:
            requests.append(await peer.request())
            await peer.send(OK if len(requests) == 1 else b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)

    async with receiving(accepts_the_first_request_only) as receiver:
        assert (await client.send(receiver.target(), b"", BODY, timeout=5)).status == 200
        assert (await client.send(receiver.target(), b"", BODY, timeout=5)).status == status

    assert len(requests) == 3
    assert receiver.connections == 2


async def test_another_failure_status_on_a_reused_connection_is_the_response(client: Client) -> None:
    async with receiving(answering(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n")) as receiver:
        for _ in range(2):
            assert (await client.send(receiver.target(), b"", BODY, timeout=5)).status == 503

    assert receiver.connections == 1


async def test_a_408_that_was_sent_unasked_is_never_the_response_to_the_next_request(client: Client) -> None:
    async def announces_its_timeout(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        await peer.gone()

    async with receiving(announces_its_timeout) as receiver:
        for _ in range(3):
            assert (await client.send(receiver.target(), b"", BODY, timeout=5)).status == 200

    assert receiver.connections == 3


async def test_a_reset_and_a_response_are_distinguished(client: Client) -> None:
    async def resets(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async with receiving(resets) as receiver:
        with pytest.raises(ConnectionLost):
            await client.send(receiver.target(), b"", BODY, timeout=5)


# Deadlines and limits


@pytest.mark.parametrize(
    ("said", "phase"),
    [
        (b"", "headers"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "headers"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "headers"),
    ],
)
async def test_a_receiver_that_stops_midway_costs_the_deadline_and_its_connection(
    client: Client, said: bytes, phase: str
) -> None:
    gone = asyncio.Event()

    async def stops(peer: Peer) -> None:
        await peer.request()
        await peer.send(said)
        await peer.gone()
        gone.set()

    async with receiving(stops) as receiver:
        with pytest.raises(TimedOut) as timed_out:
            await client.send(receiver.target(), b"", BODY, timeout=1.0)
        await asyncio.wait_for(gone.wait(), 5)

    assert timed_out.value.phase == phase


async def test_a_receiver_that_never_reads_costs_the_deadline(client: Client) -> None:
    async def never_reads(peer: Peer) -> None:
        await asyncio.sleep(30)

    async with receiving(never_reads) as receiver:
        with pytest.raises(TimedOut) as timed_out:
            await client.send(receiver.target(), b"", b"x" * 30_000_000, timeout=1.0)

    assert timed_out.value.phase == "write"


async def test_a_body_up_to_the_cap_is_kept_whole() -> None:
    body = bytes(range(100))
    behaviour = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", body)
    async with Client(LOOPBACK, body_cap=100) as client, receiving(behaviour) as receiver:
        for _ in range(2):
            response = await client.send(receiver.target(), b"", BODY, timeout=5)
            assert (response.body, response.truncated) == (body, False)

    assert receiver.connections == 1


async def test_a_body_beyond_the_cap_is_cut_and_judged_on_its_status() -> None:
    body = bytes(range(101))
    behaviour = answering(b"HTTP/1.1 500 Oops\r\nContent-Length: 101\r\n\r\n", body)
    async with Client(LOOPBACK, body_cap=100) as client, receiving(behaviour) as receiver:
        for _ in range(2):
            response = await client.send(receiver.target(), b"", BODY, timeout=5)
            assert (response.status, response.body, response.truncated) == (500, body[:100], True)

    assert receiver.connections == 2


async def test_nobody_listening_is_a_failure_to_connect(client: Client) -> None:
    async with receiving(well_behaved) as receiver:
        target = receiver.target()
    with pytest.raises(ConnectFailed) as failed:
        await client.send(target, b"", BODY, timeout=5)

    assert not failed.value.is_local
    assert "127.0.0.1" not in str(failed.value)


# The client's own life


async def test_cancelling_a_request_closes_its_connection(client: Client) -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def waits(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await peer.gone()
        gone.set()

    async with receiving(waits) as receiver:
        sending = asyncio.create_task(client.send(receiver.target(), b"", BODY, timeout=10))
        await asyncio.wait_for(arrived.wait(), 5)
        sending.cancel()
        await asyncio.wait_for(gone.wait(), 5)
        with pytest.raises(asyncio.CancelledError):
            await sending


async def test_closing_the_client_closes_what_is_idle_and_what_is_under_way() -> None:
    open_connections = 0
    arrived = asyncio.Event()

    async def counts(peer: Peer) -> None:
        nonlocal open_connections
        open_connections += 1
        try:
            while b"/slow" not in await peer.request():
                await peer.send(OK)
            arrived.set()
            await peer.gone()
        finally:
            open_connections -= 1

    async with receiving(counts) as receiver:
        client = Client(LOOPBACK)
        slow = asyncio.create_task(client.send(receiver.target("/slow"), b"", BODY, timeout=10))
        await client.send(receiver.target(), b"", BODY, timeout=5)
        await asyncio.wait_for(arrived.wait(), 5)
        await client.aclose()
        with pytest.raises(ConnectionLost):
            await slow
        await eventually(lambda: not open_connections, what="all connections closed")
        with pytest.raises(RuntimeError, match="closed"):
            await client.send(receiver.target(), b"", BODY, timeout=5)


async def test_proxies_of_the_environment_are_not_used(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving(well_behaved) as proxy, receiving(well_behaved) as receiver:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        assert (await client.send(receiver.target(), b"", BODY, timeout=5)).status == 200

    assert (proxy.connections, receiver.connections) == (0, 1)
