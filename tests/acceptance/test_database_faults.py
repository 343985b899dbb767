"""The database restarted, away at the start, full: no 2xx without a commit, and all processes recover."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import Install
from tests.support.databases import PostgresDatabase, SqliteFile
from tests.support.exchange import Reply
from tests.support.installation import PATIENT, STEADY
from tests.support.polling import eventually_blocking
from tests.support.publisher import Published

UNDER_WAY = 60
LEASE_SECONDS = float(STEADY["LEASE_SECONDS"])


def wait_for_refusals(published: Published, *, within: float = 20) -> None:
    """Some more answers that say 503 and when to come back."""
    wanted = len(published.refused) + 4  # one for each thread that publishes
    eventually_blocking(lambda: len(published.refused) >= wanted, within=within, what=lambda: str(published.refused))
    assert {status for status, _ in published.refused} == {503}
    assert all(retry_after is not None and int(retry_after) > 0 for _, retry_after in published.refused)


@pytest.mark.parametrize("ending", ["stop", pytest.param("kill", marks=pytest.mark.chaos)])
def test_a_restart_of_postgresql_is_survived_by_everybody(
    crashing_postgres: PostgresDatabase, install: Install, ending: str
) -> None:
    """Setup: the API, a worker, a receiver that answers on demand, 60 deliveries under way, 50
    events a second.

    Timeline: PostgreSQL is stopped; the receiver answers all 60; their leases end; PostgreSQL is started.
    What this proves: the API says 503 with Retry-After meanwhile and recovers by itself; so does the worker, which
    records what it has to record and sends none of it again.
    """
    installation = install(crashing_postgres, {**STEADY, "ENDPOINT_MAX_IN_FLIGHT": "100"})
    tenant = installation.add_tenant("/hook")
    installation.start()
    installation.warm_up(tenant)
    before = installation.receiver.arrived("/hook")
    installation.receiver.program("/hook", Reply(held=True))
    tenant.publish(UNDER_WAY)
    eventually_blocking(lambda: installation.receiver.arrived("/hook") == before + UNDER_WAY, what="all requests")
    installation.receiver.program("/hook", 200)
    with tenant.publishing(rate=50):
        getattr(crashing_postgres.server, ending)()
        stopped_at = time.monotonic()
        try:
            installation.receiver.release()
            assert installation.receiver.answered("/hook") == before + UNDER_WAY
            wait_for_refusals(tenant.published)
            eventually_blocking(lambda: time.monotonic() > stopped_at + LEASE_SECONDS + 1, what="the leases' end")
        finally:
            crashing_postgres.server.start()
        tenant.accept(50)
    assert installation.check().duplicates == 0
    assert installation.api.is_running
    assert installation.workers[0].is_running


@pytest.mark.chaos
def test_a_connection_to_an_unresponsive_postgresql_times_out(
    crashing_postgres: PostgresDatabase, install: Install
) -> None:
    """Setup: the API, a worker, 50 events a second.

    Timeline: PostgreSQL is frozen with all its sessions, until requests are answered all the same; then it goes on.
    What this proves: no process waits forever for a database that vanished silently.
    """
    installation = install(crashing_postgres, STEADY)
    tenant = installation.add_tenant("/hook")
    installation.start()
    with tenant.publishing(rate=50):
        tenant.accept(50)
        with installation.still():
            crashing_postgres.server.freeze()
        try:
            wait_for_refusals(tenant.published, within=30)  # of 60 that a command may take
        finally:
            crashing_postgres.server.thaw()
        tenant.accept(50, within=60)
    installation.check(within=60)


def test_a_worker_that_is_started_while_the_database_is_away_waits_for_it(
    crashing_postgres: PostgresDatabase, install: Install
) -> None:
    """Setup: 50 events wait in PostgreSQL.

    Timeline: PostgreSQL is stopped; a worker is started; PostgreSQL is started.
    What this proves: the worker neither ends nor needs to be started again.
    """
    installation = install(crashing_postgres, PATIENT)
    tenant = installation.add_tenant("/hook")
    tenant.publish(50)
    worker = installation.new_worker()
    crashing_postgres.server.stop()
    try:
        worker.launch()
        eventually_blocking(lambda: "waiting_for_database" in worker.log(), within=20, what=worker.log)
    finally:
        crashing_postgres.server.start()
    worker.wait_until_ready()
    installation.check()


def test_a_full_disk_stops_accepting_and_nothing_else(sqlite: SqliteFile, directory: Path, install: Install) -> None:
    """Setup: SQLite on a disk of 16 MB, a worker, 100 events a second.

    Timeline: the disk is filled; events are refused; room is made.
    What this proves: nothing is accepted that cannot be kept, the answer is 503 with Retry-After, and both processes
    go on by themselves; what was sent and could not be recorded is not sent again.
    """
    with small_disk(directory / "disk") as disk:
        (disk / "sendoff.db").write_bytes(sqlite.path.read_bytes())
        installation = install(SqliteFile(disk / "sendoff.db"), STEADY)
        tenant = installation.add_tenant("/hook")
        installation.start()
        with tenant.publishing():
            tenant.accept(50)
            fill(disk / "filler")
            wait_for_refusals(tenant.published)
            url = f"http://127.0.0.1:{installation.port}/ready"
            eventually_blocking(
                lambda: httpx.get(url, trust_env=False).status_code == 503, what="an API that says it is not ready"
            )
            assert httpx.get(url, trust_env=False).json()["detail"]["failing"] == ["writable"]
            assert "request_refused" in installation.api.log()
            (disk / "filler").unlink()
            tenant.accept(50)
        assert installation.check().duplicates == 0
        assert installation.api.is_running
        assert installation.workers[0].is_running
        installation.close()


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A file system of its own, as only root can make one."""
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", place], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            try:
                while True:
                    file.write(os.urandom(size))
            except OSError:
                continue
