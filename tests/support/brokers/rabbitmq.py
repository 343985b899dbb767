"""A real RabbitMQ: Debian's package `rabbitmq-server`, with a port mapper of its own, so that none is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aio_pika
from aio_pika.exceptions import AMQPError

from tests.support.brokers.base import BrokerServer, Outgoing
from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.processes import start, stop

_PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_AT_ONCE = 500
_PATIENCE_SECONDS = 120  # without a message that is taken: longer than a start on a busy machine


class RabbitMqServer(BrokerServer):
    """A single node."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port, self._mapper_port, self._cluster_port = free_port(), free_port(), free_port()
        self._mapper: subprocess.Popen[bytes] | None = None

    @staticmethod
    def program() -> str | None:
        return str(_PROGRAM) if _PROGRAM.exists() and shutil.which("epmd") else None

    def start(self) -> None:
        environment = os.environ | {
            "HOME": str(self.directory),
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._cluster_port),
            "RABBITMQ_MNESIA_BASE": str(self.directory),
            "RABBITMQ_LOG_BASE": str(self.directory),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false +S 1:1",
            # Nobody listens there. Without it a shell stays between, and the server would outlive its kill.
            "NOTIFY_SOCKET": str(self.directory / "notify"),
        }
        (self.directory / "plugins").write_text("[].")
        if self._mapper is None:
            self._mapper = start(
                ["epmd", "-port", str(self._mapper_port), "-address", "127.0.0.1"], stdout=subprocess.DEVNULL
            )
        with (self.directory / "log").open("ab") as log:
            self.process = start([_PROGRAM], env=environment, stdout=log, stderr=log, cwd=self.directory)
        eventually_blocking(self._answers, within=90, every=0.2, what=lambda: f"RabbitMQ answers:\n{self.log()}")

    def stop(self) -> None:
        super().stop()
        if self._mapper is not None:
            stop(self._mapper)

    def source(self, place: str, **parameters: str) -> str:
        more = "".join(f"&{k}={v}" for k, v in parameters.items())
        return f"amqp://guest:guest@127.0.0.1:{self.port}/?queue={place}{more}"

    async def create(self, place: str) -> None:
        async with await self._connect() as connection:
            channel = await connection.channel()
            dead = await channel.declare_queue(f"{place}-dead", durable=True)
            exchange = await channel.declare_exchange(f"{place}-dlx", aio_pika.ExchangeType.FANOUT, durable=True)
            await dead.bind(exchange)
            arguments: dict[str, Any] = {"x-dead-letter-exchange": f"{place}-dlx"}
            await channel.declare_queue(place, durable=True, arguments=arguments)

    async def publish(self, place: str, messages: Sequence[Outgoing]) -> None:
        left = list(messages)
        taken_at = time.monotonic()
        while left:
            before = len(left)
            with contextlib.suppress(AMQPError, OSError, RuntimeError):
                await self._publish_all(place, left)
            if len(left) < before:
                taken_at = time.monotonic()
            assert time.monotonic() - taken_at < _PATIENCE_SECONDS, f"RabbitMQ took no message: {self.log()}"
            await asyncio.sleep(0.2)

    async def _publish_all(self, place: str, left: list[Outgoing]) -> None:
        """Publish what is left to publish, and remove from it what the broker has confirmed."""
        async with await self._connect() as connection:
            channel = await connection.channel()
            while left:
                await asyncio.gather(*(_publish(channel, place, one) for one in left[:_AT_ONCE]))
                del left[:_AT_ONCE]

    async def dead(self, place: str) -> list[Outgoing]:
        found = []
        async with await self._connect() as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(f"{place}-dead", passive=True)
            while (one := await queue.get(fail=False)) is not None:
                await one.ack()
                found.append(Outgoing(one.body, {name: str(value) for name, value in one.headers.items()}))
        return found

    async def _connect(self) -> aio_pika.abc.AbstractConnection:
        return await aio_pika.connect(f"amqp://guest:guest@127.0.0.1:{self.port}/", timeout=10)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"AMQP\0\0\x09\x01")
                return bool(connection.recv(1))
        except OSError:
            return False


async def _publish(channel: aio_pika.abc.AbstractChannel, place: str, message: Outgoing) -> None:
    await channel.default_exchange.publish(
        aio_pika.Message(
            message.body,
            headers=dict(message.headers),
            content_type=message.content_type,
            message_id=message.id,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        ),
        routing_key=place,
        timeout=20,
    )
