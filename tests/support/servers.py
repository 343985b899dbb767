"""`python -m api` and `python -m worker` as processes that a test may kill, stop, freeze and start again."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.support.processes import ROOT, start, stop
from tests.support.shell import ForkedProcess, Shell

_READY_WITHIN_SECONDS = 60


class Server:
    """One server process. `launch` and `wait_until_ready` are apart, so that several can start side by side."""

    def __init__(
        self,
        program: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        python: Sequence[str] = (sys.executable,),
        folder: Path = ROOT,
        shell: Shell | None = None,
    ) -> None:
        """`program`: what follows `python -m`, in `folder`; forked off the shell, if given, instead of started anew."""
        self._program = program
        self._python = python
        self._folder = folder
        self._environment = environment
        self._log = log
        self._shell = shell
        self._process: subprocess.Popen[bytes] | ForkedProcess | None = None
        self._ready = -1

    def launch(self) -> None:
        """Start it; call it from the main thread."""
        self._ready, announcing = os.pipe()
        with self._log.open("ab") as log:
            self._process = self._start(log, announcing)
        os.close(announcing)

    def _start(self, log: IO[bytes], announcing: int) -> subprocess.Popen[bytes] | ForkedProcess:
        if self._shell is not None:
            return self._shell.start(self._program, self._environment, output=log.fileno(), ready=announcing)
        command = [*self._python, "-m", *self._program]
        environment = {**self._environment, "SENDOFF_READY_FD": str(announcing)}
        return start(command, cwd=self._folder, env=environment, stdout=log, stderr=log, pass_fds=[announcing])

    def wait_until_ready(self) -> None:
        """Wait until it says that it works. Fails when it ends or takes too long instead."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._ready, selectors.EVENT_READ)
            in_time = selector.select(_READY_WITHIN_SECONDS)
        announced = in_time and os.read(self._ready, 1)
        os.close(self._ready)
        assert announced, f"{self._program} does not start:\n{self.log()}"

    def start(self) -> None:
        self.launch()
        self.wait_until_ready()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's number; it must have been launched."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """Stop its time: it stays connected to whatever it was, and does nothing."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def signal(self, signum: int) -> None:
        assert self._process is not None
        self._process.send_signal(signum)

    def stop(self, *, within: float = 40) -> int:
        """Terminate it and return its exit code; it is killed if it has not ended in time."""
        assert self._process is not None
        return stop(self._process, within=within)

    def log(self) -> str:
        """The end of what it said."""
        return self._log.read_text(errors="replace")[-6000:] if self._log.exists() else ""
