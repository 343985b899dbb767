"""A TLS 1.3 receiver whose records are made by hand: it shakes hands properly, then sends what no library would."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tests.integration.wire.receivers import HEAD, Behaviour, Peer

ALERT, HANDSHAKE, DATA = 21, 22, 23
_RANDOM = slice(11, 43)  # where a ClientHello has it


def plain(kind: int, content: bytes) -> bytes:
    """A record as it is before there are keys."""
    return bytes([kind]) + b"\x03\x03" + len(content).to_bytes(2, "big") + content


def message(kind: int, content: bytes, size: int | None = None) -> bytes:
    """A message of a handshake, which says that it has `size` bytes."""
    return bytes([kind]) + (len(content) if size is None else size).to_bytes(3, "big") + content


_HELLO = b"\x03\x03" + b"r" * 32 + b"\x00\xc0\x2b\x00\x00\x0b\xff\x01\x00\x01\x00\x00\x0b\x00\x02\x01\x00"

HALF_A_HANDSHAKE = plain(HANDSHAKE, message(2, _HELLO)) + plain(HANDSHAKE, message(11, b"\x01\x8f\xfd", 102_400))
"""TLS 1.2 up to the certificates: OpenSSL makes quota for the 100 KB of them that it announces."""


class Records:
    """Seals records under the server's traffic secret of TLS_AES_256_GCM_SHA384."""

    def __init__(self, peer: Peer, secret: bytes) -> None:
        self.peer = peer
        self._use(secret)

    def seal(self, kind: int, content: bytes, *, padding: int = 0) -> bytes:
        """One record of `content`, which may be empty, and `padding` bytes of padding."""
        inner = content + bytes([kind]) + bytes(padding)
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        nonce = (self._iv ^ self._number).to_bytes(12, "big")
        self._number += 1
        return header + self._key.encrypt(nonce, inner, header)

    def ticket(self, size: int) -> bytes:
        """A session ticket of `size` bytes."""
        ticket = bytes(8) + b"\x01n" + size.to_bytes(2, "big") + b"t" * size + bytes(2)
        return self.seal(HANDSHAKE, b"\x04" + len(ticket).to_bytes(3, "big") + ticket)

    def change_of_keys(self, *, asks_back: bool) -> bytes:
        """Says that the next record has new keys; `asks_back` asks the other side to change its own."""
        record = self.seal(HANDSHAKE, b"\x18\x00\x00\x01" + bytes([asks_back]))
        self._use(_expand(self._secret, b"traffic upd", 48))
        return record

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._key = AESGCM(_expand(secret, b"key", 32))
        self._iv = int.from_bytes(_expand(secret, b"iv", 12), "big")
        self._number = 0


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    info = size.to_bytes(2, "big") + bytes([6 + len(label)]) + b"tls13 " + label + b"\x00"
    return HKDFExpand(SHA384(), size, info).derive(secret)


class HandMade:
    """Makes behaviours that begin with a handshake and a request; the secrets come out of a key log in `directory`."""

    def __init__(self, certificate: Path, directory: Path) -> None:
        self._log = directory / "keys"
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.num_tickets = 0  # they would take numbers of records
        self.context.keylog_filename = str(self._log)

    def after_the_request(self, behave: Callable[[Records], Awaitable[None]]) -> Behaviour:
        async def behaving(peer: Peer) -> None:
            await behave(await self._begin(peer))

        return behaving

    def flood(self, make: Callable[[Records], bytes], *, start: bytes = HEAD) -> Behaviour:
        """Begins an answer and goes on with records of `make` without end."""

        async def floods(records: Records) -> None:
            if start:
                await records.peer.send(records.seal(DATA, start))
            while True:
                await records.peer.send(make(records))
                await asyncio.sleep(0)  # the sender shares the loop

        return self.after_the_request(floods)

    async def _begin(self, peer: Peer) -> Records:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = self.context.wrap_bio(incoming, outgoing, server_side=True)
        hello = await peer.reader.read(4_096)
        incoming.write(hello)
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                server.do_handshake()
                break
            await peer.send(outgoing.read())
            incoming.write(await _some(peer))
        await _read_request(peer, server, incoming)
        return Records(peer, self._secret(hello[_RANDOM]))

    def _secret(self, client_random: bytes) -> bytes:
        begin = f"SERVER_TRAFFIC_SECRET_0 {client_random.hex()} "
        lines = self._log.read_text().splitlines()
        return bytes.fromhex(next(line.removeprefix(begin) for line in lines if line.startswith(begin)))


async def _read_request(peer: Peer, server: ssl.SSLObject, incoming: ssl.MemoryBIO) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        with contextlib.suppress(ssl.SSLWantReadError):
            request += server.read(65_536)
            continue
        incoming.write(await _some(peer))


async def _some(peer: Peer) -> bytes:
    data = await peer.reader.read(65_536)
    if not data:
        raise ConnectionError("the sender is gone")
    return data
