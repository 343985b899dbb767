"""Fetching a JWKS, under the same address policy as deliveries."""

from __future__ import annotations

import gzip

import pytest

from sendoff.accounts import jwks
from sendoff.errors import UnsafeUrl
from sendoff.policy.endpoints.addresses import AddressPolicy
from sendoff.wire.errors import BadResponse, ConnectFailed, ConnectionLost, TimedOut
from tests.integration.wire.receivers import LOOPBACK, Peer, answering, receiving

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


async def test_a_document_is_requested_by_get_without_a_body() -> None:
    requests: list[bytes] = []

    async def behave(peer: Peer) -> None:
        requests.append(await peer.request())
        await peer.send(LENGTH % 2 + b"{}")

    async with receiving(behave) as receiver:
        assert await jwks.fetch(f"http://127.0.0.1:{receiver.port}/keys?a=b", LOOPBACK) == b"{}"
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"GET /keys?a=b HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"Accept: application/json" in head
    assert body == b""


@pytest.mark.parametrize(("size", "is_read"), [(1024 * 1024, True), (1024 * 1024 + 1, False)])
async def test_a_document_of_up_to_a_mebibyte_is_read(*, size: int, is_read: bool) -> None:
    async with receiving(answering(LENGTH % size + b"x" * size)) as receiver:
        url = f"http://127.0.0.1:{receiver.port}/"
        if is_read:
            assert await jwks.fetch(url, LOOPBACK) == b"x" * size
        else:
            with pytest.raises(ValueError, match="more than 1048576 bytes"):
                await jwks.fetch(url, LOOPBACK)


async def test_a_document_that_is_cut_off_is_refused() -> None:
    async with receiving(answering(LENGTH % 100 + b"{}", then_close=True)) as receiver:
        with pytest.raises(ValueError, match="cut off"):
            await jwks.fetch(f"http://127.0.0.1:{receiver.port}/", LOOPBACK)


async def test_a_document_that_never_ends_is_given_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "_TIMEOUT_SECONDS", 0.5)

    async def sends_half(peer: Peer) -> None:
        await peer.request()
        await peer.send(LENGTH % 100 + b"{}")
        await peer.gone()

    async with receiving(sends_half) as receiver:
        with pytest.raises(ValueError, match="cut off"):
            await jwks.fetch(f"http://127.0.0.1:{receiver.port}/", LOOPBACK)


async def test_a_compressed_document_is_not_decompressed() -> None:
    packed = gzip.compress(b"\x00" * 1_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    async with receiving(answering(head + packed)) as receiver:
        assert await jwks.fetch(f"http://127.0.0.1:{receiver.port}/", LOOPBACK) == packed


async def test_a_redirect_is_not_followed() -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    async with receiving(answering(answer)) as receiver:
        with pytest.raises(ValueError, match="answered 302"):
            await jwks.fetch(f"http://127.0.0.1:{receiver.port}/", LOOPBACK)
    assert receiver.connections == 1


@pytest.mark.parametrize(("host", "reason"), [("169.254.169.254", "metadata"), ("127.0.0.1", "loopback")])
async def test_an_unsafe_url_is_not_requested(host: str, reason: str) -> None:
    with pytest.raises(UnsafeUrl) as refused:
        await jwks.fetch(f"http://{host}/latest/meta-data/", AddressPolicy(allow_http=True))
    assert refused.value.reason == reason


async def test_a_failed_exchange_keeps_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "_TIMEOUT_SECONDS", 1.0)

    async def hangs(peer: Peer) -> None:
        await peer.gone()

    async def hangs_up(peer: Peer) -> None:
        await peer.request()

    for behaviour, expected in (
        (hangs, TimedOut),
        (hangs_up, ConnectionLost),
        (answering(b"garbage"), BadResponse),
    ):
        async with receiving(behaviour) as receiver:
            with pytest.raises(expected):
                await jwks.fetch(f"http://127.0.0.1:{receiver.port}/", LOOPBACK)
    with pytest.raises(ConnectFailed):
        await jwks.fetch(f"http://127.0.0.1:{receiver.port}/", LOOPBACK)
