"""Processes that `sendoff up` keeps running: restarted when they die, and always ended together with it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import structlog

from sendoff.clock import Clock
from sendoff.errors import SendoffError
from sendoff.processes.process import READY_DESCRIPTOR

FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 10.0
"""Seconds before a process that ended is started again: the first, doubled for each quick end in a row, up to the
longest."""

STABLE_AFTER_SECONDS = 30.0
"""A process that lived so long starts again with the first wait."""

_ENDS_BEFORE_GIVING_UP = 3
_PR_SET_PDEATHSIG = 1
# Loaded before any fork: loading a library between fork and exec can hang.
_LIBC = ctypes.CDLL(None)

_log = structlog.get_logger(__name__)


class DoesNotStart(SendoffError):
    """A process ends again and again before it is ready."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `dies_with_us_by` is the signal it gets when this process is killed (on Linux).

    After SIGTERM it has `stop_seconds` to end by itself. `log` names the file that it logs to.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    stop_seconds: float
    dies_with_us_by: signal.Signals = signal.SIGTERM
    log: str = "above"


class SupervisedProcess:
    """A program that is started again, after a growing wait, whenever it ends."""

    def __init__(self, program: Program, clock: Clock) -> None:
        self.program = program
        self.announced = asyncio.Event()
        """Set once the program said that it is ready, if it is of those that do (see sendoff.processes.process)."""
        self._clock = clock
        self._stopping = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._quick_ends = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_running())

    def check_starting(self) -> None:
        """Raise DoesNotStart when it has ended so often that it will not become ready."""
        if self._task is not None and self._task.done():
            self._task.result()
        if self._quick_ends >= _ENDS_BEFORE_GIVING_UP:
            raise DoesNotStart(f"`{self.program.name}` does not start; see what it said {self.program.log}.")

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when it takes longer than it may."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        if self._task is None:
            return
        done, _ = await asyncio.wait({self._task}, timeout=self.program.stop_seconds)
        if not done:
            _log.warning("process_killed", process=self.program.name, after_seconds=self.program.stop_seconds)
            self.kill()
            await asyncio.wait({self._task})

    def kill(self) -> None:
        """End it now."""
        self._stopping.set()
        self._signal(signal.SIGKILL)

    async def _keep_running(self) -> None:
        while not self._stopping.is_set():
            started = self._clock.monotonic()
            exit_code = await self._run_once()
            if self._stopping.is_set():
                return
            stable = self._clock.monotonic() - started >= STABLE_AFTER_SECONDS
            self._quick_ends = 0 if stable else self._quick_ends + 1
            wait = min(FIRST_WAIT_SECONDS * 2 ** max(0, self._quick_ends - 1), LONGEST_WAIT_SECONDS)
            _log.warning("process_restarted", process=self.program.name, exit_code=exit_code, in_seconds=wait)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)

    async def _run_once(self) -> int:
        with _ReadyPipe(self.announced) as pipe:
            self._process = process = await asyncio.create_subprocess_exec(
                *self.program.command,
                env={**self.program.environment, READY_DESCRIPTOR: str(pipe.writing_end)},
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),  # our own standard output is for what `up` promises to print
                pass_fds=[pipe.writing_end],
                start_new_session=True,  # Ctrl-C in the terminal is for `up`, which stops them in order
                preexec_fn=tie_to_this_process(self.program.dies_with_us_by),
            )
            pipe.close_writing_end()
            if self._stopping.is_set():
                self._signal(signal.SIGTERM)
            exit_code = await process.wait()
        _kill_group(process.pid)
        return exit_code

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


class _ReadyPipe:
    """Where a program says that it is ready."""

    def __init__(self, announced: asyncio.Event) -> None:
        self._announced = announced
        self._reading_end, self.writing_end = os.pipe()
        self._is_writable = True

    def __enter__(self) -> _ReadyPipe:
        asyncio.get_running_loop().add_reader(self._reading_end, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._reading_end)
        self.close_writing_end()
        os.close(self._reading_end)

    def close_writing_end(self) -> None:
        """So that only the program can write, and its end is noticed."""
        if self._is_writable:
            os.close(self.writing_end)
            self._is_writable = False

    def _read(self) -> None:
        if os.read(self._reading_end, 1):
            self._announced.set()
        else:
            asyncio.get_running_loop().remove_reader(self._reading_end)


def tie_to_this_process(number: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn` by which a child gets that signal when this process is gone, however it went (on Linux).

    Start the child from the main thread: the kernel takes the end of the starting thread for that of the parent.
    """
    parent = os.getpid()

    def tie() -> None:
        if sys.platform == "linux":
            _LIBC.prctl(_PR_SET_PDEATHSIG, number)
            if os.getppid() != parent:  # it went before the tie was made
                os._exit(1)

    return tie


def _kill_group(leader: int) -> None:
    """End what a process that has just ended left behind."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
