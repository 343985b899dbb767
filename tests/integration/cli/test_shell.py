"""The process that forks commands and servers for tests."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.cli.installation import environment_without_settings
from tests.support.polling import eventually
from tests.support.shell import Shell

NOWHERE = ["--url", "http://127.0.0.1:1", "--key", "k"]


async def test_a_server_starts_and_is_reaped_while_a_command_runs(shell: Shell, tmp_path: Path) -> None:
    source, environment = tmp_path / "export", environment_without_settings()
    os.mkfifo(source)
    importing = ["import", str(source), "--seal-key", "k" * 40, "--dry-run", *NOWHERE]
    command = asyncio.create_task(asyncio.to_thread(shell.run, importing, environment))
    writing = await eventually(lambda: open_for_writing(source), within=60, what="the command reads its file")
    try:
        with (tmp_path / "log").open("wb") as log:
            starting = asyncio.to_thread(shell.start, ["api", "--no-such"], environment, output=log.fileno())
            server = await asyncio.wait_for(starting, 60)
            assert await asyncio.to_thread(server.wait, 60) == 2
        assert not command.done()
    finally:
        os.close(writing)
    assert "cannot be reached" in (await command).stderr


def open_for_writing(pipe: Path) -> int | None:
    """A descriptor; None as long as nobody reads."""
    with suppress(OSError):
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    return None


def test_a_shell_that_has_ended_is_named_in_the_error() -> None:
    shell = Shell()
    shell._process.kill()
    with pytest.raises(RuntimeError, match="The process that forks commands and servers has ended"):
        shell.run(["--version"], {})
    shell.close()
