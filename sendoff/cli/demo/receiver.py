"""A minimal customer's server: it verifies signatures and answers with the status codes set for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sendoff.verify import VerificationError, verify

DIALECT = "optimaldial"


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request that came, and what it was answered. `event` is None if its signature could not be checked yet."""

    headers: dict[str, str]
    body: bytes
    answered: int
    event: dict[str, Any] | None

    @property
    def type(self) -> str:
        return self.headers["x-optimaldial-event"]

    @property
    def signature(self) -> str:
        return self.headers["x-optimaldial-signature"]

    @property
    def attempt(self) -> int:
        return int(self.headers["x-optimaldial-attempt"])

    @property
    def delivery_id(self) -> str:
        return self.headers["x-optimaldial-delivery-id"]


@dataclass
class Hook:
    """One URL of the receiver. Until it knows its secret it keeps what comes and believes nothing."""

    url: str
    answer: int = 200
    secret: str | None = None
    requests: list[ReceivedRequest] = field(default_factory=list)

    def learn(self, secret: str) -> None:
        """Take the secret that registration gave, and check with it what came before. Raises VerificationError."""
        self.secret = secret
        self.requests = [
            ReceivedRequest(one.headers, one.body, one.answered, verify(DIALECT, one.headers, one.body, secret))
            for one in self.requests
        ]

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Record a request, genuine or not, and give the status to answer."""
        event = None
        answered = self.answer
        if self.secret is not None:
            try:
                event = verify(DIALECT, headers, body, self.secret)
            except VerificationError:
                answered = 401
        self.requests.append(ReceivedRequest(headers, body, answered, event))
        return answered

    def events(self, event_type: str) -> list[ReceivedRequest]:
        """The verified requests of that type, in the order they came."""
        return [one for one in list(self.requests) if one.event is not None and one.type == event_type]


class DemoReceiver:
    """A server on loopback with a hook for each path."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._hooks: dict[str, Hook] = {}

    def open_hook(self, path: str) -> Hook:
        self._hooks[path] = Hook(self._base + path)
        return self._hooks[path]

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        hook = self._hooks.get(path)
        return hook.take(headers, body) if hook else 404


@contextmanager
def run_receiver() -> Iterator[DemoReceiver]:
    """A receiver on a free port, in a thread, until the end of the block."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.receiver
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_activate(self) -> None:
        super().server_activate()
        self.receiver = DemoReceiver(self.server_port)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.send_response(self.server.receiver.take(self.path, headers, body))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing: the story does."""
