"""`sendoff receive`: a receiver on this machine, to try deliveries with. Prints each request and its fault."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any

import typer

from sendoff.errors import SendoffError
from sendoff.verify import SCHEMES, Scheme, VerificationError, branded, verify

PING = "webhook.ping"

_LARGEST_BODY = 2 * 1024 * 1024
_LONGEST_LINE = 2_000
_READ_SECONDS = 30.0


def receive(
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="0 picks a free one.")] = 9000,
    host: Annotated[str, typer.Option(metavar="HOST", help="Where the receiver listens.")] = "127.0.0.1",
    secret_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The endpoint's secrets, separated by white space. Read at each request: it may appear later.",
        ),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option("--secret", metavar="SECRET", envvar="SENDOFF_WEBHOOK_SECRET", help="Repeatable, newest first."),
    ] = None,
    dialect: Annotated[
        str, typer.Option(metavar="NAME", help=f"{', '.join(SCHEMES)}; any other name is taken for a brand's.")
    ] = "default",
    status: Annotated[int, typer.Option(min=200, max=599, metavar="CODE", help="The answer to a delivery.")] = 200,
) -> None:
    """Receive webhooks on this machine: verify each request, print its event, and answer 200.

    Start it before the endpoint is registered. Until it has a secret it answers the ping of the registration and
    refuses every other request with 503, so that the sender tries it again later.
    """
    inbox = Inbox(SCHEMES.get(dialect) or branded(dialect), secret or [], secret_file, status)
    server = _listen(host, port, inbox)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does
    typer.echo(f"receiving http://{host}:{server.server_port}")
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


@dataclass(frozen=True)
class Inbox:
    """Decides about each request: the status to answer, and the line to print."""

    scheme: Scheme
    secrets: list[str]
    secret_file: Path | None
    status: int

    def take(self, headers: list[tuple[str, str]], body: bytes) -> tuple[int, str]:
        try:
            known = self._read_secrets()
            if not known:
                return self._take_unverified(body)
            event = verify(self.scheme, headers, body, known)
        except VerificationError as error:
            return 401, f"refused   {error.problem}: {error}"
        except (OSError, ValueError) as error:
            return 500, f"refused   The secret cannot be used: {error}. Give the one that the registration answered."
        status = 200 if event.get("type") == PING else self.status
        return status, f"verified  {_describe(event, headers)}  answered {status}"

    def _read_secrets(self) -> list[str]:
        if self.secret_file is None or not self.secret_file.exists():
            return self.secrets
        return [*self.secret_file.read_text().split(), *self.secrets]

    def _take_unverified(self, body: bytes) -> tuple[int, str]:
        try:
            event = json.loads(body)
        except (ValueError, RecursionError):
            event = None
        if isinstance(event, dict) and event.get("type") == PING:
            return 200, "ping      answered 200; not verified, since no secret is known yet"
        wanted = f"write it to {self.secret_file}" if self.secret_file else "start again with --secret or --secret-file"
        return 503, f"refused   No secret is known to verify this request with; {wanted}."


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    take: Callable[[list[tuple[str, str]], bytes], tuple[int, str]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _READ_SECONDS
    server: _Server

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or int(length) > _LARGEST_BODY:
            self._answer(413 if length else 411)
            return
        status, line = self.server.take(self.headers.items(), self.rfile.read(int(length)))
        # Printed before it is answered: who sees the answer finds the line.
        typer.echo(_printable(line))
        self._answer(status)

    def _answer(self, status: int) -> None:
        self.close_connection = self.close_connection or status in {411, 413}
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing: each request has its line already."""


def _listen(host: str, port: int, inbox: Inbox) -> _Server:
    try:
        server = _Server((host, port), _Handler)
    except OSError as error:
        raise SendoffError(
            f"Cannot listen on port {port} of {host} ({error.strerror}); choose another with --port."
        ) from None
    server.take = inbox.take
    return server


def _describe(event: dict[str, Any], headers: list[tuple[str, str]]) -> str:
    named = {name.lower(): value for name, value in headers}
    identifier = event.get("id") or named.get("webhook-id", "")
    return f"{event.get('type')}  {identifier}  {json.dumps(event.get('data'), ensure_ascii=False)}"


def _printable(line: str) -> str:
    """The line, of bounded length, without control characters that a terminal would obey."""
    kept = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
    return kept if len(kept) <= _LONGEST_LINE else f"{kept[:_LONGEST_LINE]}…"
