"""`sendoff up`: everything on one machine, in the foreground."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from sendoff.audit import Actor
from sendoff.cli.local_stack.stack import ListenAddress, Stack
from sendoff.cli.running.migrate import migrate_database
from sendoff.cli.terminal.installation import who_is_at_work
from sendoff.cli.terminal.options import DEFAULT_DATA, Data
from sendoff.clock import Clock, SystemClock
from sendoff.errors import SendoffError
from sendoff.observability.logging import configure_logging
from sendoff.processes.data_directory import DataDirectory
from sendoff.settings import Settings

_POLL_SECONDS = 0.1
_ORPHANS_END_WITHIN_SECONDS = 20.0


class AlreadyUp(SendoffError):
    """`sendoff up` runs in this directory already."""


class PortTaken(SendoffError):
    """The port is taken."""


def up(
    host: Annotated[str, typer.Option(metavar="HOST", help="Where the API listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="0 picks a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, metavar="N", help="How many worker processes.")] = 1,
    data: Data = DEFAULT_DATA,
) -> None:
    """Run everything on this machine: Valkey and SQLite in DIR unless the environment names others, API, workers.

    Prints `ready http://HOST:PORT` when it can serve. On SIGTERM or Ctrl-C it drains and leaves nothing running; a
    second Ctrl-C does not wait.
    """
    clock = SystemClock()
    directory = DataDirectory.at(data)
    directory.make()
    settings = directory.settings()
    configure_logging(settings, process="up")
    with _only_one(directory) as orphans_may_run:
        patience = _ORPHANS_END_WITHIN_SECONDS if orphans_may_run else 0
        address = _find_address(host, port, clock, patience_seconds=patience)
        migrate_database(data)
        exit_code = asyncio.run(
            _run(Stack(directory, settings, address, workers=workers, clock=clock), settings, address)
        )
    raise typer.Exit(exit_code)


async def _run(stack: Stack, settings: Settings, address: ListenAddress) -> int:
    signals = _Signals(stack)
    starting = asyncio.create_task(stack.start())
    stopping = asyncio.create_task(signals.to_stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not signals.to_stop.is_set():
            starting.result()
            typer.echo(f"ready {address.url}")
            await _print_dashboard(settings, address)
            await stopping
    finally:
        starting.cancel()
        stopping.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
        await stack.stop()
    return 1 if signals.twice else 0


async def _print_dashboard(settings: Settings, address: ListenAddress) -> None:
    """The dashboard's address, as a link that logs in the first person who opens it."""
    if settings.dashboard == "off":
        return
    from sendoff.accounts.page_sessions import DASHBOARD_LINK_SECONDS, create_dashboard_link
    from sendoff.processes.startup import open_context

    actor = Actor(f"cli:{who_is_at_work()}")
    async with open_context(settings, pool_size=1) as context:
        link = await create_dashboard_link(context, actor, base_url=settings.public_url or address.local_url)
    typer.echo(f"dashboard {link.url}")
    typer.echo(
        f"It logs in once, within {DASHBOARD_LINK_SECONDS // 60} minutes; `sendoff dashboard` prints another.", err=True
    )


class _Signals:
    """Handles signals: the first stops the stack gracefully, the second kills it."""

    def __init__(self, stack: Stack) -> None:
        self.to_stop = asyncio.Event()
        self.twice = False
        self._stack = stack
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._take)

    def _take(self) -> None:
        if self.to_stop.is_set():
            self.twice = True
            self._stack.kill()
        self.to_stop.set()


@contextmanager
def _only_one(directory: DataDirectory) -> Iterator[bool]:
    """Holds the directory for this process. Gives whether the last one was killed, and its children may still end."""
    with directory.lock.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyUp(
                f"`sendoff up` runs in {directory.path} already; stop it or choose another --data."
            ) from None
        lock.seek(0)
        was_killed = lock.read() != ""
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        try:
            yield was_killed
        finally:
            directory.remove_stale_files()
            lock.truncate(0)


def _find_address(host: str, port: int, clock: Clock, *, patience_seconds: float) -> ListenAddress:
    """Where the API can listen; waits that long for the port to become free."""
    deadline = clock.monotonic() + patience_seconds
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        try:
            with socket.create_server((host, port), family=family) as listener:
                return ListenAddress(host, listener.getsockname()[1])
        except OSError as error:
            if clock.monotonic() >= deadline:
                raise PortTaken(_describe(host, port, error)) from None
        time.sleep(_POLL_SECONDS)


def _describe(host: str, port: int, error: OSError) -> str:
    # Not error.strerror: asked for a server, Python puts the address in it, in words of its own.
    said = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return f"Cannot listen on port {port} of {host} ({said}); choose another with --port, or --port 0 for any."
