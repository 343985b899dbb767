"""A PostgreSQL database that `sendoff migrate` has not seen yet: a sentence that says so, from every process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.processes import ROOT


@pytest.mark.parametrize(
    "arguments",
    [["-m", "api", "--port", "0"], ["-m", "worker"], ["-m", "sendoff.cli", "orgs", "list"]],
    ids=["web", "worker", "command"],
)
def test_a_database_without_a_schema_is_reported_in_a_sentence(
    arguments: list[str], empty_postgres_url: str, valkey_url: str
) -> None:
    settings = {
        "SENDOFF_DATABASE_URL": empty_postgres_url,
        "SENDOFF_REDIS_URL": valkey_url,
        "SENDOFF_SECRET_KEYS": "k" * 32,
    }
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert line.endswith("run `sendoff migrate`.")
