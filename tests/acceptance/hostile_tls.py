"""Receivers that break the rules of TLS, each in its own way; with every one, the errors that may be recorded of it."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import trustme

from tests.acceptance.hostile import sending
from tests.integration.wire.receivers import HEAD, OK, Behaviour, Peer
from tests.integration.wire.records import ALERT, DATA, HALF_A_HANDSHAKE, HANDSHAKE, HandMade, Records, plain
from tests.support.tls import Authority

NAME = "127.0.0.1"
TIMED_OUT, FAILED, LOST = {"timed_out"}, {"tls_failed"}, {"connection_lost"}

WARNING = plain(ALERT, b"\x01\x5a")
MORE_OF_IT = plain(HANDSHAKE, bytes(16_384))


def at_once(start: bytes, filler: bytes = b"", *, pause: float = 0.0) -> Behaviour:
    """`start` in answer to the first bytes, then `filler` endlessly, or silence."""

    async def behave(peer: Peer) -> None:
        await peer.reader.read(4_096)
        await peer.send(start)
        while filler:
            await peer.send(filler)
            await asyncio.sleep(pause)
        await peer.gone()

    return behave


def encrypted(behave: Behaviour, context: ssl.SSLContext) -> Behaviour:
    """The same after a handshake."""

    async def behaving(peer: Peer) -> None:
        await peer.writer.start_tls(context)
        await behave(peer)

    return behaving


async def slow(peer: Peer) -> None:
    """A valid beginning, a byte at a time."""
    await peer.reader.read(4_096)
    for byte in HALF_A_HANDSHAKE:
        await peer.send(bytes([byte]))
        await asyncio.sleep(0.1)
    await peer.gone()


async def closes_somewhere(peer: Peer) -> None:
    await peer.reader.read(4_096)
    await peer.send(HALF_A_HANDSHAKE[: peer.number % len(HALF_A_HANDSHAKE)])


async def resets(peer: Peer) -> None:
    await peer.reader.read(4_096)
    peer.reset()


async def ends_without_goodbye(peer: Peer) -> None:
    await peer.request()
    await peer.send(HEAD + b"\r\na part of it")
    peer.end_without_goodbye()
    await asyncio.sleep(5)


def many_certificates(authority: Authority, directory: Path, number: int) -> ssl.SSLContext:
    """A valid certificate, followed by unrelated ones."""
    others = b"".join(trustme.CA().cert_pem.bytes() for _ in range(number))
    chain = directory / f"{number}.pem"
    chain.write_bytes(authority.certificate(NAME).read_bytes() + others)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain)
    return context


def hostile_below_http(authority: Authority, directory: Path) -> dict[str, tuple[Behaviour, set[str]]]:
    """Servers for these behaviours use plain TCP; each behaviour does its own TLS."""
    own = authority.server_context(NAME)
    records = HandMade(authority.certificate(NAME), directory)
    untrusted = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert(NAME).configure_cert(untrusted)
    silent = sending(b"")

    def empty(records: Records) -> bytes:
        return records.seal(DATA, b"", padding=8_000)

    return {
        "no handshake": (at_once(b""), TIMED_OUT | FAILED),
        "garbage for a hello": (at_once(b"\x00\xff" * 30_000), FAILED),
        "an answer without encryption": (at_once(OK), FAILED),
        "a byte now and then": (slow, TIMED_OUT | FAILED),
        "endless warnings": (at_once(b"", WARNING * 1_000), FAILED),
        "an endless handshake": (at_once(HALF_A_HANDSHAKE, MORE_OF_IT), FAILED),
        "half a handshake": (at_once(HALF_A_HANDSHAKE), TIMED_OUT | FAILED),
        "an end somewhere": (closes_somewhere, FAILED),
        "a reset": (resets, FAILED),
        "hundreds of certificates": (encrypted(silent, many_certificates(authority, directory, 300)), FAILED),
        "dozens of certificates": (encrypted(silent, many_certificates(authority, directory, 40)), TIMED_OUT | FAILED),
        "a certificate of an untrusted CA": (encrypted(silent, untrusted), FAILED),
        "no answer": (encrypted(silent, own), TIMED_OUT),
        "no goodbye": (encrypted(ends_without_goodbye, own), {"ok"}),
        "endless tickets": (records.flood(lambda made: made.ticket(1_000)), FAILED),
        "endless new keys": (records.flood(lambda made: made.change_of_keys(asks_back=False)), FAILED),
        "endless empty records": (records.flood(empty), FAILED),
    }
