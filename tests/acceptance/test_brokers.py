"""Events from real brokers: accepted exactly once, whichever process is killed meanwhile.

The long forms run with `-m chaos`: 100,000 messages each, or CHAOS_EVENTS.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import Install
from tests.support.brokers.base import BrokerServer, Outgoing
from tests.support.brokers.kafka import KafkaServer
from tests.support.brokers.nats import NatsServer
from tests.support.brokers.rabbitmq import RabbitMqServer
from tests.support.databases import LiveDatabase, PostgresDatabase, SqliteFile
from tests.support.installation import Installation
from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.servers import Server

EVENTS = int(os.environ.get("CHAOS_EVENTS", "100000"))
POISON = [
    Outgoing(b"no JSON"),
    Outgoing(b'{"type": "no.such.type", "data": {}}', id="p2"),
    Outgoing(b'{"type": "upload.completed", "data": 1}', id="p3"),
]
"""Messages that can never be accepted."""

_SERVERS: Mapping[str, tuple[type[NatsServer | RabbitMqServer | KafkaServer], str]] = {
    "nats": (NatsServer, "`apt-get install nats-server` does it on Debian"),
    "rabbitmq": (RabbitMqServer, "`apt-get install rabbitmq-server` does it on Debian"),
    "kafka": (KafkaServer, "Java is needed, and `make broker-tools` for Kafka's jars"),
}

Open = Callable[[str], BrokerServer]


@pytest.fixture
def open_broker(tmp_path: Path) -> Iterator[Open]:
    """Starts a broker by its name; skips where it is not installed."""
    opened: list[BrokerServer] = []

    def open_(name: str) -> BrokerServer:
        kind, remedy = _SERVERS[name]
        if kind.program() is None:
            pytest.skip(f"{name} is not installed; {remedy}")
        folder = tmp_path / name
        folder.mkdir()
        opened.append(kind(folder))
        opened[-1].start()
        return opened[-1]

    yield open_
    for broker in opened:
        broker.kill()
        broker.stop()


def event(n: int) -> Outgoing:
    """An event in one of the forms in which messages come."""
    attributes = {"specversion": "1.0", "id": f"e{n}", "source": "/orders", "type": "upload.completed"}
    match n % 3:
        case 0:
            return Outgoing(json.dumps({**attributes, "data": {"n": n}}).encode(), content_type="application/json")
        case 1:
            headers = {f"ce-{name}": value for name, value in attributes.items()}
            return Outgoing(json.dumps({"n": n}).encode(), headers, "application/json")
    return Outgoing(json.dumps({"type": "upload.completed", "data": {"n": n}}).encode(), id=f"m{n}")


def consumer(installation: Installation, source: str, name: str = "consumer", **settings: str) -> Server:
    more = {f"SENDOFF_CONSUME_{key.upper()}": value for key, value in settings.items()}
    program = ["sendoff.cli", "consume", "--from", source]
    return Server(program, installation.environment | more, installation.directory / f"{name}.log")


def accepted(database: LiveDatabase) -> int:
    return int(database.query("SELECT count(*) FROM events WHERE type = 'upload.completed'")[0][0])


def check_accepted_once(installation: Installation, numbers: Sequence[int]) -> None:
    """Hold that the events are those, each once."""
    rows = installation.database.query("SELECT data FROM events WHERE type = 'upload.completed'")
    assert sorted(json.loads(row[0])["n"] for row in rows) == sorted(numbers)
    installation.audit()


def check_rejected(installation: Installation, place: str, broker: BrokerServer) -> None:
    """Hold that what is poison is written down, each once, and is in the broker's own dead-letter place."""
    rows = installation.database.query("SELECT reason FROM rejected_messages")
    assert len(rows) == len(POISON), rows
    dead: list[Outgoing] = []

    def all_dead() -> bool:
        dead.extend(asyncio.run(broker.dead(place)))
        return {one.body for one in dead} == {one.body for one in POISON}

    eventually_blocking(all_dead, within=20, what=lambda: f"dead letters, but {dead}")


