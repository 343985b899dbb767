from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sendoff.cli.local_stack.processes import DoesNotStart, Program, SupervisedProcess
from sendoff.clock import SystemClock
from tests.integration.cli.installation import read_process
from tests.support.polling import eventually

SLEEPS = "import signal; signal.pause()"


@asynccontextmanager
async def supervised(code: str, *, stop_seconds: float = 10) -> AsyncIterator[SupervisedProcess]:
    program = Program("test", (sys.executable, "-c", code), os.environ, stop_seconds)
    process = SupervisedProcess(program, SystemClock())
    process.start()
    try:
        yield process
    finally:
        await process.stop()


def writes_its_pid(path: Path, then: str) -> str:
    return f"import os, pathlib; pathlib.Path({str(path)!r}).write_text(str(os.getpid()) + chr(10)); {then}"


def pid_in(path: Path) -> Callable[[], int | None]:
    """The pid, once it is written to its end."""
    return lambda: int(path.read_text()) if path.exists() and path.read_text().endswith("\n") else None


async def test_a_process_that_is_killed_is_started_again(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    async with supervised(writes_its_pid(path, SLEEPS)):
        first = await eventually(pid_in(path))
        os.kill(first, signal.SIGKILL)
        second = await eventually(lambda: pid if (pid := pid_in(path)()) != first else None)
    assert not read_process(second, "cmdline")


async def test_a_process_that_ends_again_and_again_is_said_not_to_start() -> None:
    async with supervised("raise SystemExit(3)") as process:

        def gave_up() -> bool:
            try:
                process.check_starting()
            except DoesNotStart as error:
                return "`test` does not start" in str(error)
            return False

        await eventually(gave_up)


async def test_a_process_announces_that_it_is_ready() -> None:
    announces = f"from sendoff.processes.process import notify_ready; notify_ready(); notify_ready(); {SLEEPS}"
    async with supervised(announces) as process:
        await asyncio.wait_for(process.announced.wait(), 20)


async def test_a_process_that_does_not_stop_is_killed_after_its_time(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + writes_its_pid(path, "\n")
    async with supervised(f"{stubborn}\nwhile True: signal.pause()", stop_seconds=0.2):
        pid = await eventually(pid_in(path))
    assert not read_process(pid, "cmdline")


async def test_child_processes_end_with_their_parent(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    grandchild = writes_its_pid(path, "import time; time.sleep(600)")
    leaves = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {grandchild!r}]); {SLEEPS}"
    async with supervised(leaves):
        pid = await eventually(pid_in(path))
    await eventually(lambda: not read_process(pid, "cmdline"))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
async def test_children_end_even_if_their_supervisor_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    supervisor = f"""
import asyncio, os, sys
from sendoff.cli.local_stack.processes import Program, SupervisedProcess
from sendoff.clock import SystemClock

async def main():
    program = Program("test", (sys.executable, "-c", {writes_its_pid(path, SLEEPS)!r}), os.environ, 10)
    SupervisedProcess(program, SystemClock()).start()
    await asyncio.sleep(600)

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", supervisor)
    pid = await eventually(pid_in(path), within=30)
    process.kill()
    await process.wait()
    await eventually(lambda: not read_process(pid, "cmdline"))
