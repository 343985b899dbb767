"""The only way out: send a request to a checked target and get the response, within a deadline, at most once.

At most once with one exception: a request on a reused connection is sent again on a fresh one, once, when the
connection ended before a single byte came back or when the response says that the request was not processed (408, 421,
425). A receiver may close an idle connection at any time, and many announce it by a 408.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Sequence

from sendoff.policy.endpoints.addresses import Address, AddressPolicy, Target
from sendoff.wire.errors import ConnectionLost
from sendoff.wire.http.connection import HttpConnection, PoolKey
from sendoff.wire.http.memory_budget import MemoryBudget
from sendoff.wire.http.message import Response, encode_request
from sendoff.wire.http.pool import Pool
from sendoff.wire.net.dialer import Dialer
from sendoff.wire.net.proxy import Proxy
from sendoff.wire.net.resolver import Resolver, SystemResolver
from sendoff.wire.tls.client_certificate import CertifiedContexts, ClientCertificate
from sendoff.wire.tls.trust import default_ssl_context, require_verification

MOST_IDLE_CONNECTIONS = 2_000
"""Connections that are kept for later requests. Each takes a descriptor and, with TLS, 29 KB of memory; a handshake
takes 0.6 ms of CPU time. With fewer than there are hosts in turn, each request needs a handshake."""

IDLE_SECONDS = 60.0
"""How long a connection is kept unused, if the receiver does not close it before. Longer saves handshakes with hosts
that get an event a minute or less, and nears the time after which load balancers and NAT forget connections."""

_CLOSING_SECONDS = 2.0
_READ_BYTES = 65_536
_MOST_HELD_BYTES = 8 * 1024 * 1024

_NOT_PROCESSED = frozenset({408, 421, 425})
"""What a receiver answers to a request that it did not read, or that belongs on another connection (RFC 9110, 15.5.9
and 15.5.20, RFC 8470). On a fresh connection the same status is the receiver's answer."""


class Client:
    """A pooling HTTP/1.1 client that never follows redirects, never decompresses and never asks the environment.

    Belongs to the event loop it is first used on. `body_cap` is how many bytes of a response's body are kept, and
    `body_seconds` how long a body may take after its head. A body that is longer, slower, cut off or malformed costs
    the connection: the response is judged on its status, with `truncated` set. So is a long one that has not ended
    when too many such are under way. `proxy` is an egress proxy's URL. `new_ssl_context` makes another context with the
    same trust as `ssl_context`, for each client certificate.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        ssl_context: ssl.SSLContext | None = None,
        new_ssl_context: Callable[[], ssl.SSLContext] = default_ssl_context,
        resolver: Resolver | None = None,
        body_cap: int = 16_384,
        body_seconds: float = 5.0,
        proxy: str | None = None,
        max_idle: int = MOST_IDLE_CONNECTIONS,
        max_idle_per_origin: int = 32,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        context = require_verification(ssl_context) if ssl_context is not None else default_ssl_context()
        self._read_buffer = memoryview(bytearray(_READ_BYTES))
        tunnel = Proxy(proxy) if proxy else None
        certified = CertifiedContexts(new_ssl_context)
        self._dialer = Dialer(policy, resolver or SystemResolver(), context, tunnel, self._read_buffer, certified)
        self._pool = Pool(most=max_idle, most_per_origin=max_idle_per_origin, idle_seconds=idle_seconds)
        self._body_cap = body_cap
        self._body_seconds = body_seconds
        self._budget = MemoryBudget(_MOST_HELD_BYTES)
        self._open: set[HttpConnection] = set()
        self._closed = False
        self._gone: asyncio.Event | None = None

    async def send(
        self,
        target: Target,
        head: bytes,
        body: bytes,
        *,
        timeout: float,  # noqa: ASYNC109 - asyncio.timeout would cost a task switch where a timer handle does
        method: str = "POST",
        owner: str | None = None,
        certificate: ClientCertificate | None = None,
    ) -> Response:
        """Send one request and read its response within `timeout` seconds in all, dialing included.

        `head` is a block of header lines as `encode_headers` makes it. `owner` is the organization that it is sent
        for: lookups of host names are served round-robin by owner, or by domain if it is None. `certificate` is shown
        to a receiver that asks for one, and a connection is used again only under the same certificate.

        Raises WireError, whose class says what went wrong, and whose `is_local` says whether here.
        """
        if self._closed:
            raise RuntimeError("the client is closed")
        request = encode_request(method, target, head, body)
        started = asyncio.get_running_loop().time()
        deadline = started + timeout
        connection = self._pool.take(_pool_key(target, certificate), started)
        if connection is not None:
            try:
                response = await self._exchange(connection, request, method, started, deadline)
                if response.status not in _NOT_PROCESSED:
                    return response
                connection.close()
            except ConnectionLost as lost:
                if lost.answered:
                    raise
        connection = await self._dial(target, deadline, owner, certificate)
        return await self._exchange(connection, request, method, started, deadline)

    async def check(
        self,
        target: Target,
        *,
        timeout: float,  # noqa: ASYNC109 - as `send` has it
        owner: str | None = None,
    ) -> Sequence[Address]:
        """The addresses of `target`, judged as a dial would, without one. Raises WireError."""
        return await self._dialer.check(target, asyncio.get_running_loop().time() + timeout, owner=owner)

    async def aclose(self) -> None:
        """Close every connection, those with a request under way too, and wait until they are gone."""
        self._closed = True
        self._pool.close()
        for connection in tuple(self._open):
            connection.abort()
        if self._open:
            self._gone = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), _CLOSING_SECONDS)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _exchange(
        self, connection: HttpConnection, request: bytes, method: str, started: float, deadline: float
    ) -> Response:
        response = await connection.exchange(request, method=method, started=started, deadline=deadline)
        if self._closed:
            connection.abort()
        else:
            self._pool.put(connection, asyncio.get_running_loop().time())
        return response

    async def _dial(
        self, target: Target, deadline: float, owner: str | None, certificate: ClientCertificate | None
    ) -> HttpConnection:
        key = _pool_key(target, certificate)

        def new_connection() -> HttpConnection:
            return HttpConnection(key, self._body_cap, self._lost, self._read_buffer, self._budget, self._body_seconds)

        connection = await self._dialer.dial(target, new_connection, deadline, owner=owner, certificate=certificate)
        if connection.usable:
            self._open.add(connection)
        return connection

    def _lost(self, connection: HttpConnection) -> None:
        self._open.discard(connection)
        self._pool.discard(connection)
        if self._gone is not None and not self._open:
            self._gone.set()


def _pool_key(target: Target, certificate: ClientCertificate | None) -> PoolKey:
    """A receiver takes whatever comes on a connection for the holder of the certificate that it was opened with."""
    return target.origin if certificate is None else (target.origin, certificate)
