"""A storm of faults, at random. Repeat one with CHAOS_SEED; CHAOS_EVENTS says how many events it lasts."""

from __future__ import annotations

import os
import random
import secrets
import signal
import time
from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Install
from tests.support.databases import LiveDatabase, PostgresDatabase
from tests.support.exchange import Reply
from tests.support.installation import STEADY, Installation
from tests.support.latency import note
from tests.support.servers import Server

EVENTS = int(os.environ.get("CHAOS_EVENTS", "20000"))
WORKERS = 3
RATE = 150


class Storm:
    """What can be done to an installation, one at a time, each undone before the next."""

    def __init__(self, installation: Installation, random_source: random.Random) -> None:
        self._installation = installation
        self._random = random_source
        self.faults: list[str] = []
        self._all: list[Callable[[], None]] = [
            self.kill_a_worker,
            self.kill_all_workers,
            self.stop_a_worker,
            self.freeze_a_worker,
            self.kill_the_api,
            self.kill_valkey,
            self.freeze_valkey,
            self.flush_valkey,
            self.lock_the_database,
            self.answer_badly,
        ]
        if isinstance(installation.database, PostgresDatabase):
            self._all.append(self.restart_the_database)

    def strike(self) -> None:
        """Do one of them."""
        fault = self._random.choice(self._all)
        self.faults.append(fault.__name__)
        fault()

    def kill_a_worker(self) -> None:
        victim = self._a_worker()
        self._installation.kill(victim)
        victim.start()

    def kill_all_workers(self) -> None:
        self._installation.kill(*self._installation.workers)
        self._wait(2)
        for worker in self._installation.workers:
            worker.launch()
        for worker in self._installation.workers:
            worker.wait_until_ready()

    def stop_a_worker(self) -> None:
        victim = self._a_worker()
        with self._installation.still():  # attempts that outlast the grace period are repeated by another worker
            victim.signal(signal.SIGTERM)
        assert victim.stop() == 0, victim.log()
        victim.start()

    def freeze_a_worker(self) -> None:
        victim = self._a_worker()
        with self._installation.still():
            pass  # it may hold locks that the others wait for
        victim.freeze()
        self._wait(8)
        victim.thaw()

    def kill_the_api(self) -> None:
        self._installation.api.kill()
        self._installation.api.start()

    def kill_valkey(self) -> None:
        self._installation.valkey.kill()
        self._wait(3)
        self._installation.valkey.start()

    def freeze_valkey(self) -> None:
        self._installation.valkey.freeze()
        self._wait(4)
        self._installation.valkey.thaw()

    def flush_valkey(self) -> None:
        self._installation.valkey.flush()

    def lock_the_database(self) -> None:
        with self._installation.database.locked():
            with self._installation.still():
                pass  # what is in flight may not be recorded before its lease ends
            self._wait(8)

    def restart_the_database(self) -> None:
        database = self._installation.database
        assert isinstance(database, PostgresDatabase)
        with self._installation.still():
            database.server.kill()
        self._wait(3)
        database.server.start()

    def answer_badly(self) -> None:
        receiver = self._installation.receiver
        receiver.program("/one", Reply(status=500), Reply(close=True), Reply(reset=True), Reply(delay=1), 200)
        receiver.program("/two", *[Reply(status=503)] * 10, 200)

    def _a_worker(self) -> Server:
        return self._random.choice(self._installation.workers)

    def _wait(self, at_most: float) -> None:
        time.sleep(self._random.uniform(0.1, at_most))


@pytest.mark.chaos
@pytest.mark.parametrize("which", ["sqlite", "crashing_postgres"])
def test_a_storm_of_faults_loses_nothing(which: str, install: Install, request: pytest.FixtureRequest) -> None:
    """Setup: the API, three workers, three endpoints of two tenants, 150 events a second.

    Timeline: fault after fault, chosen by random_source, until CHAOS_EVENTS events are accepted.
    What this proves: every one of them is delivered or a dead letter, the database adds up, and no more came twice
    than was in flight when something was done to a worker or to the database.
    """
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbits(32))
    database: LiveDatabase = request.getfixturevalue(which)
    installation = install(database, STEADY)
    storm = Storm(installation, random.Random(seed))  # noqa: S311 - random_source, not secrets
    busy, quiet = installation.add_tenant("/one", "/two"), installation.add_tenant("/three")
    installation.start(workers=WORKERS)
    print(f"CHAOS_SEED={seed} on {which}")  # noqa: T201 - to be repeated with
    with busy.publishing(rate=RATE), quiet.publishing(rate=RATE / 10):
        while len(busy.published.accepted) < EVENTS:
            busy.accept(RATE, within=60)
            storm.strike()
    report = installation.check(within=180)
    note("storm", f"{which}, seed {seed}: {len(storm.faults)} faults, {report}, {installation.may_come_twice=}")
