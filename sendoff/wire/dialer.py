"""Opening a connection to a checked address, and to nothing else.

The address guard is enforced here, at the moment of connecting: every address that the name has is judged, one
refused address refuses the dial, and the connection goes to an address that was judged, not to a second resolution.
Proxies from the environment are never used.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence

from sendoff.policy.addresses import Address, AddressPolicy, Target, refusal
from sendoff.wire.connection import Connection
from sendoff.wire.errors import NameNotFound, Phase, RefusedAddress, TimedOut, TlsFailed
from sendoff.wire.proxy import Proxy
from sendoff.wire.resolver import Resolver
from sendoff.wire.sockets import open_first
from sendoff.wire.tls import ResumingContext

_HANDSHAKE_SECONDS = 60.0  # never reached: the exchange's own deadline is shorter
_GOODBYE_SECONDS = 1.0


class Dialer:
    """Opens connections under an address policy."""

    def __init__(
        self, policy: AddressPolicy, resolver: Resolver, ssl_context: ssl.SSLContext, proxy: Proxy | None
    ) -> None:
        self._policy = policy
        self._resolver = resolver
        self._ssl_context = ssl_context
        self._proxy = proxy

    async def dial(self, target: Target, factory: Callable[[], Connection], deadline: float) -> Connection:
        """A new connection to `target`, verified by host name if it is https; `deadline` is on the loop's clock.

        Raises WireError.
        """
        dial = _Dial()
        try:
            async with asyncio.timeout_at(deadline):
                addresses = await self._addresses(target)
                dial.phase = "connect"
                sock = await self._open(addresses, target.port)
                dial.phase = "tls"
                return await self._wrap(sock, target, factory)
        except TimeoutError:
            raise TimedOut(dial.phase) from None

    async def check(self, target: Target, deadline: float) -> Sequence[Address]:
        """What the name resolves to now, judged, without a connection. Raises WireError."""
        try:
            async with asyncio.timeout_at(deadline):
                return await self._addresses(target)
        except TimeoutError:
            raise TimedOut("resolve") from None

    async def _addresses(self, target: Target) -> Sequence[Address]:
        if target.address is not None:
            addresses: Sequence[Address] = (target.address,)
        else:
            addresses = await self._resolver.resolve(target.host)
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

    async def _wrap(self, sock: socket.socket, target: Target, factory: Callable[[], Connection]) -> Connection:
        loop = asyncio.get_running_loop()
        if target.scheme == "http":
            return (await loop.create_connection(factory, sock=sock))[1]
        try:
            _, connection = await loop.create_connection(
                factory,
                sock=sock,
                ssl=self._ssl_context,
                server_hostname=target.host,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=_GOODBYE_SECONDS,
            )
        except OSError as error:
            if isinstance(self._ssl_context, ResumingContext):
                self._ssl_context.forget(target.host)
            raise _tls_failure(error) from None
        return connection


class _Dial:
    """How far a dial has come."""

    phase: Phase = "resolve"


def _tls_failure(error: OSError) -> TlsFailed:
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsFailed(f"The receiver's certificate is not valid: {error.verify_message.rstrip('.')}.")
    if isinstance(error, ssl.SSLError):
        return TlsFailed(f"The TLS handshake failed: {error.reason or 'no reason given'}.")
    return TlsFailed("The receiver closed the connection during the TLS handshake.")
