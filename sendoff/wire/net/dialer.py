"""Opening a connection to a checked address, and to nothing else.

The address guard is enforced here, at the moment of connecting: every address that the name has is checked, one
refused address refuses the dial, and the connection goes to an address that was judged, not to a second resolution.
Proxies from the environment are never used.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Literal

from sendoff.policy.endpoints.addresses import Address, AddressPolicy, Target, refusal
from sendoff.wire.errors import LocalFailure, NameNotFound, Phase, RefusedAddress, TimedOut, WireError
from sendoff.wire.http.connection import HttpConnection
from sendoff.wire.http.memory_budget import MemoryBudget
from sendoff.wire.net.proxy import Proxy
from sendoff.wire.net.resolver import Resolver
from sendoff.wire.net.sockets import open_first
from sendoff.wire.tls.byte_budget import FREE_HANDSHAKE_BYTES, MOST_HELD_HANDSHAKE_BYTES, TlsByteBudget
from sendoff.wire.tls.client_certificate import CertifiedContexts, ClientCertificate
from sendoff.wire.tls.handshake_limiter import HandshakeLimiter, HandshakePermit
from sendoff.wire.tls.transport import RECORD_BYTES, TlsTransport


class Dialer:
    """Opens connections under an address policy."""

    def __init__(
        self,
        policy: AddressPolicy,
        resolver: Resolver,
        ssl_context: ssl.SSLContext,
        proxy: Proxy | None,
        buffer: memoryview,
        certified: CertifiedContexts,
    ) -> None:
        """`buffer` is what connections read into; see HttpConnection. `certified` is for dials with a certificate."""
        self._policy = policy
        self._resolver = resolver
        self._ssl_context = ssl_context
        self._certified = certified
        self._proxy = proxy
        self._buffers = buffer, memoryview(bytearray(RECORD_BYTES))
        self._turns = HandshakeLimiter()
        self._budget = MemoryBudget(MOST_HELD_HANDSHAKE_BYTES, free=FREE_HANDSHAKE_BYTES)

    async def dial(
        self,
        target: Target,
        factory: Callable[[], HttpConnection],
        deadline: float,
        *,
        owner: str | None = None,
        certificate: ClientCertificate | None = None,
    ) -> HttpConnection:
        """A new connection to `target`, verified by host name if it is https; `deadline` is on the loop's clock.

        `owner` is the organization whose turn a lookup takes, `certificate` is shown to a receiver that asks for one.
        Raises WireError.
        """
        dial = _Dial()
        try:
            async with asyncio.timeout_at(deadline):
                addresses = await self._addresses(target, owner)
                dial.phase = "connect"
                sock = await self._open(addresses, target.port)
                if target.scheme == "http":
                    return (await asyncio.get_running_loop().create_connection(factory, sock=sock))[1]
                context = await self._context(sock, certificate)
                dial.phase = "turn"
                turn = await self._turn(sock, target)
                dial.phase = "tls"
                return await self._encrypt(sock, target, factory, turn, context)
        except TimeoutError:
            if dial.phase == "resolve":
                raise self._resolved_too_late(target) from None
            raise dial.too_late() from None

    async def check(self, target: Target, deadline: float, *, owner: str | None = None) -> Sequence[Address]:
        """What the name resolves to now, judged, without a connection. Raises WireError."""
        try:
            async with asyncio.timeout_at(deadline):
                return await self._addresses(target, owner)
        except TimeoutError:
            raise self._resolved_too_late(target) from None

    def _resolved_too_late(self, target: Target) -> WireError:
        if self._resolver.is_queued(target.host):
            return LocalFailure("Too many other host names were being looked up; nothing was sent. It is tried again.")
        return TimedOut("resolve")

    async def _addresses(self, target: Target, owner: str | None) -> Sequence[Address]:
        if target.address is not None:
            addresses: Sequence[Address] = (target.address,)
        else:
            addresses = await self._resolver.resolve(target.host, owner=owner)
        if not addresses:
            raise NameNotFound("The host name has no address.")
        for address in addresses:
            reason = refusal(address, self._policy)
            if reason is not None:
                raise RefusedAddress(
                    f"{target.host} has an address that is not public ({reason}); nothing was sent.", reason=reason
                )
        return addresses

    async def _open(self, addresses: Sequence[Address], port: int) -> socket.socket:
        if self._proxy is not None:
            return await self._proxy.open(addresses[0], port)
        return await open_first(addresses, port)

    async def _context(self, sock: socket.socket, certificate: ClientCertificate | None) -> ssl.SSLContext:
        if certificate is None:
            return self._ssl_context
        try:
            return await self._certified.present(certificate)
        except BaseException:
            sock.close()
            raise

    async def _turn(self, sock: socket.socket, target: Target) -> HandshakePermit:
        try:
            return await self._turns.take(target.origin)
        except BaseException:
            sock.close()
            raise

    async def _encrypt(
        self,
        sock: socket.socket,
        target: Target,
        factory: Callable[[], HttpConnection],
        turn: HandshakePermit,
        context: ssl.SSLContext,
    ) -> HttpConnection:
        try:
            tls = TlsTransport(factory, context, target.host, self._buffers, TlsByteBudget(self._budget))
            turn.evict = tls.evict
            await asyncio.get_running_loop().create_connection(lambda: tls, sock=sock)
            return await tls.handshake()
        finally:
            turn.end()


class _Dial:
    """The phase that a dial is in."""

    phase: Phase | Literal["turn"] = "resolve"

    def too_late(self) -> WireError:
        if self.phase == "turn":
            return LocalFailure(
                "Too many other receivers were slow in the TLS handshake; nothing was sent. It is tried again."
            )
        return TimedOut(self.phase)
