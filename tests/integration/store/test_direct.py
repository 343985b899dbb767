"""The hot statements' way to PostgreSQL, when the server takes its leave."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sendoff.errors import Unavailable
from sendoff.store.engine.database import Database
from sendoff.store.engine.postgres_connections import PostgresConnection
from sendoff.store.engine.postgres_driver import Direct
from tests.support.polling import eventually
from tests.support.tcp_relay import relay

_SOCKET = ".s.PGSQL.5432"  # a server's name in the folder of its Unix socket
_FAREWELL = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"


class Relay:
    """Stands before a PostgreSQL server and can say good-bye in its name, without closing a connection."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self._clients: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        from_server, to_server = await asyncio.open_unix_connection(self._server)
        self._clients.append(writer)
        self._tasks |= {asyncio.create_task(relay(reader, to_server)), asyncio.create_task(relay(from_server, writer))}

    async def say_good_bye(self) -> None:
        """As a server does that is shut down: an error that nobody asked for, read by the driver."""
        for client in self._clients:
            client.write(b"E" + (4 + len(_FAREWELL)).to_bytes(4, "big") + _FAREWELL)
        for _ in range(10):  # it is in the socket already; the loop hands it to the driver in its next turn
            await asyncio.sleep(0)

    async def close(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def relayed(url: str, folder: Path) -> AsyncIterator[tuple[Direct, Relay]]:
    """The way to the database of `url`, through a relay."""
    [server] = re.findall(r"host=(.+)$", url)
    relay = Relay(Path(server) / _SOCKET)
    listening = await asyncio.start_unix_server(relay.relay, folder / _SOCKET)
    database = Database.open(url.replace(server, str(folder)))
    try:
        assert database.direct is not None
        yield database.direct, relay
    finally:
        await database.close()
        listening.close()
        await relay.close()


async def test_a_connection_closed_by_the_server_is_unavailable_once(postgres_url: str, tmp_path: Path) -> None:
    async with relayed(postgres_url, tmp_path) as (direct, relay):
        assert [row[0] for row in await direct.fetch("SELECT 1")] == [1]
        await relay.say_good_bye()
        with pytest.raises(Unavailable):
            await direct.fetch("SELECT 1")
        assert [row[0] for row in await direct.fetch("SELECT 1")] == [1]  # by a new connection


@pytest.mark.parametrize("ends", ["its caller leaves", "the database is closed"])
async def test_a_connection_that_is_being_made_is_closed_when_nobody_will_use_it(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    made: list[PostgresConnection] = []
    go_on = asyncio.Event()
    execute = PostgresConnection.execute

    async def execute_later(self: PostgresConnection, *arguments: Any, **options: Any) -> str:
        made.append(self)
        await go_on.wait()
        status: str = await execute(self, *arguments, **options)
        return status

    monkeypatch.setattr(PostgresConnection, "execute", execute_later)
    database = Database.open(postgres_url)
    assert database.direct is not None
    asking = asyncio.create_task(database.direct.fetch("SELECT 1"))
    await eventually(lambda: made, what=lambda: "a connection that is being made")
    if ends == "its caller leaves":
        asking.cancel()
    else:
        await database.direct.close()
        go_on.set()
    await asyncio.gather(asking, return_exceptions=True)
    assert all(connection.is_closed() for connection in made)
    await database.close()
