"""`sendoff listen` as a process, and what it says."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from typing import IO, Any

from tests.integration.cli.installation import environment_without_settings

PATIENCE_SECONDS = 60


class Listener:
    """`sendoff listen` as a process. Threads read what it prints, so that it never waits for the test."""

    def __init__(self, url: str, key: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "sendoff.cli", "listen", "--json", "--url", url, *arguments]
        self._process = subprocess.Popen(
            command,
            env=environment_without_settings() | {"SENDOFF_KEY": key},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._events = _Lines(self._process.stdout)
        self._said = _Lines(self._process.stderr)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._events.rest()
        self._said.rest()

    def said(self) -> str:
        """The next line about the listening."""
        return self._said.next()

    def event(self) -> dict[str, Any]:
        """The next event that it shows, with what was answered."""
        found: dict[str, Any] = json.loads(self._events.next())
        return found

    def end(self) -> tuple[int, str, str]:
        """The exit code, and all that it has printed since."""
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS)
        return self._process.returncode, self._events.rest(), self._said.rest()


class _Lines:
    """The lines of a stream, as they come."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        assert stream is not None
        self._stream = stream
        self._read: queue.Queue[str] = queue.Queue()
        self._thread = threading.Thread(target=self._read_all, daemon=True)
        self._thread.start()

    def next(self) -> str:
        """The next line. Fails if none comes in time."""
        return self._read.get(timeout=PATIENCE_SECONDS)

    def rest(self) -> str:
        """What was not asked for when the stream ended."""
        self._thread.join(PATIENCE_SECONDS)
        self._stream.close()
        return "".join(self._read.queue)

    def _read_all(self) -> None:
        for line in self._stream:
            self._read.put(line.decode())
