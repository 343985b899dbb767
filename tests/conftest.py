"""What every test can ask for: real servers, databases that are fresh and migrated, a receiver, a live event loop."""

from __future__ import annotations

import inspect
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgres import PostgresServer
from tests.support.receiver import Receiver
from tests.support.shell import Shell
from tests.support.tls import Authority
from tests.support.valkey import ValkeyServer
from tests.support.watchdog import watched

# No test needs a public certificate authority, and loading all of them takes 30 ms for each app and server process.
# The file holds one that signs nothing: its key was not kept.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "support" / "authority.pem")

# How long an example takes is the machine's affair, not the code's.
settings.register_profile("sendoff", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sendoff")

_LONG = {"acceptance", "browser", "cli", "docs", "simulation"}
"""The folders of tests that take longest, which begin first; within them and among the others the order is random."""

_TEMPLATE = "sendoff_template"
_numbers = count(1)
_standstills: list[str] = []


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # What is left for the end is short then, and no process of the run waits long for the last test of another.
    items.sort(key=lambda item: _LONG.isdisjoint(item.path.parts))
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = watched(item.obj, _reporter(item.nodeid))


def _reporter(name: str) -> Callable[[float, str], None]:
    return lambda seconds, culprit: _standstills.append(f"{seconds:.1f} s in {name}\n{culprit}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _standstills:
        terminalreporter.section("event loop stood still")
        for standstill in _standstills:
            terminalreporter.line(standstill)


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """Files that others can read, after commands that ran in this process and made theirs private."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def servers_directory() -> Iterator[Path]:
    """A place with a short name (a socket's path has 107 characters at most) that other users may enter."""
    directory = Path(tempfile.mkdtemp(prefix="sendoff-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def shell() -> Iterator[Shell]:
    """Where commands are run, and servers started, without importing everything again."""
    running = Shell()
    yield running
    running.close()


@pytest.fixture(scope="session")
def valkey_server(servers_directory: Path) -> Iterator[ValkeyServer]:
    """One Valkey for the whole run."""
    server = ValkeyServer(servers_directory)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def valkey_url(valkey_server: ValkeyServer) -> str:
    """An empty Valkey."""
    valkey_server.flush()
    return valkey_server.url


@pytest.fixture(scope="session")
def postgres_server(servers_directory: Path) -> Iterator[PostgresServer]:
    """One PostgreSQL for the whole run, without databases of ours."""
    server = PostgresServer(servers_directory / "postgres")
    server.create()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database without a schema."""
    name = f"empty_{next(_numbers)}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def _migrated_postgres(postgres_server: PostgresServer) -> PostgresServer:
    _migrate(postgres_server.create_database(_TEMPLATE))
    return postgres_server


@pytest.fixture
def postgres_url(_migrated_postgres: PostgresServer) -> Iterator[str]:
    """A fresh PostgreSQL database with the schema."""
    name = f"test_{next(_numbers)}"
    yield _migrated_postgres.create_database(name, template=_TEMPLATE)
    _migrated_postgres.drop_database(name)


@pytest.fixture(scope="session")
def _migrated_sqlite(servers_directory: Path) -> Path:
    path = servers_directory / "template.db"
    _migrate(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(_migrated_sqlite: Path, tmp_path: Path) -> str:
    """A fresh SQLite database with the schema."""
    path = tmp_path / "sendoff.db"
    shutil.copy(_migrated_sqlite, path)
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The test runs twice, on either database, fresh and with the schema."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on plain HTTP."""
    async with Receiver.start() as running:
        yield running


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the receivers' certificates; give its `ca_file` to those who shall trust them."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def tls_receiver(authority: Authority) -> AsyncIterator[Receiver]:
    """A receiver on HTTPS, with a certificate for `localhost` and 127.0.0.1."""
    async with Receiver.start(tls=authority.server_context("localhost", "127.0.0.1")) as running:
        yield running


def _migrate(url: str) -> None:
    from sendoff.store.engine.database import migrate  # only tests with a database need the store

    # Migrations run an event loop of their own, which must not meet a test's.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(migrate, url).result()
