"""The egress proxy: it gets the checked address, and the checks are the same with it."""

from __future__ import annotations

import asyncio
import ssl
from ipaddress import ip_network

import pytest
import trustme

from sendoff.policy.endpoints.addresses import AddressPolicy, check_url
from sendoff.wire.errors import ConnectFailed, LocalFailure, RefusedAddress, TimedOut, TlsFailed
from sendoff.wire.http.client import Client
from tests.integration.wire.receivers import LOOPBACK, FixedResolver, Peer, receiving, well_behaved
from tests.support.tcp_relay import relay

BODY = b"{}"
RESOLVER = {"hooks_example": [["127.0.0.1"]]}
HTTP_TO_PUBLIC = AddressPolicy(allow_http=True)


class TunnellingProxy:
    """Connects to every address that it is given."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        self.heads.append(await peer.request())
        host, _, port = self.heads[-1].split(b" ")[1].rpartition(b":")
        reader, writer = await asyncio.open_connection(host.decode().strip("[]"), int(port))
        await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(relay(peer.reader, writer), relay(reader, peer.writer))


def serving(ca: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    return context


async def test_the_proxy_gets_the_checked_address_and_the_receiver_is_verified_by_name(
    ca: trustme.CA, trusting: ssl.SSLContext
) -> None:
    tunnelling = TunnellingProxy()
    async with (
        receiving(tunnelling) as proxy,
        receiving(well_behaved, tls=serving(ca, "hooks.example")) as receiver,
        Client(
            LOOPBACK,
            ssl_context=trusting,
            resolver=FixedResolver(**RESOLVER),
            proxy=f"http://user:pass%20word@127.0.0.1:{proxy.port}",
        ) as client,
    ):
        for _ in range(2):
            response = await client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=5)
            assert response.body == b"ok"

    authority = b"127.0.0.1:%d" % receiver.port
    assert tunnelling.heads == [
        b"CONNECT %b HTTP/1.1\r\nHost: %b\r\nProxy-Authorization: Basic dXNlcjpwYXNzIHdvcmQ=\r\n\r\n"
        % (authority, authority)
    ]


async def test_a_wrong_certificate_behind_the_proxy_is_refused(ca: trustme.CA, trusting: ssl.SSLContext) -> None:
    async with (
        receiving(TunnellingProxy()) as proxy,
        receiving(well_behaved, tls=serving(ca, "other.example")) as receiver,
        Client(
            LOOPBACK,
            ssl_context=trusting,
            resolver=FixedResolver(**RESOLVER),
            proxy=f"http://127.0.0.1:{proxy.port}",
        ) as client,
    ):
        with pytest.raises(TlsFailed):
            await client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=5)


async def test_a_refused_address_is_not_even_named_to_the_proxy() -> None:
    async with (
        receiving(TunnellingProxy()) as proxy,
        Client(HTTP_TO_PUBLIC, resolver=FixedResolver(**RESOLVER), proxy=f"http://127.0.0.1:{proxy.port}") as client,
    ):
        with pytest.raises(RefusedAddress):
            await client.send(check_url("http://hooks.example/", HTTP_TO_PUBLIC), b"", BODY, timeout=5)

    assert proxy.connections == 0


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", ConnectFailed),
        (b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n", ConnectFailed),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", LocalFailure),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", LocalFailure),
        (b"garbage\r\n\r\n", LocalFailure),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 Planted\r\n\r\n", ConnectFailed),
        (b"HTTP/1.1 200 OK\r\n", LocalFailure),
        (b"", LocalFailure),
        (b"x" * 20_000, LocalFailure),
        (b"HTTP/1.1 200 OK\r\n" + b"X-Filler: x\r\n" * 20_000, LocalFailure),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000, LocalFailure),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", LocalFailure),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", LocalFailure),
        (b"HTTP/1.1 2000 OK\r\n\r\n", LocalFailure),
        (b"\r\n\r\n", LocalFailure),
    ],
)
async def test_failures_of_the_proxy_and_of_the_receiver_are_distinguished(
    reply: bytes, expected: type[Exception]
) -> None:
    async def answers(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply)

    async with receiving(answers) as proxy, Client(LOOPBACK, proxy=f"http://127.0.0.1:{proxy.port}") as client:
        with pytest.raises(expected):
            await client.send(check_url("http://127.0.0.1:8000/", LOOPBACK), b"", BODY, timeout=5)


async def test_a_proxy_that_answers_byte_by_byte_without_end_costs_the_deadline() -> None:
    async def trickles(peer: Peer) -> None:
        await peer.request()
        while True:
            await peer.send(b"x")
            await asyncio.sleep(0.01)

    async with receiving(trickles) as proxy, Client(LOOPBACK, proxy=f"http://127.0.0.1:{proxy.port}") as client:
        with pytest.raises(TimedOut):
            await client.send(check_url("http://127.0.0.1:8000/", LOOPBACK), b"", BODY, timeout=0.3)


async def test_a_proxy_that_hangs_costs_the_deadline_and_one_that_is_away_is_our_failure() -> None:
    async def hangs(peer: Peer) -> None:
        await peer.gone()

    async with receiving(hangs) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        async with Client(LOOPBACK, proxy=url) as client:
            with pytest.raises(TimedOut):
                await client.send(check_url("http://127.0.0.1:8000/", LOOPBACK), b"", BODY, timeout=0.2)
    async with Client(LOOPBACK, proxy=url) as client:
        with pytest.raises(LocalFailure):
            await client.send(check_url("http://127.0.0.1:8000/", LOOPBACK), b"", BODY, timeout=5)


@pytest.mark.parametrize("url", ["https://proxy:3128", "socks5://proxy:1080", "proxy:3128", "http://", "http://p/x"])
def test_a_proxy_that_we_cannot_speak_to_is_refused_at_start(url: str) -> None:
    with pytest.raises(ValueError, match="egress proxy"):
        Client(AddressPolicy(allow_networks=(ip_network("127.0.0.0/8"),)), proxy=url)
