"""Connections to PostgreSQL: where they go, whether a pooler is in between, and when they are no longer to be used.

Both ways to the database, SQLAlchemy's and the hot statements', make their connections here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any, Literal

import asyncpg
import structlog

from sendoff.connections.vanished_hosts import descriptor_of, first_answer, give_up_unacknowledged, set_option
from sendoff.server_urls.database import driver_url, hosts_of

CONNECT_SECONDS = 5.0
"""The longest that connecting may take, all hosts of a URL together."""

COMMAND_SECONDS = 60.0
"""The longest that a command may take. A server that is cut off says nothing, and TCP believes in it for hours."""

NEXT_HOST_SECONDS = 0.5
"""How long the next host of a URL waits for the one before it to answer, and a standby until it is asked again. Longer
delays a failover from a host that has vanished; shorter opens connections that are not needed when a server is slow to
accept."""

_UNACKNOWLEDGED_SECONDS = 2
"""The kernel gives up a connection whose other side has acknowledged nothing for so long: its host has vanished, or the
link. A server that is slow acknowledges all the same. Longer delays a failover; shorter drops connections in a blip."""

_CHECK_CLIENT = "SET client_connection_check_interval = '1s'"
_CLOSE_SECONDS = 1.0
_LINGER_NOT = struct.pack("ii", 1, 0)

PreparedStatements = Literal["auto", "on", "off"]
_log = structlog.get_logger(__name__)


class PostgresConnection(asyncpg.Connection):  # type: ignore[misc]
    """asyncpg's connection. It knows its age, and is dropped with what it has not sent when a command is given up."""

    def __init__(self, protocol: Any, transport: Any, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        self.opened_at = time.monotonic()
        self._descriptor = descriptor_of(transport)
        give_up_unacknowledged(self._descriptor, _UNACKNOWLEDGED_SECONDS)

    def get_reset_query(self) -> str:
        """Nothing: single statements leave nothing behind, and the default costs a round trip after each."""
        return ""

    def _cancel_current_command(self, *waiters: asyncio.Future[None] | None) -> None:
        # asyncpg calls this for a command that timed out or was cancelled. Its own would ask the server to cancel and
        # wait for that, which a server that is cut off never hears. What the kernel still holds for such a server must
        # not arrive there later.
        set_option(self._descriptor, socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self.terminate()
        for waiter in waiters:
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    async def set_type_codec(self, typename: str, **options: Any) -> None:
        """Within a transaction: outside of one, a pooler may answer each half of the look-up from another server."""
        async with self.transaction():
            await super().set_type_codec(typename, **options)


class Connector:
    """Makes connections to the PostgreSQL of a URL. One for each Database; both of its ways share it."""

    def __init__(
        self,
        url: str,
        *,
        prepared_statements: PreparedStatements,
        longest_life: float,
        command_seconds: float | None = COMMAND_SECONDS,
    ) -> None:
        """`command_seconds`: the longest that a command may take; None for what reads large tables."""
        self._url = driver_url(url)
        self._hosts = hosts_of(self._url)
        self._longest_life = longest_life
        self._command_seconds = command_seconds
        self._names_statements = {"on": True, "off": False}.get(prepared_statements)
        self._forgotten_at = float("-inf")
        self._looking = asyncio.Lock()

    @property
    def names_statements(self) -> bool:
        """Whether the server may keep statements under names, once `look_for_pooler` has found out."""
        return bool(self._names_statements)

    async def look_for_pooler(self) -> bool:
        """Whether statements must not be named, which is found out once: a pooler answers with another server's number.

        A pooler of transactions runs each of them on any of its connections, where a named statement is unknown.
        """
        if self._names_statements is None:
            async with self._looking:  # once, however many ask
                if self._names_statements is None:
                    self._names_statements = await self._reaches_a_server()
        return not self._names_statements

    async def _reaches_a_server(self) -> bool:
        connection = await self._connect(statement_cache_size=0)
        try:
            async with connection.transaction():
                backend = await connection.fetchval("SELECT pg_backend_pid()")
            is_server: bool = backend == connection.get_server_pid()
        finally:
            await self.close(connection)
        if not is_server:
            _log.info("database_behind_a_pooler", prepared_statements="off")
        return is_server

    async def connect(self, *_: object, **options: Any) -> PostgresConnection:
        """A new connection, wherever the caller believes that it goes.

        The server gives up a statement whose connection is gone (PostgreSQL 14 and later).
        """
        if await self.look_for_pooler():
            return await self._connect(**{**options, "statement_cache_size": 0})
        connection = await self._connect(**options)
        try:
            if connection.get_server_version() >= (14,):
                with contextlib.suppress(asyncpg.PostgresError):  # not every operating system can
                    await connection.execute(_CHECK_CLIENT)
        except BaseException:  # its caller has gone, and nobody else knows of it
            connection.terminate()
            raise
        return connection

    def is_spent(self, connection: Any) -> bool:
        """Whether the connection must make room for a new one: it ended, is too old, or its server is unusable."""
        if connection.is_closed():
            return True
        opened_at: float = connection.opened_at
        return opened_at <= self._forgotten_at or time.monotonic() - opened_at > self._longest_life

    def forget(self) -> None:
        """Use no connection again that exists now: the server is read-only, and another one has become the primary."""
        self._forgotten_at = time.monotonic()
        self._hosts = hosts_of(self._url)  # the one found last may be the one that is read-only

    async def close(self, connection: Any) -> None:
        """Close a connection in good order if that takes no time, and otherwise at once."""
        try:
            await connection.close(timeout=_CLOSE_SECONDS)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()

    async def _connect(self, **options: Any) -> PostgresConnection:
        given = {
            "timeout": CONNECT_SECONDS,
            "command_timeout": self._command_seconds,
            **options,
            "connection_class": PostgresConnection,
        }
        if len(self._hosts) > 1:
            return await self._connect_to_one_of_several(given)
        return await self._open(given)

    async def _open(self, options: Mapping[str, Any]) -> PostgresConnection:
        connection: PostgresConnection = await asyncpg.connect(self._url, **options)
        return connection

    async def _connect_to_one_of_several(self, options: Mapping[str, Any]) -> PostgresConnection:
        """Of the URL's hosts, the first that will do. While one does not answer, the others are asked again and again.

        The driver asks one after the other: one that has vanished would take all the time that connecting may take.
        """
        async with asyncio.timeout(CONNECT_SECONDS):
            found, connection = await first_answer(
                self._hosts,
                lambda host: self._open({**options, "host": host[0], "port": host[1]}),
                passing=(Exception,),
                next_after=NEXT_HOST_SECONDS,
                again=True,
                drop=lambda late: late.terminate(),
            )
        self._hosts = sorted(self._hosts, key=lambda one: one != found)  # it is asked first from now on
        return connection
