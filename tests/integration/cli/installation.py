"""`sendoff up` as a process of its own, and the other commands run against what it made."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.polling import eventually_blocking
from tests.support.processes import ROOT, start
from tests.support.shell import Shell

LOOPBACK = {"SENDOFF_DANGEROUSLY_ALLOW_NETWORKS": "127.0.0.0/8", "SENDOFF_DANGEROUSLY_ALLOW_HTTP": "true"}
"""The settings under which a receiver of a test can be registered."""

READY_WITHIN_SECONDS = 60
STOPS_WITHIN_SECONDS = 40


class Installation:
    """A data directory and the settings that its commands run with. `up` starts it, `url` is where it answers."""

    def __init__(self, data: Path, settings: Mapping[str, str], shell: Shell) -> None:
        self._shell = shell
        self.data = data
        self.environment = environment_without_settings() | dict(settings)
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """`sendoff ARGUMENTS… --data DIR`."""
        written = [str(argument) for argument in (*arguments, "--data", self.data)]
        return self._shell.run(written, self.environment)

    def json(self, *arguments: str | Path) -> Any:
        """What the command prints for programs. Fails unless it succeeds."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def up(self, *arguments: str) -> None:
        """Start it and wait for its word that it is ready."""
        self.start(*arguments)
        line = self.read_line()
        assert line.startswith("ready http://127.0.0.1:"), line
        self.url = line.removeprefix("ready ")

    def start(self, *arguments: str) -> None:
        command: list[str | Path] = [*_SENDOFF, "up", "--port", "0", *arguments, "--data", self.data]
        self.process = start(command, cwd=self.data.parent, env=self.environment, stdout=subprocess.PIPE)

    def read_line(self) -> str:
        """The next line that `up` prints."""
        assert self.process is not None
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(READY_WITHIN_SECONDS), "`up` said nothing in time"
        line: bytes = self.process.stdout.readline()
        return line.decode().strip()

    def end(self, signum: int = signal.SIGTERM) -> int:
        """Send the signal and give the exit code."""
        assert self.process is not None
        self.process.send_signal(signum)
        self.process.wait(STOPS_WITHIN_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.returncode

    def kill(self) -> None:
        """End it for certain, when the test has failed to."""
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGKILL)

    def child(self, what: str) -> int:
        """The process id of the child of `up` whose command line holds `what`; 0 if there is none."""
        assert self.process is not None
        found = [pid for pid in children_of(self.process.pid) if what in read_process(pid, "cmdline")]
        return found[0] if found else 0

    def client(self, key: str) -> httpx.Client:
        """Calls the API with that key."""
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=15, trust_env=False)

    def new_key(self, *scopes: str) -> str:
        """An API key of a new organization with credits."""
        organization = self.json("orgs", "create", "Acme", "--credits", "1000")["id"]
        return self.new_key_of(organization, *scopes)

    def new_key_of(self, organization: str, *scopes: str) -> str:
        chosen = [part for scope in scopes for part in ("--scope", scope)]
        key: str = self.json("keys", "create", "--org", organization, "--user", "ada@example.com", *chosen)["key"]
        return key


@contextmanager
def running(data: Path, settings: Mapping[str, str], shell: Shell, *arguments: str) -> Iterator[Installation]:
    """An installation that is up; at the end it gets SIGTERM, must exit with 0 and leave nothing behind."""
    installation = Installation(data, settings, shell)
    try:
        installation.up(*arguments)
        yield installation
        assert installation.end() == 0
        assert_nothing_runs_in(data)
    finally:
        installation.kill()


def environment_without_settings() -> dict[str, str]:
    """This process's environment, as on a machine where nothing is configured."""
    # `COLUMNS` is the test runner's, in processes that share the tests.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith("SENDOFF_") and name != "COLUMNS"
    }
    # The commands run elsewhere than in the checkout and must find the servers all the same.
    return kept | {"PYTHONPATH": str(ROOT)}


def assert_nothing_runs_in(data: Path, *, within: float = 20) -> None:
    """No process is left that knows this data directory from its command line or its environment."""
    eventually_blocking(
        lambda: not _processes_that_know(data), within=within, what=lambda: str(_processes_that_know(data))
    )


def children_of(pid: int) -> list[int]:
    return [int(child) for child in read_process(pid, f"task/{pid}/children").split()]


def read_process(pid: int, what: str) -> str:
    """A file of the process's in /proc; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _processes_that_know(data: Path) -> list[str]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    own = os.getpid()
    return [
        f"{pid}: {read_process(pid, 'cmdline')}"
        for pid in pids
        if pid != own and (f"{data}" in read_process(pid, "cmdline") or f"{data}" in read_process(pid, "environ"))
    ]


_SENDOFF = (sys.executable, "-P", "-m", "sendoff.cli")
