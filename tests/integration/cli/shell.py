"""Runs `sendoff` commands, each in a forked process, without importing everything again.

As a process of its own (`python -m tests.integration.cli.shell`) it reads a command a line from standard input, forks,
and writes what became of it a line to standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import IO, Any

from tests.support.processes import ROOT, start


class Shell:
    """The process's other end."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.integration.cli.shell"]
        self._process = start(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, arguments: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """`sendoff ARGUMENTS…` in that environment, run to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([arguments, dict(environment)]).encode() + b"\n")
        self._process.stdin.flush()
        returncode, stdout, stderr = json.loads(self._process.stdout.readline())
        return subprocess.CompletedProcess(["sendoff", *arguments], returncode, stdout, stderr)

    def close(self) -> None:
        self._process.communicate()


def main() -> None:
    _import_everything()  # what the forks need not do again

    for line in sys.stdin:
        arguments, environment = json.loads(line)
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            pid = os.fork()
            if pid == 0:
                _become_command(arguments, environment, stdout, stderr)
            returncode = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            sys.stdout.write(json.dumps([returncode, _read(stdout), _read(stderr)]) + "\n")
            sys.stdout.flush()


def _import_everything() -> None:
    import sendoff.processes.startup  # noqa: F401
    from sendoff.cli.main import app
    from sendoff.cli.terminal.commands import Commands

    group = app.info.cls
    assert isinstance(group, type)
    assert issubclass(group, Commands)
    for command in group.table:
        command.load()


def _become_command(arguments: list[str], environment: dict[str, str], stdout: IO[bytes], stderr: IO[bytes]) -> None:
    from sendoff.cli.main import app

    os.dup2(stdout.fileno(), 1)
    os.dup2(stderr.fileno(), 2)
    os.chdir("/")
    os.environ.clear()
    os.environ.update(environment)
    code: Any = 70
    try:
        app(arguments, prog_name="sendoff")
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


if __name__ == "__main__":
    main()
