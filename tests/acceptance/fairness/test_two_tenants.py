"""Whatever one customer does, another one's requests and deliveries stay about as fast as they are alone.

Each test measures the other customer twice, alone and under attack, and prints both. The bounds are wide enough for a
busy machine: what they catch is waiting in the attacker's line, not a few milliseconds.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.fairness.attacks import ATTACKS, MANY_ENDPOINTS, MORE_ATTACKS, Attack
from tests.acceptance.fairness.attacks_on_surfaces import (
    MANY_ENDPOINTS_ON_SURFACES,
    SURFACE_ATTACKS,
    listening_again_and_again,
    small_uploads,
)
from tests.acceptance.fairness.parties import attacking, measure, open_party
from tests.integration.cli.shell import Shell
from tests.support.databases import SqliteFile
from tests.support.installation import STEADY, Installation, open_installation
from tests.support.polling import eventually_blocking

SLOWER_AT_MOST = 10
FREE_SECONDS = {"list": 1.5, "publish": 2.5, "upload": 4.0, "delivery": 4.0, "processing": 8.0}
"""What a request may take under attack however fast it is alone: a shared machine with two cores keeps to these."""

MOST_MORE_DESCRIPTORS = 70
"""The API and the worker keep idle connections of clients and to receivers for a minute or more: a few dozen."""
MOST_MORE_BYTES = 200_000_000


@pytest.fixture(scope="module")
def installation(_migrated_sqlite: Path, shell: Shell) -> Iterator[Installation]:
    """One installation for all attacks: what an attack leaves behind, the next victim would notice."""
    with tempfile.TemporaryDirectory(prefix="sendoff-") as name:
        directory = Path(name)
        database = directory / "sendoff.db"
        shutil.copy(_migrated_sqlite, database)
        with open_installation(directory, SqliteFile(database), shell, STEADY) as opened:
            opened.start()
            yield opened


def descriptors(pids: list[int]) -> int:
    return sum(psutil.Process(pid).num_fds() for pid in pids)


def memory(pids: list[int]) -> int:
    return sum(int(psutil.Process(pid).memory_info().rss) for pid in pids)


SHORT_SECONDS, LONG_SECONDS = 1.0, 20.0
ENDPOINTS = MANY_ENDPOINTS | MANY_ENDPOINTS_ON_SURFACES
SHORT = [
    pytest.param(attack, SHORT_SECONDS, id=attack.__name__)
    for attack in (*ATTACKS, listening_again_and_again, small_uploads)
]
LONG = [
    pytest.param(attack, LONG_SECONDS, id=f"{attack.__name__}-long", marks=pytest.mark.chaos)
    for attack in (*ATTACKS, *MORE_ATTACKS, *SURFACE_ATTACKS)
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
    assert memory(pids) <= before[1] + MOST_MORE_BYTES
