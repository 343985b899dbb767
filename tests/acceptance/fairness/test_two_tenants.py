"""Whatever one customer does, another one's requests and deliveries stay about as fast as they are alone.

Each test measures the other customer twice, alone and under attack, and prints both. The bounds are wide enough for a
busy machine: what they catch is waiting in the attacker's line, not a few milliseconds. The long forms run on both
databases and add a line each to `.chaos/fairness.txt`, which marks what a quiet machine with two cores keeps to:
`pytest -m chaos tests/acceptance/fairness/test_two_tenants.py`.
"""

from __future__ import annotations

import math
import select
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from sendoff.processes.memory import RETURN_SECONDS
from sendoff.processes.process import raise_descriptor_limit
from sendoff.store.engine.database import migrate
from tests.acceptance.fairness.attacks import ATTACKS, MANY_ENDPOINTS, MORE_ATTACKS, Attack
from tests.acceptance.fairness.attacks_on_input import INPUT_ATTACKS, MANY_ENDPOINTS_ON_INPUT
from tests.acceptance.fairness.attacks_on_surfaces import (
    MANY_ENDPOINTS_ON_SURFACES,
    SURFACE_ATTACKS,
    listening_again_and_again,
    small_uploads,
)
from tests.acceptance.fairness.connections import WAYS, clients
from tests.acceptance.fairness.parties import KEYS, Measured, Party, attacking, measure, open_party
from tests.support.databases import LiveDatabase, PostgresDatabase, SqliteFile
from tests.support.installation import STEADY, Installation, open_installation
from tests.support.latency import note
from tests.support.polling import eventually_blocking
from tests.support.postgres import PostgresServer
from tests.support.shell import Shell

SLOWER_AT_MOST = 10
FREE_SECONDS = {"list": 1.5, "publish": 2.5, "upload": 4.0, "delivery": 4.0, "processing": 8.0}
"""What a request may take under attack however fast it is alone: a shared machine with two cores keeps to these."""

QUIET_SECONDS = {"list": 0.25, "publish": 0.5, "upload": 3.0}
"""What a request may take under attack on a quiet machine with two cores; more is marked in the findings."""

MOST_MORE_DESCRIPTORS = 70
"""The API and the worker keep idle connections of clients and to receivers for a minute or more: a few dozen."""
MOST_MORE_BYTES = 200_000_000


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.chaos)])
def installation(request: pytest.FixtureRequest, shell: Shell) -> Iterator[Installation]:
    """One installation for all attacks: what an attack leaves behind, the next victim would notice."""
    with tempfile.TemporaryDirectory(prefix="sendoff-") as name:
        directory = Path(name)
        with open_installation(directory, _new_database(request, directory), shell, STEADY) as opened:
            opened.start()
            yield opened


def _new_database(request: pytest.FixtureRequest, directory: Path) -> LiveDatabase:
    if request.param == "sqlite":
        path = directory / "sendoff.db"
        shutil.copy(request.getfixturevalue("_migrated_sqlite"), path)
        return SqliteFile(path)
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.create_database("fairness")
    migrate(url)
    return PostgresDatabase(server, url)


def descriptors(pids: list[int]) -> int:
    return sum(psutil.Process(pid).num_fds() for pid in pids)


def memory(pids: list[int]) -> int:
    return sum(int(psutil.Process(pid).memory_info().rss) for pid in pids)


SHORT_SECONDS, LONG_SECONDS = 1.0, 12.0
ENDPOINTS = MANY_ENDPOINTS | MANY_ENDPOINTS_ON_SURFACES | MANY_ENDPOINTS_ON_INPUT
SHORT = [
    pytest.param(attack, SHORT_SECONDS, id=attack.__name__)
    for attack in (*ATTACKS, listening_again_and_again, small_uploads)
]
LONG = [
    pytest.param(attack, LONG_SECONDS, id=f"{attack.__name__}-long", marks=pytest.mark.chaos)
    for attack in (*ATTACKS, *MORE_ATTACKS, *SURFACE_ATTACKS, *INPUT_ATTACKS)
]


@pytest.mark.parametrize(("attack", "seconds"), [*SHORT, *LONG])
def test_one_customer_does_not_slow_down_another(
    attack: Attack, seconds: float, installation: Installation, tmp_path: Path
) -> None:
    victim, attacker = open_party(installation), open_party(installation, endpoints=ENDPOINTS.get(attack, 1))
    pids = [installation.api.pid, installation.workers[0].pid]
    alone = measure(victim, rounds=6, seconds=0)
    before = descriptors(pids), memory(pids)
    with attacking(attack(attacker, tmp_path)):
        attacked = measure(victim, rounds=6, seconds=seconds)
    finding = f"p95 alone: {alone}; attacked: {attacked}; the attacker got {dict(attacker.statuses)}"
    sys.stdout.write(f"{attack.__name__}: {finding}\n")
    if seconds == LONG_SECONDS:
        note("fairness", _row(installation, attack, alone, attacked))
    for kind, free in FREE_SECONDS.items():
        assert attacked.p95(kind) <= max(SLOWER_AT_MOST * alone.p95(kind), free), f"{kind}: {finding}"
    assert installation.api.is_running
    assert installation.workers[0].is_running
    installation.receiver.forget()
    eventually_blocking(
        lambda: descriptors(pids) <= before[0] + MOST_MORE_DESCRIPTORS,
        within=30,
        every=0.1,
        what=lambda: f"{before[0]} open descriptors or a few more, got {descriptors(pids)}",
    )
    eventually_blocking(
        lambda: memory(pids) <= before[1] + MOST_MORE_BYTES,
        within=2 * RETURN_SECONDS,
        every=0.5,
        what=lambda: f"{before[1]} bytes of memory or some more, got {memory(pids)}",
    )


def _row(installation: Installation, attack: Attack, alone: Measured, attacked: Measured) -> str:
    """Milliseconds alone and under attack by kind of request; `!` marks those that exceed QUIET_SECONDS."""
    cells = [
        f"{kind} {alone.p95(kind) * 1000:4.0f} > {attacked.p95(kind) * 1000:4.0f}"
        f"{'!' if attacked.p95(kind) > QUIET_SECONDS.get(kind, math.inf) else ' '}"
        for kind in attacked.seconds
    ]
    return f"{urlsplit(installation.database.url).scheme:18} {attack.__name__:36} {'  '.join(cells)}"


STRANGERS, ATTEMPTS = 600, 5


def test_a_customer_does_not_wait_for_all_strangers_who_connected_before(installation: Installation) -> None:
    """One attempt in which it holds is enough: a machine that pauses the test may let the API answer all of them."""
    raise_descriptor_limit()
    victim = open_party(installation)
    for _ in range(KEYS):
        assert victim.ask("GET", "/api/v1/webhooks")[0] == 200
    assert any(_answered_before(victim) < 0.6 * STRANGERS for _ in range(ATTEMPTS))


def _answered_before(victim: Party) -> int:
    """How many strangers, who all connected and asked before, had an answer when the victim had its own."""
    base = f"http://127.0.0.1:{victim.installation.port}"
    with clients(base, WAYS["a body after a 401"], STRANGERS) as held:
        assert victim.ask("GET", "/api/v1/webhooks")[0] == 200
        readable = select.poll()
        for client in held:
            readable.register(client.fileno(), select.POLLIN)
        return len(readable.poll(0))
