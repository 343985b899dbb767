"""A demo that is interrupted; the whole of it runs from the wheel, in test_wheel.py."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.installation import assert_nothing_runs_in, environment_without_settings
from tests.support.polling import eventually_blocking
from tests.support.processes import start


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where the demo puts its files; with a short name, as there is on a fresh machine."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def test_a_demo_that_is_interrupted_leaves_nothing(temporary: Path) -> None:
    environment = environment_without_settings() | {"TMPDIR": str(temporary)}
    command = [sys.executable, "-P", "-m", "sendoff.cli", "demo"]
    demo = start(command, cwd="/", env=environment, stdout=subprocess.DEVNULL)
    eventually_blocking(lambda: list(temporary.glob("*/sendoff.db")), within=60, what="the demo has begun")
    demo.send_signal(signal.SIGINT)
    assert demo.wait(60) == 130
    assert_nothing_runs_in(temporary)
    assert list(temporary.iterdir()) == []
