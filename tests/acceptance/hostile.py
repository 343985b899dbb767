"""Receivers that break the rules of HTTP, each in its own way."""

from __future__ import annotations

import asyncio
import gzip

from tests.integration.wire.receivers import HEAD, OK, Behaviour, Peer

BOMB = gzip.compress(bytes(30_000_000))


def sending(start: bytes, filler: bytes = b"", *, pause: float = 0.0) -> Behaviour:
    """After the request `start`, then `filler` endlessly, or silence."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(start)
        while filler:
            await peer.send(filler)
            await asyncio.sleep(pause)
        await peer.gone()

    return behave


async def resets(peer: Peer) -> None:
    peer.reset()


async def resets_after_the_request(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def never_reads(peer: Peer) -> None:
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(30)


async def answers_before_it_is_asked(peer: Peer) -> None:
    await peer.send(OK * 1_000)
    await peer.gone()


async def goes_away_after_some_bytes(peer: Peer) -> None:
    await peer.request()
    await peer.send(OK[: peer.number % len(OK)])


HOSTILE: dict[str, Behaviour] = {
    "endless headers": sending(HEAD, b"X-Filler: " + b"x" * 8_000 + b"\r\n"),
    "an endless header": sending(HEAD + b"X-Endless: ", b"x" * 64_000),
    "an endless reason": sending(b"HTTP/1.1 200 ", b"reason " * 8_000),
    "headers within the bounds": sending(
        HEAD + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 480) for n in range(120)) + b"Content-Length: 16384\r\n\r\n"
    ),
    "an endless body": sending(HEAD + b"\r\n", b"x" * 64_000),
    "a body of a terabyte": sending(HEAD + b"Content-Length: 1000000000000\r\n\r\n", b"x" * 64_000),
    "endless chunks": sending(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 8_000),
    "the smallest chunks, and no end": sending(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"2\r\nxy\r\n" * 8_191),
    "a head of one long line, and no end": sending(HEAD + b"X-Long: " + b"x" * 60_000),
    "endless chunk extensions": sending(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 60_000),
    "a gzip bomb": sending(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB),
    "a byte now and then": sending(HEAD, b"x", pause=0.1),
    "endless interim answers": sending(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 500),
    "two lengths": sending(HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    "too short a body": sending(HEAD + b"Content-Length: 200\r\n\r\nok"),
    "garbage": sending(b"\x00\xff" * 30_000),
    "a redirect": sending(b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
    "another time": sending(b"HTTP/1.1 503 No\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n"),
    "silence": sending(b""),
    "a reset": resets,
    "a reset after the request": resets_after_the_request,
    "no reading": never_reads,
    "an answer too soon": answers_before_it_is_asked,
    "a part of an answer": goes_away_after_some_bytes,
}
