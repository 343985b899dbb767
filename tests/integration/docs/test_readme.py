"""Every command of the README, run as it stands there but for ports, addresses and secrets."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.processes import ROOT, start, stop
from tests.support.receiver import Receiver

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
MAKE, UP, PUBLISH, REPLAY, PRODUCTION = BLOCKS


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory in which the README's relative paths lead to this checkout, but `./data` is the test's own."""
    for name in (".venv", "Makefile", "Procfile", "api", "worker", "sendoff", "requirements", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def run(script: str, directory: Path) -> str:
    """What a block prints; it must not fail."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=directory, env=_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(script: str, directory: Path, health: str) -> Iterator[None]:
    """A block whose last command stays, while it answers."""
    *before, last = script.strip().splitlines()
    command = "\n".join([*before, f"exec {last}"])
    process = start(["bash", "-euo", "pipefail", "-c", command], cwd=directory, env=_environment())
    try:
        eventually_blocking(lambda: _answers(health), within=60, what=f"an answer of {health}")
        yield
    finally:
        assert stop(process, within=40) in (0, 143)  # honcho tells the signal that ended it


def test_the_two_commands_exist(checkout: Path) -> None:
    for line in MAKE.strip().splitlines():
        assert run(line.partition("#")[0].replace("make", "make --dry-run"), checkout) != ""


async def test_the_commands_to_try_it_deliver_an_event(checkout: Path, receiver: Receiver) -> None:
    port = free_port()

    def adapted(block: str) -> str:
        return block.replace("8000", str(port)).replace("127.0.0.1:9000", f"127.0.0.1:{receiver.port}")

    def use() -> str:
        with running(adapted(UP), checkout, f"http://127.0.0.1:{port}/health"):
            shown = run(adapted(PUBLISH), checkout)
            eventually_blocking(lambda: len(receiver.requests("/hook")) == 2, what="the ping and the event")
            return shown + run(adapted(REPLAY), checkout)

    shown = await asyncio.to_thread(use)
    assert '"secret"' in shown
    assert '"deliveries":1' in shown
    assert b'"data":{"upload": {"id": "42"}}' in receiver.requests("/hook")[1].body


def test_the_production_commands_start_web_and_worker(checkout: Path, empty_postgres_url: str, valkey_url: str) -> None:
    port = free_port()
    script = (
        PRODUCTION.replace("postgresql+asyncpg://sendoff@db.internal/sendoff", empty_postgres_url)
        .replace("redis://redis.internal:6379/0", valkey_url)
        .replace(".venv/bin/honcho start", f"env PORT={port} .venv/bin/honcho start")
    )
    with running(script, checkout, f"http://127.0.0.1:{port}/ready"):
        assert httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200


def test_the_verification_example_is_real_code() -> None:
    [example] = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    given = {"headers": {}, "body": b"{}", "secret": "s" * 64}
    exec(compile(example, "README.md", "exec"), given)  # noqa: S102 - the README is ours
    assert "event" not in given  # a request without a signature is refused


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SENDOFF_")}
