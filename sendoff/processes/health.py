"""A process's metrics, liveness and readiness over HTTP, from a thread that also answers when the event loop hangs."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from prometheus_client import CollectorRegistry

from sendoff import __version__
from sendoff.clock import seconds_to_next
from sendoff.errors import Invalid
from sendoff.observability.metrics import CONTENT_TYPE, exposition

ALIVE_SECONDS = 15.0
"""A process whose event loop has not turned for this long is reported as dead. Less ends processes on a busy machine;
more leaves a worker that hangs with its deliveries for longer. Their leases end by themselves."""

_BEAT_SECONDS = 1.0
_REQUEST_SECONDS = 5.0


class ProcessHealth:
    """What `/health` (or `/live`) and `/ready` answer. The event loop writes it, the server's thread reads it."""

    def __init__(self, process: str) -> None:
        """`process` begins sentences, such as `The worker`."""
        self._process = process
        self._beat_at = time.monotonic()
        self._reason: str | None = "starting"
        self._failing: dict[str, str] = {}

    async def beat(self) -> None:
        """Prove until cancelled that the event loop turns."""
        while True:
            self._beat_at = time.monotonic()
            await asyncio.sleep(seconds_to_next(_BEAT_SECONDS, asyncio.get_running_loop().time()))

    def set_ready(self) -> None:
        """The process works."""
        self._reason = None

    def set_not_ready(self, reason: str) -> None:
        """The process does not work: it is `starting`, `waiting for the database` or `stopping`, for example."""
        self._reason = reason

    def set_failing(self, dependency: str, reason: str | None) -> None:
        """What keeps the process from its work although it runs; None when that is over."""
        failing = {name: known for name, known in self._failing.items() if name != dependency}
        self._failing = failing if reason is None else {**failing, dependency: reason}

    def live(self) -> tuple[int, dict[str, str]]:
        """200 while the loop turns, whatever the process waits for: a restart would mend nothing else."""
        silent = time.monotonic() - self._beat_at
        if silent <= ALIVE_SECONDS:
            return 200, {"status": "ok", "version": __version__}
        return 503, {"status": "failing", "message": f"The event loop has not turned for {silent:.0f} s."}

    def ready(self) -> tuple[int, dict[str, str]]:
        """200 while the process works."""
        status, answer = self.live()
        failing = self._failing
        if status == 200 and self._reason is None and not failing:
            return 200, {"status": "ready"}
        reasons = [
            answer.get("message", ""),
            f"{self._process} is {self._reason}." if self._reason else "",
            *failing.values(),
        ]
        return 503, {"status": "not_ready", "message": " ".join(filter(None, reasons))}


def serve_health(
    health: ProcessHealth, host: str, port: int | None, registry: CollectorRegistry, *, env_prefix: str
) -> ThreadingHTTPServer | None:
    """Serve `/metrics`, `/health` and `/ready` if there is a port. Raises Invalid if that cannot be had.

    `registry` has the metrics that only this kind of process has; `env_prefix` begins the settings of host and port.
    """
    if port is None:
        return None

    class Handler(_Handler):
        of = health
        metrics = registry

    try:
        server = _Server((host, port), Handler)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Invalid(
            f"The metrics cannot be served on {host}:{port}: {reason}. Set {env_prefix}_HOST to an address of this "
            f"machine and {env_prefix}_PORT to a free port, or to nothing."
        ) from error
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    of: ClassVar[ProcessHealth]
    metrics: ClassVar[CollectorRegistry]
    timeout = _REQUEST_SECONDS  # of a client that says nothing
    server_version, sys_version = "sendoff", ""

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/metrics":
                self._answer(200, CONTENT_TYPE, exposition(self.metrics))
            case "/health" | "/live":
                self._answer_json(*self.of.live())
            case "/ready":
                self._answer_json(*self.of.ready())
            case _:
                self._answer_json(404, {"message": "There are /metrics, /health and /ready."})

    do_HEAD = do_GET  # noqa: N815 - the library looks for this name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the library
        """Nothing: a probe comes every few seconds."""

    def _answer_json(self, status: int, answer: dict[str, str]) -> None:
        self._answer(status, "application/json", json.dumps(answer).encode())

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
