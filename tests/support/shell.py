"""Runs `sendoff` commands and servers, each in a forked process, without importing everything again.

As a process of its own (`python -m tests.support.shell FD`) it reads a request a line from the socket with
that descriptor, forks, and answers with the id of the new process. It waits for none of them: while a command runs,
other threads start and stop servers.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any, NoReturn

from sendoff.processes.process import READY_DESCRIPTOR
from tests.support.processes import ROOT, start

_LONGEST_REQUEST_BYTES = 200_000  # a command's arguments and environment
_PR_SET_PDEATHSIG = 1


class Shell:
    """The process's other end."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        command = [sys.executable, "-m", "tests.support.shell", str(theirs.fileno())]
        self._process = start(command, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        theirs.close()
        self._answers = self._socket.makefile()
        self._turn = threading.Lock()

    def run(self, arguments: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """`sendoff ARGUMENTS…` in that environment, run to its end."""
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            pid = self._ask(["run", arguments, dict(environment)], stdout.fileno(), stderr.fileno())
            returncode = ForkedProcess(self, pid).wait()
            return subprocess.CompletedProcess(["sendoff", *arguments], returncode, _read(stdout), _read(stderr))

    def start(
        self, program: Sequence[str], environment: Mapping[str, str], *, output: int, ready: int | None = None
    ) -> ForkedProcess:
        """`python -m api ARGUMENTS…` or `python -m worker` in that environment.

        It writes to the descriptor `output`, and announces at the descriptor `ready` that it works.
        """
        descriptors = [output] if ready is None else [output, ready]
        return ForkedProcess(self, self._ask(["start", list(program), dict(environment)], *descriptors))

    def reap(self, pid: int) -> int:
        """The exit code of a process that has ended."""
        return self._ask(["reap", pid])

    def _ask(self, request: list[Any], *descriptors: int) -> int:
        with self._turn, suppress(ConnectionError):
            socket.send_fds(self._socket, [json.dumps(request).encode() + b"\n"], descriptors)
            if answer := self._answers.readline():
                return int(answer)
        raise RuntimeError("The process that forks commands and servers has ended; standard error may say why.")

    def close(self) -> None:
        self._answers.close()
        self._socket.close()
        self._process.wait()


class ForkedProcess:
    """What a test does with a process that Shell started; the methods are those of subprocess.Popen."""

    stdout = None

    def __init__(self, shell: Shell, pid: int) -> None:
        self._shell = shell
        self._handle = os.pidfd_open(pid)
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            ending = select.poll()
            ending.register(self._handle, select.POLLIN)
            if not ending.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self.returncode = self._shell.reap(self.pid)
            os.close(self._handle)
        return self.returncode

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it ended in between
                signal.pidfd_send_signal(self._handle, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def main() -> int:
    """Serve until the other end is closed. In a forked process: the exit code of what it became."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    gc.disable()
    _import_everything()  # what the forks need not do again
    gc.freeze()
    gc.enable()
    while request := _receive(connection):
        (what, *arguments), descriptors = request
        if what == "reap":
            answer = os.waitstatus_to_exitcode(os.waitpid(arguments[0], 0)[1])
        else:
            parent, answer = os.getpid(), os.fork()
            if answer == 0:
                connection.close()
                _die_with(parent)
                if what == "run":
                    _become_command(*arguments, *descriptors)
                return _become_server(*arguments, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        connection.sendall(b"%d\n" % answer)
    return 0


def _receive(connection: socket.socket) -> tuple[list[Any], list[int]] | None:
    text, descriptors, _flags, _address = socket.recv_fds(connection, _LONGEST_REQUEST_BYTES, 2)
    while text and not text.endswith(b"\n"):
        text += connection.recv(_LONGEST_REQUEST_BYTES)
    return (json.loads(text), descriptors) if text else None


def _import_everything() -> None:
    import api.server  # noqa: F401
    import worker.process  # noqa: F401
    from sendoff.cli.main import app
    from sendoff.cli.terminal.commands import Commands

    group = app.info.cls
    assert isinstance(group, type)
    assert issubclass(group, Commands)
    for command in group.table:
        command.load()


def _die_with(parent: int) -> None:
    """End this process when its parent does, even when that is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it ended before its end would have been noticed


def _become_command(arguments: list[str], environment: dict[str, str], stdout: int, stderr: int) -> NoReturn:
    from sendoff.cli.main import app

    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    os.chdir("/")
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["sendoff", *arguments]
    code: Any = 70
    try:
        app(arguments, prog_name="sendoff")
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)


def _become_server(program: list[str], environment: dict[str, str], output: int, ready: int | None = None) -> int:
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(environment, **({} if ready is None else {READY_DESCRIPTOR: str(ready)}))
    sys.argv = list(program)
    try:
        runpy.run_module(program[0], run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


if __name__ == "__main__":
    sys.exit(main())
