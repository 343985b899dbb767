"""A receiver in a process of its own, which lives on when the test's event loop is busy or its processes die."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType

import httpx

from tests.support.exchange import Received, Reply
from tests.support.processes import ROOT, start, stop
from tests.support.receipts import Receipt


class ReceiverProcess:
    """Runs between `__enter__` and `__exit__`; the methods are those of Receiver."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, certificate: Path | None = None) -> None:
        self._host = host
        self._command = [sys.executable, "-m", "tests.support.receiver", "--print-port"]
        self._command += ["--host", host, "--port", str(port)]
        self._command += ["--certificate", str(certificate)] if certificate else []
        self._scheme = "https" if certificate else "http"
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx.Client(verify=False, timeout=30, trust_env=False)  # noqa: S501 - our own process
        self.port = 0

    def __enter__(self) -> ReceiverProcess:
        self._process = start(self._command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        if self._process is not None:
            stop(self._process)

    def url(self, path: str = "/", *, host: str | None = None) -> str:
        return f"{self._scheme}://{host or self._host}:{self.port}{path}"

    def program(self, path: str, *replies: Reply | int) -> None:
        programmed = [Reply(status=reply) if isinstance(reply, int) else reply for reply in replies]
        body = {"path": path, "replies": [reply.to_json() for reply in programmed]}
        self._ask("PUT", "program", json=body)

    def trust(self, path: str, dialect: str, *secrets: str) -> None:
        self._ask("PUT", "trust", json={"path": path, "dialect": dialect, "secrets": secrets})

    @property
    def refused(self) -> list[Received]:
        return [Received.from_json(one) for one in self._ask("GET", "refused").json()]

    def requests(self, path: str | None = None, *, since: int = 0) -> list[Received]:
        """What arrived at `path`, or everywhere, leaving out the first `since`."""
        asked = {"since": str(since), **({"path": path} if path else {})}
        return [Received.from_json(one) for one in self._ask("GET", "requests", params=asked).json()]

    def counts(self, header: str, path: str | None = None) -> dict[str, int]:
        """How many requests came with each value of a header."""
        asked = {"header": header, **({"path": path} if path else {})}
        counted: dict[str, int] = self._ask("GET", "counts", params=asked).json()
        return counted

    def arrived(self, path: str) -> int:
        """How many requests came to `path`."""
        count: int = self._ask("GET", "numbers").json()["arrived"].get(path, 0)
        return count

    def answered(self, path: str) -> int:
        """How many requests to `path` were answered."""
        count: int = self._ask("GET", "numbers").json()["answered"].get(path, 0)
        return count

    def receipts(self) -> list[Receipt]:
        """The deliveries that arrived, added up."""
        return [Receipt(**receipt) for receipt in self._ask("GET", "receipts").json()]

    def forget(self) -> None:
        self._ask("POST", "forget")

    def release(self) -> None:
        self._ask("POST", "release")

    def _ask(self, method: str, what: str, **options: object) -> httpx.Response:
        response = self._client.request(method, self.url(f"/_receiver/{what}"), **options)  # type: ignore[arg-type]
        return response.raise_for_status()
