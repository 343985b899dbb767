"""A real NATS server with JetStream: Debian's package `nats-server`."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

import nats
import nats.js.api
from nats.aio.client import Client

from tests.support.brokers.base import BrokerServer, Outgoing
from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.processes import start

_AT_ONCE = 500


class NatsServer(BrokerServer):
    """Streams are kept in files, so that they outlive the server."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()

    @staticmethod
    def program() -> str | None:
        return shutil.which("nats-server", path="/usr/sbin:/usr/bin:/usr/local/bin")

    def start(self) -> None:
        program = self.program()
        assert program is not None
        store = str(self.directory / "jetstream")
        command = [program, "-js", "-sd", store, "-a", "127.0.0.1", "-p", str(self.port)]
        with (self.directory / "log").open("ab") as log:
            self.process = start(command, stdout=log, stderr=log)
        eventually_blocking(lambda: _answers(self.port), within=30, what=lambda: f"NATS answers:\n{self.log()}")

    def source(self, place: str, **parameters: str) -> str:
        return f"nats://127.0.0.1:{self.port}?stream={place}" + "".join(f"&{k}={v}" for k, v in parameters.items())

    async def create(self, place: str) -> None:
        async with await self._connect() as client:
            for name in (place, f"{place}-dead"):
                await client.jetstream().add_stream(
                    nats.js.api.StreamConfig(name=name, subjects=[name], storage=nats.js.api.StorageType.FILE)
                )

    async def publish(self, place: str, messages: Sequence[Outgoing]) -> None:
        async with await self._connect() as client:
            for first in range(0, len(messages), _AT_ONCE):
                await asyncio.gather(*(self._publish(client, place, one) for one in messages[first : first + _AT_ONCE]))

    async def dead(self, place: str) -> list[Outgoing]:
        async with await self._connect() as client:
            subscription = await client.jetstream().pull_subscribe(f"{place}-dead", durable="test")
            try:
                found = await subscription.fetch(100, timeout=0.3)
            except TimeoutError:
                return []
            for one in found:
                await one.ack()
            return [Outgoing(one.data, dict(one.headers or {})) for one in found]

    async def _publish(self, client: Client, place: str, message: Outgoing) -> None:
        headers = dict(message.headers)
        if message.content_type is not None:
            headers["Content-Type"] = message.content_type
        if message.id is not None:
            headers["Nats-Msg-Id"] = message.id
        for _ in range(30):
            try:
                await client.jetstream().publish(place, message.body, headers=headers, timeout=5)
            except (nats.errors.Error, nats.js.errors.Error, TimeoutError):
                await asyncio.sleep(0.5)
            else:
                return
        raise AssertionError("NATS took a message at none of 30 times")

    async def _connect(self) -> Client:
        return await nats.connect(
            f"nats://127.0.0.1:{self.port}", max_reconnect_attempts=-1, reconnect_time_wait=0.2, error_cb=_ignore
        )


async def _ignore(_error: Exception) -> None:
    """The client reconnects; the test publishes again."""


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return connection.recv(4) == b"INFO"
    except OSError:
        return False
