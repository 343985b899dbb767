"""Idle connections, found by scheme, host name, port and client certificate in constant time.

By host name and never by address: two names that share an address must not share a connection, since its
certificate was checked for one of them only.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from sendoff.wire.http.connection import HttpConnection, PoolKey


class Pool:
    """Keeps what is idle, newest first in use, oldest first out; bounded for each key and in total."""

    def __init__(self, *, most: int, most_per_origin: int, idle_seconds: float) -> None:
        self._most = most
        self._most_per_origin = most_per_origin
        self._idle_seconds = idle_seconds
        # Oldest first. A plain dict would have to step over its deleted entries to find the first one.
        self._oldest_first: OrderedDict[HttpConnection, None] = OrderedDict()
        self._by_key: dict[PoolKey, OrderedDict[HttpConnection, None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._oldest_first)

    def take(self, key: PoolKey, now: float) -> HttpConnection | None:
        """The connection with this key that was used last, if one is still good; it leaves the pool."""
        while (idle := self._by_key.get(key)) is not None:
            connection = next(reversed(idle))
            self._remove(connection)
            if connection.usable and connection.expires_at > now:
                return connection
            connection.close()
        return None

    def put(self, connection: HttpConnection, now: float) -> None:
        """Keep a connection for later, or close it when it cannot be reused."""
        if not connection.usable:
            return
        if connection.retires_at <= now:
            connection.close()
            return
        connection.expires_at = min(now + self._idle_seconds, connection.retires_at)
        idle = self._by_key.setdefault(connection.pool_key, OrderedDict())
        idle[connection] = None
        self._oldest_first[connection] = None
        if len(idle) > self._most_per_origin:
            self._close(next(iter(idle)))
        elif len(self._oldest_first) > self._most:
            self._close(next(iter(self._oldest_first)))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._idle_seconds, self._expire)

    def discard(self, connection: HttpConnection) -> None:
        """Forget a connection that is gone."""
        if connection in self._oldest_first:
            self._remove(connection)

    def close(self) -> None:
        """Close everything that is idle."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._oldest_first:
            self._close(next(iter(self._oldest_first)))

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time()
        while self._oldest_first:
            oldest = next(iter(self._oldest_first))
            if oldest.expires_at > now:
                self._timer = loop.call_at(oldest.expires_at, self._expire)
                return
            self._close(oldest)

    def _close(self, connection: HttpConnection) -> None:
        self._remove(connection)
        connection.close()

    def _remove(self, connection: HttpConnection) -> None:
        del self._oldest_first[connection]
        idle = self._by_key[connection.pool_key]
        del idle[connection]
        if not idle:
            del self._by_key[connection.pool_key]
