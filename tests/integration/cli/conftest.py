from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.cli.installation import Installation
from tests.integration.cli.seeded import Seeded, seed
from tests.support.shell import Shell

Install = Callable[[dict[str, str]], Installation]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that is not there yet, with a name that must be quoted in places."""
    return tmp_path / "data dir"


@pytest.fixture
def install(data: Path, shell: Shell) -> Iterator[Install]:
    """Makes installations in the data directory that are not up; ended with the test if they are by then."""
    made: list[Installation] = []

    def make(settings: dict[str, str]) -> Installation:
        made.append(Installation(data, settings, shell))
        return made[-1]

    yield make
    for installation in made:
        installation.kill()


@pytest.fixture
def seeded(sqlite_url: str, valkey_url: str) -> Seeded:
    """A database with what commands list."""
    return seed({"database_url": sqlite_url, "redis_url": valkey_url, "secret_keys": "k" * 40})


@pytest.fixture
def anywhere(database_url: str, valkey_url: str) -> Seeded:
    """The same on each kind of database, for what is asked with own statements."""
    return seed({"database_url": database_url, "redis_url": valkey_url, "secret_keys": "k" * 40})
