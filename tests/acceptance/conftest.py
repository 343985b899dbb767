from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from sendoff.store.engine.database import migrate
from tests.support.databases import LiveDatabase, PostgresDatabase, SqliteFile
from tests.support.installation import QUICK, Installation, open_installation
from tests.support.postgres import PostgresServer
from tests.support.shell import Shell

Install = Callable[..., Installation]

_numbers = count(1)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A place with a short name: a socket's path has 107 characters at most."""
    with tempfile.TemporaryDirectory(prefix="sendoff-") as name:
        yield Path(name)


@pytest.fixture
def sqlite(sqlite_url: str) -> SqliteFile:
    return SqliteFile(Path(sqlite_url.removeprefix("sqlite+aiosqlite:///")))


@pytest.fixture
def postgres(postgres_server: PostgresServer, postgres_url: str) -> PostgresDatabase:
    """A database of the server that all tests share; it must go on running."""
    return PostgresDatabase(postgres_server, postgres_url)


_chaos = pytest.mark.chaos
mostly_sqlite = pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=_chaos)], indirect=True)
mostly_postgres = pytest.mark.parametrize("database", [pytest.param("sqlite", marks=_chaos), "postgres"], indirect=True)
"""The database makes little difference; the long form tries both."""


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> LiveDatabase:
    """The test runs twice, on either database."""
    found: LiveDatabase = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def _crashing_server(servers_directory: Path) -> Iterator[PostgresServer]:
    # What it has committed it must have written, for it is killed: only the disk itself need not have it.
    server = PostgresServer(servers_directory / "crashing", settings={"fsync": "off", "max_connections": "200"})
    server.create()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def crashing_postgres(_crashing_server: PostgresServer) -> PostgresDatabase:
    """A database of a server that may be stopped, as long as it is started again."""
    url = _crashing_server.create_database(f"crashing_{next(_numbers)}")
    migrate(url)
    return PostgresDatabase(_crashing_server, url)


@pytest.fixture
def install(directory: Path, shell: Shell) -> Iterator[Install]:
    """Opens installations, which end with the test."""
    with ExitStack() as opened:

        def make(database: LiveDatabase, settings: Mapping[str, str] = QUICK) -> Installation:
            return opened.enter_context(open_installation(directory, database, shell, settings))

        yield make
