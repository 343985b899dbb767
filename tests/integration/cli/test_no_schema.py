"""A PostgreSQL database that `sendoff migrate` has not seen yet: a sentence that says so, from every process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.shell import Shell


@pytest.fixture
def environment(empty_postgres_url: str, valkey_url: str) -> dict[str, str]:
    settings = {"DATABASE_URL": empty_postgres_url, "REDIS_URL": valkey_url, "SECRET_KEYS": "k" * 32}
    return os.environ | {f"SENDOFF_{name}": value for name, value in settings.items()}


@pytest.mark.parametrize("program", [["api", "--port", "0"], ["worker"]], ids=["web", "worker"])
def test_a_server_says_in_a_sentence_that_there_is_no_schema(
    program: list[str], environment: dict[str, str], shell: Shell, tmp_path: Path
) -> None:
    with (tmp_path / "log").open("wb") as log:
        assert shell.start(program, environment, output=log.fileno()).wait(60) == 1
    [line] = (tmp_path / "log").read_text().strip().splitlines()
    assert line.endswith("run `sendoff migrate`.")


def test_a_command_says_in_a_sentence_that_there_is_no_schema(environment: dict[str, str], shell: Shell) -> None:
    done = shell.run(["orgs", "list"], environment)
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert line.endswith("run `sendoff migrate`.")
