"""How many connections may be open, and which are closed when there are too many.

A connection either waits for its client (for the rest of a request, or for the next one) or is being served. At a limit
the connection that has waited longest is closed for the new one, so clients that hold connections without finishing a
request never keep others out. Only where every connection is being served is a new one refused.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from itertools import chain
from typing import Protocol

from .client_address import client_network, is_within

UNREAD_RESPONSE_BYTES = 64 * 1024 * 1024
"""Bytes of responses that all clients together may leave unread in this process's memory. Beyond it the responses that
have waited longest are cut off. Doubling it doubles the memory that clients who never read can take."""

MOST_REFUSED = 128
"""Refused connections that may linger for their 503 to be read, each at a descriptor; more are closed without one."""


class BoundedConnection(Protocol):
    """A connection as its limiter sees it."""

    def evict(self) -> None:
        """Close it at once."""
        ...


class ConnectionLimiter:
    """The open connections of a process, in all and by client address."""

    def __init__(
        self,
        *,
        total: int = 10_000,
        per_address: int = 1_000,
        trusted_proxies: Sequence[IPv4Network | IPv6Network] = (),
        unread_bytes: int = UNREAD_RESPONSE_BYTES,
    ) -> None:
        """Connections of `trusted_proxies` carry many clients and count towards `total` alone."""
        self._total = total
        self._per_address = per_address
        self._trusted_proxies = trusted_proxies
        self._unread_limit = unread_bytes
        self._address_of: dict[BoundedConnection, str] = {}
        self._counts: Counter[str] = Counter()
        # Ordered by when they began to wait. Incomplete requests are closed before idle connections.
        self._unfinished: dict[str, dict[BoundedConnection, None]] = defaultdict(dict)
        self._idle: dict[str, dict[BoundedConnection, None]] = defaultdict(dict)
        self._all_unfinished: dict[BoundedConnection, None] = {}
        self._all_idle: dict[BoundedConnection, None] = {}
        self._unread: dict[BoundedConnection, int] = {}
        self._unread_bytes = 0
        self._refused: set[BoundedConnection] = set()

    def admit(self, connection: BoundedConnection, address: str) -> bool:
        """Count a new connection, and close another one for it at a limit; False if none can be closed."""
        network = "proxy" if is_within(address, self._trusted_proxies) else client_network(address)
        per_address = self._total if network == "proxy" else self._per_address
        if self._counts[network] >= per_address and not self._evict(self._unfinished[network], self._idle[network]):
            return False
        if len(self._address_of) >= self._total and not self._evict(self._all_unfinished, self._all_idle):
            return False
        self._address_of[connection] = network
        self._counts[network] += 1
        self.await_request(connection)
        return True

    def refuse(self, connection: BoundedConnection) -> bool:
        """Whether a connection that was not admitted may linger for its answer."""
        if len(self._refused) >= MOST_REFUSED:
            return False
        self._refused.add(connection)
        return True

    def remove(self, connection: BoundedConnection) -> None:
        """Forget a connection that is closed."""
        self._refused.discard(connection)
        self.response_read(connection)
        network = self._address_of.get(connection)
        if network is None:
            return
        self.serve(connection)
        del self._address_of[connection]
        self._counts[network] -= 1
        if not self._counts[network]:
            for by_address in (self._counts, self._unfinished, self._idle):
                by_address.pop(network, None)

    def await_request(self, connection: BoundedConnection) -> None:
        """It waits for the rest of a request, as the one that has waited least."""
        self.serve(connection)
        network = self._address_of.get(connection)
        if network is not None:
            self._unfinished[network][connection] = self._all_unfinished[connection] = None

    def await_next_request(self, connection: BoundedConnection) -> None:
        """It is idle."""
        self.serve(connection)
        network = self._address_of.get(connection)
        if network is not None:
            self._idle[network][connection] = self._all_idle[connection] = None

    def serve(self, connection: BoundedConnection) -> None:
        """Its request is complete: it keeps its place until it is answered."""
        network = self._address_of.get(connection)
        if network is None:
            return
        if connection in self._all_unfinished:
            del self._all_unfinished[connection], self._unfinished[network][connection]
        elif connection in self._all_idle:
            del self._all_idle[connection], self._idle[network][connection]

    def response_waits(self, connection: BoundedConnection, size: int) -> None:
        """`size` bytes of a response wait for the client to read; over the limit the oldest of such are cut off."""
        self.response_read(connection)
        self._unread[connection] = size
        self._unread_bytes += size
        while self._unread_bytes > self._unread_limit:
            self._evict(self._unread)

    def response_read(self, connection: BoundedConnection) -> None:
        """The client reads on."""
        self._unread_bytes -= self._unread.pop(connection, 0)

    def _evict(self, *waiting: Mapping[BoundedConnection, object]) -> bool:
        """Close the first of the first that are not empty; False if all are."""
        for connection in chain.from_iterable(waiting):
            self.remove(connection)  # before the transport reports its end, so that the next one finds another
            connection.evict()
            return True
        return False
