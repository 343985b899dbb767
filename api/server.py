"""The API's life: read the settings, see that everything can be opened, serve, end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType

import structlog
import uvicorn
from starlette.datastructures import State
from starlette.types import ASGIApp

from sendoff.clock import choose_wake_up_times
from sendoff.endpoints.listening import EventFeed
from sendoff.errors import BadSettings, SendoffError
from sendoff.observability.logging import configure_logging, log_dangers
from sendoff.processes.memory import keep_arenas_few
from sendoff.processes.process import (
    disable_core_dumps,
    make_files_private,
    notify_ready,
    raise_descriptor_limit,
    tune_garbage_collector,
)
from sendoff.processes.startup import open_context
from sendoff.server_urls.database import is_loopback
from sendoff.settings import Settings, load

from .app import create_app
from .cells.router import Router
from .health import start_draining
from .http.server.connections import ConnectionLimiter
from .http.server.protocol import BoundedProtocol

GRACE_SECONDS = 10
"""How long requests under way may go on when the process is asked to stop; they are cut off then."""

_BACKLOG = 4_096
"""Connections that the kernel keeps until the process takes them. Those that come beyond it wait for seconds, until the
client's kernel tries again; systems allow no more by default."""

_ACCEPTED_AT_ONCE = 8
"""Connections that are accepted in one round of the event loop. With fewer, a client waits for the rounds of all who
connected before it, whatever is done in them; with more, each connection takes a few microseconds longer."""

_OTHER_DESCRIPTORS = 512
"""Descriptors for everything but clients' connections: database, Redis, pings, files of uploads under way."""

_TICK_SECONDS = 1.0
"""The `Date` header is renewed this often, so it must not be longer."""

_log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """Drains before it ends: it says that it is not ready and serves on, until proxies have noticed."""

    def __init__(
        self, config: uvicorn.Config, state: State, drain_seconds: float, close_first: Callable[[], Awaitable[None]]
    ) -> None:
        """`close_first` ends requests that would hold the server up until its grace is over."""
        super().__init__(config)
        self._state = state
        self._close_first = close_first
        self._drain_seconds = drain_seconds
        self._end: Callable[[], None] | None = None
        self._ends_at = float("inf")
        self._signalled = asyncio.Event()
        self._wake: Callable[[], object] = self._signalled.set

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            await self._accept_several_at_once()
            tune_garbage_collector()
            notify_ready()
            _log.info("api_ready", address=self.config.host, port=self._port())

    async def _accept_several_at_once(self) -> None:
        """Listen with several descriptors of each socket: the event loop accepts one connection of each in a round."""
        made_by: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        state = {"config": self.config, "server_state": self.server_state, "app_state": self.lifespan.state}
        protocol = partial(made_by, **state)
        listening = [each.fileno() for server in self.servers for each in server.sockets]
        for descriptor in listening * (_ACCEPTED_AT_ONCE - 1):
            same = socket.socket(fileno=os.dup(descriptor))
            server = await asyncio.get_running_loop().create_server(protocol, sock=same, backlog=_BACKLOG)
            self.servers.append(server)

    async def main_loop(self) -> None:
        """The library's loop with a tick each second and at a signal, instead of ten wake-ups each second."""
        loop = asyncio.get_running_loop()
        self._wake = partial(loop.call_soon_threadsafe, self._signalled.set)
        while not await self.on_tick(0):
            self._signalled.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(_TICK_SECONDS, max(0.0, self._ends_at - time.monotonic()))):
                    await self._signalled.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM drains first; any other signal, and a second SIGTERM, end the server at once."""
        self._wake()
        if sig != signal.SIGTERM or self._end is not None or not self._drain_seconds or not self.started:
            super().handle_exit(sig, frame)
            return
        self._end = partial(super().handle_exit, sig, frame)
        self._ends_at = time.monotonic() + self._drain_seconds
        start_draining(self._state)
        _log.info("api_draining", seconds=self._drain_seconds)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._close_first()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Called by the server's loop."""
        if self._end is not None and time.monotonic() >= self._ends_at:
            self._ends_at = float("inf")
            self._end()
        return await super().on_tick(counter)

    def _port(self) -> int:
        """The port that 0 became."""
        return int(self.servers[0].sockets[0].getsockname()[1])


def serve() -> int:
    """Serve until SIGTERM or SIGINT. 1, with a sentence on standard error, when that is not possible."""
    parser = argparse.ArgumentParser(prog="python -m api", description="Serve Sendoff's HTTP API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    disable_core_dumps()
    choose_wake_up_times()
    keep_arenas_few()
    make_files_private()
    try:
        settings = load()
        configure_logging(settings, process="web")
        log_dangers(settings)
        if settings.cells:
            router = Router(settings)
            return _serve(router, router.state, settings, options.host, options.port, close_first=_nothing)
        settings = _with_public_url(settings, options.host, options.port)
        asyncio.run(_check(settings))
    except SendoffError as error:
        sys.stderr.write(f"The API cannot start: {error}\n")
        return 1
    app = create_app(settings)

    async def end_listening() -> None:
        await app.state.context.service(EventFeed).aclose()

    return _serve(app, app.state, settings, options.host, options.port, close_first=end_listening)


async def _nothing() -> None:
    """A router's requests end by themselves, when their cells do."""


def _with_public_url(settings: Settings, host: str, port: int) -> Settings:
    """The settings with the base of download links that the API makes for uploads in a folder.

    Raises BadSettings where clients on other machines may connect and only their Host header would give the base.
    """
    if settings.public_url is not None or not settings.storage_url.startswith("file:"):
        return settings
    if not is_loopback(host):
        raise BadSettings(
            f"SENDOFF_PUBLIC_URL is missing: the API listens on {host or 'all addresses'}, keeps uploads in a folder "
            "and has to know the base of their download links. Set it to the URL that clients reach the API under, "
            "such as https://api.example.com, or listen with --host 127.0.0.1."
        )
    written = f"[{host}]" if ":" in host else host
    return settings.model_copy(update={"public_url": f"http://{written}:{port}"})


async def _check(settings: Settings) -> None:
    """Everything that the application opens when it starts, for a sentence instead of the server's stack trace."""
    async with open_context(settings):
        pass


def _connection_limiter(settings: Settings) -> ConnectionLimiter:
    descriptors = raise_descriptor_limit()
    return ConnectionLimiter(
        total=min(settings.max_connections, max(descriptors - _OTHER_DESCRIPTORS, descriptors // 2)),
        per_address=settings.max_connections_per_address,
        trusted_proxies=settings.trusted_proxies,
    )


def _serve(
    app: ASGIApp,
    state: State,
    settings: Settings,
    host: str,
    port: int,
    *,
    close_first: Callable[[], Awaitable[None]],
) -> int:
    protocol = partial(
        BoundedProtocol, limiter=_connection_limiter(settings), write_timeout=settings.write_timeout_seconds
    )
    server = _Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            loop="uvloop",
            http=protocol,  # type: ignore[arg-type]
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=settings.keep_alive_seconds,  # type: ignore[arg-type]
            timeout_graceful_shutdown=GRACE_SECONDS,
        ),
        state,
        settings.drain_seconds,
        close_first,
    )
    # The server puts its own handlers in place of these while it runs, and at its end raises the signal that ended it
    # once more: by then it has done what it asked for.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda _signal, _frame: setattr(server, "should_exit", True))
    try:
        server.run()
    except SystemExit:  # the address cannot be had, which the server has logged
        return 1
    return 0 if server.started else 1
