"""A real Kafka, one node in KRaft mode, from the jars that `make broker-tools` puts into `.tools/kafka`."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from tests.support.brokers.base import BrokerServer, Outgoing
from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.processes import ROOT, start

JARS = ROOT / ".tools" / "kafka"
PARTITIONS = 3
_AT_ONCE = 500


class KafkaServer(BrokerServer):
    """Topics have three partitions."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port, self._controller_port = free_port(), free_port()

    @staticmethod
    def program() -> str | None:
        return shutil.which("java") if any(JARS.glob("kafka_*.jar")) else None

    def start(self) -> None:
        settings = self.directory / "server.properties"
        if not settings.exists():
            settings.write_text(self._settings())
            cluster = uuid.uuid4().hex[:22]
            subprocess.run(
                self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(settings)),
                check=True,
                capture_output=True,
            )
        with (self.directory / "log").open("ab") as log:
            self.process = start(self._java("kafka.Kafka", str(settings)), stdout=log, stderr=log)
        eventually_blocking(self._answers, within=90, every=0.2, what=lambda: f"Kafka answers:\n{self.log()}")

    def source(self, place: str, **parameters: str) -> str:
        return f"kafka://127.0.0.1:{self.port}?topic={place}" + "".join(f"&{k}={v}" for k, v in parameters.items())

    async def create(self, place: str) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._server)
        await admin.start()
        try:
            await admin.create_topics(
                [NewTopic(name, PARTITIONS, replication_factor=1) for name in (place, f"{place}-dead")]
            )
        finally:
            await admin.close()

    async def publish(self, place: str, messages: Sequence[Outgoing]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._server, acks="all", linger_ms=5, request_timeout_ms=20_000)
        await producer.start()
        try:
            for first in range(0, len(messages), _AT_ONCE):
                await asyncio.gather(*(self._publish(producer, place, one) for one in messages[first:][:_AT_ONCE]))
        finally:
            await producer.stop()

    async def dead(self, place: str) -> list[Outgoing]:
        consumer = AIOKafkaConsumer(
            f"{place}-dead", bootstrap_servers=self._server, group_id="test", auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            found = await consumer.getmany(timeout_ms=2_000)
            await consumer.commit()
        finally:
            await consumer.stop()
        return [
            Outgoing(one.value, {name: value.decode() for name, value in one.headers})
            for records in found.values()
            for one in records
        ]

    @property
    def _server(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def _publish(self, producer: AIOKafkaProducer, place: str, message: Outgoing) -> None:
        headers = dict(message.headers)
        if message.content_type is not None:
            headers["content-type"] = message.content_type
        if message.id is not None:
            headers["Idempotency-Key"] = message.id
        for _ in range(60):
            with contextlib.suppress(KafkaError):
                await producer.send_and_wait(
                    place, message.body, headers=[(name, value.encode()) for name, value in headers.items()]
                )
                return
            await asyncio.sleep(0.5)
        raise AssertionError("Kafka took a message at none of 60 times")

    def _java(self, *program: str) -> list[str]:
        java = self.program()
        assert java is not None
        return [java, "-Xmx384m", "-XX:+UseSerialGC", "-cp", f"{JARS}/*", *program]

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def _settings(self) -> str:
        return f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{self._controller_port}
listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={self.directory}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""
