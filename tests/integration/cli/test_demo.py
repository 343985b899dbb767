from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.installation import assert_nothing_runs_in, environment_without_settings, run_sendoff
from tests.support.polling import eventually_blocking
from tests.support.processes import start


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where the demo puts its files; with a short name, as there is on a fresh machine."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def test_the_demo_shows_all_of_it_and_leaves_nothing(temporary: Path) -> None:
    # A real installation's settings must not be touched by it.
    real = {"SENDOFF_DATABASE_URL": "postgresql+asyncpg://real/one", "SENDOFF_REDIS_URL": "redis://real"}
    environment = environment_without_settings() | real | {"TMPDIR": str(temporary)}
    done = run_sendoff("demo", environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in ("ping", "upload.created", "1000/1000", "upload.completed", "attempt 6 of 6", "retries_exhausted"):
        assert shown in done.stdout
    assert "All of it happened" in done.stdout
    assert done.stderr == ""
    assert_nothing_runs_in(temporary)
    assert list(temporary.iterdir()) == []


def test_a_demo_that_is_interrupted_leaves_nothing(temporary: Path) -> None:
    environment = environment_without_settings() | {"TMPDIR": str(temporary)}
    command = [sys.executable, "-P", "-m", "sendoff.cli", "demo"]
    demo = start(command, cwd="/", env=environment, stdout=subprocess.DEVNULL)
    eventually_blocking(lambda: list(temporary.glob("*/sendoff.db")), within=60, what="the demo has begun")
    demo.send_signal(signal.SIGINT)
    assert demo.wait(60) == 130
    assert_nothing_runs_in(temporary)
    assert list(temporary.iterdir()) == []
