"""The same way out under httpx."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator

import httpx
import pytest

from sendoff.errors import UnsafeUrl
from sendoff.policy.addresses import AddressPolicy
from sendoff.wire.errors import BadResponse, ConnectFailed, ConnectionLost, RefusedAddress, TimedOut
from sendoff.wire.http.client import Client
from sendoff.wire.http.httpx_transport import GuardedTransport
from tests.integration.wire.receivers import LOOPBACK, OK, FixedResolver, Peer, answering, receiving, well_behaved


@pytest.fixture
async def http(client: Client) -> AsyncIterator[httpx.AsyncClient]:
    transport = GuardedTransport(client, LOOPBACK)
    async with httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False) as running:
        yield running


async def test_httpx_sends_and_receives_through_it(http: httpx.AsyncClient) -> None:
    requests: list[bytes] = []

    async def behave(peer: Peer) -> None:
        requests.append(await peer.request())
        await peer.send(b'HTTP/1.1 201 Created\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 8\r\n\r\n{"a": 1}')

    async with receiving(behave) as receiver:
        url = f"http://127.0.0.1:{receiver.port}/hooks?a=b"
        response = await http.post(url, json={"b": 2}, headers={"X-Signature": "v1=abc"})

    assert (response.status_code, response.json()) == (201, {"a": 1})
    assert response.headers.get_list("x-a") == ["1", "2"]
    assert response.extensions["truncated"] is False
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /hooks?a=b HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"X-Signature: v1=abc" in head
    assert [head.lower().count(name) for name in (b"host:", b"content-length:", b"accept-encoding:")] == [1, 1, 1]
    assert body == b'{"b":2}'


async def test_a_compressed_body_stays_as_it_was_sent(http: httpx.AsyncClient) -> None:
    packed = gzip.compress(b"\x00" * 1_000_000)
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)

    async with receiving(answering(answer + packed)) as receiver:
        response = await http.get(f"http://127.0.0.1:{receiver.port}/")

    assert response.content == packed
    assert "content-encoding" not in response.headers


async def test_a_truncated_body_is_no_error(http: httpx.AsyncClient) -> None:
    async with receiving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)) as receiver:
        response = await http.get(f"http://127.0.0.1:{receiver.port}/")

    assert response.content == b"x" * 16_384
    assert response.extensions["truncated"] is True


async def test_a_redirect_is_not_followed(http: httpx.AsyncClient) -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"

    async with receiving(answering(answer)) as receiver:
        assert (await http.post(f"http://127.0.0.1:{receiver.port}/")).status_code == 302


async def test_an_unsafe_url_is_refused_by_its_own_name(http: httpx.AsyncClient) -> None:
    with pytest.raises(UnsafeUrl) as refused:
        await http.get("http://169.254.169.254/latest/meta-data/")

    assert refused.value.reason == "metadata"


async def test_a_refused_address_is_a_failure_to_connect_with_its_reason() -> None:
    policy = AddressPolicy(allow_http=True)
    async with (
        Client(policy, resolver=FixedResolver(hooks_example=[["127.0.0.1"]])) as client,
        httpx.AsyncClient(transport=GuardedTransport(client, policy), trust_env=False) as http,
    ):
        with pytest.raises(httpx.ConnectError) as refused:
            await http.get("http://hooks.example/")

    assert isinstance(refused.value.__cause__, RefusedAddress)
    assert refused.value.__cause__.reason == "loopback"


async def test_a_failure_is_the_closest_of_httpx_with_ours_as_its_cause(http: httpx.AsyncClient) -> None:
    async def hangs(peer: Peer) -> None:
        await peer.gone()

    async def hangs_up(peer: Peer) -> None:
        await peer.request()

    for behaviour, seconds, theirs, ours in (
        (hangs, 1, httpx.ReadTimeout, TimedOut),
        (hangs_up, 30, httpx.ReadError, ConnectionLost),
        (answering(b"garbage"), 30, httpx.RemoteProtocolError, BadResponse),
    ):
        async with receiving(behaviour) as receiver:
            with pytest.raises(theirs) as failed:
                await http.post(f"http://127.0.0.1:{receiver.port}/", timeout=seconds)
        assert isinstance(failed.value.__cause__, ours)
    with pytest.raises(httpx.ConnectError) as failed_to_connect:
        await http.get(f"http://127.0.0.1:{receiver.port}/")
    assert isinstance(failed_to_connect.value.__cause__, ConnectFailed)


async def test_the_pool_is_shared_with_direct_senders(http: httpx.AsyncClient, client: Client) -> None:
    async with receiving(well_behaved) as receiver:
        assert (await http.post(f"http://127.0.0.1:{receiver.port}/hooks")).content == OK[-2:]
        assert (await client.send(receiver.target(), b"", b"", timeout=5)).status == 200

    assert receiver.connections == 1