def test_messages_of_nats_become_events_once_whoever_is_killed(
    sqlite: SqliteFile, install: Install, open_broker: Open
) -> None:
    installation: Installation = install(sqlite)
    installation.add_tenant()
    broker = open_broker("nats")
    asyncio.run(broker.create("orders"))
    port = free_port()
    source = broker.source("orders", dead_letter="orders-dead")
    one = consumer(installation, source, batch="20", metrics_port=str(port))
    one.start()
    check_metrics(port)
    asyncio.run(broker.publish("orders", [event(n) for n in range(200)]))
    eventually_blocking(lambda: accepted(installation.database) > 20, within=30, what=one.log)
    one.kill()
    asyncio.run(broker.publish("orders", [event(n) for n in range(150, 300)] + POISON))
    broker.kill()
    two = consumer(installation, source, "second")
    two.launch()
    broker.start()
    two.wait_until_ready()
    eventually_blocking(lambda: accepted(installation.database) >= 300, within=30, what=two.log)
    eventually_blocking(lambda: _rejected(installation) == len(POISON), within=10, what=two.log)
    assert two.stop() == 0
    check_accepted_once(installation, range(300))
    check_rejected(installation, "orders", broker)


def check_metrics(port: int) -> None:
    """Hold that the consumer serves what an orchestrator and Prometheus ask for."""
    url = f"http://127.0.0.1:{port}"
    eventually_blocking(
        lambda: httpx.get(f"{url}/ready").status_code == 200, within=20, what="a consumer that is ready"
    )
    assert httpx.get(f"{url}/health").json()["status"] == "ok"
    metrics = httpx.get(f"{url}/metrics").text
    assert "sendoff_consumer_connected 1.0" in metrics
    assert 'sendoff_messages_consumed_total{result="accepted"}' in metrics


@pytest.mark.chaos
@pytest.mark.parametrize("name", list(_SERVERS))
def test_everything_is_accepted_once_through_kills_and_restarts(
    name: str, postgres: PostgresDatabase, install: Install, open_broker: Open
) -> None:
    seed = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(2**32)))
    chance = random.Random(seed)  # noqa: S311 - faults, not secrets
    installation: Installation = install(postgres)
    installation.add_tenant()
    broker = open_broker(name)
    asyncio.run(broker.create("orders"))
    parameters = {} if name == "rabbitmq" else {"dead_letter": "orders-dead"}
    source = broker.source("orders", **parameters)
    consumers = [consumer(installation, source, f"consumer{n}") for n in range(2)]
    for one in consumers:
        one.start()
    events = [event(n) for n in range(EVENTS)] + POISON
    chance.shuffle(events)
    victims: list[Server | BrokerServer] = [*consumers, broker]
    began = time.monotonic()
    publishing = ThreadPoolExecutor(1).submit(asyncio.run, broker.publish("orders", events))
    kills = restarts = 0
    while accepted(installation.database) < EVENTS:
        if publishing.done():
            publishing.result()  # raises what ended it early
        assert time.monotonic() - began < 1_800, f"{accepted(installation.database)} of {EVENTS}, seed {seed}"
        time.sleep(chance.uniform(1, 6))
        victim = chance.choice(victims)
        victim.kill()
        if isinstance(victim, Server):
            kills += 1
        else:
            restarts += 1
            time.sleep(chance.uniform(0, 3))
        victim.start()
    seconds = time.monotonic() - began
    publishing.result()
    eventually_blocking(lambda: _rejected(installation) == len(POISON), within=120, what=consumers[0].log)
    check_rejected(installation, "orders", broker)
    for one in consumers:
        assert one.stop() == 0, one.log()
    check_accepted_once(installation, range(EVENTS))
    sys.stderr.write(
        f"\n{name}: {EVENTS} events in {seconds:.0f} s, {kills} consumers killed, {restarts} brokers, seed {seed}\n"
    )


def _rejected(installation: Installation) -> int:
    return int(installation.database.query("SELECT count(*) FROM rejected_messages")[0][0])
