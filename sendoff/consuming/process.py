"""The process of `sendoff consume`: connect, take messages until it is stopped, finish what was taken."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass

import structlog
import uvloop

from sendoff.consuming.acceptance import MessageOwner
from sendoff.consuming.batches import Batches
from sendoff.consuming.connection import BrokerAway, Connection, Limits
from sendoff.consuming.source import Broker, Source
from sendoff.context import Context
from sendoff.errors import Invalid, SendoffError, Unavailable
from sendoff.observability.logging import configure_logging, log_dangers
from sendoff.observability.metrics import CONSUMER, CONSUMER_CONNECTED
from sendoff.processes.health import ProcessHealth, serve_health
from sendoff.processes.process import notify_ready, raise_descriptor_limit
from sendoff.processes.startup import open_context
from sendoff.settings import Settings
from sendoff.store.queries import accounts
from sendoff.wire.tls.trust import default_ssl_context

CHECK_EVERY_SECONDS = 2.0
"""Seconds between two looks whether the broker is there. More says later that it is not."""

AWAY_SECONDS = 20.0
"""Seconds without the broker after which the connection is made again; clients reconnect by themselves before. Less
gives them no time to, more delays what they cannot mend, such as a queue that was deleted and made again."""

WAIT_SECONDS = 2.0
"""Seconds between two attempts to connect, or to find the database."""

_MISSING = "The packages for message brokers are missing; install them with `pip install 'sendoff[brokers]'`."

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Consumption:
    """What to take, and whose events they become."""

    source: Source
    owner: MessageOwner


def run(settings: Settings, task: Consumption) -> int:
    """Take messages until SIGTERM or SIGINT. Returns 1, with a sentence on standard error, when it cannot."""
    configure_logging(settings, process="consume")
    log_dangers(settings)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings, task))
    except SendoffError as error:
        sys.stderr.write(f"consume: {error}\n")
        return 1
    return 0


async def serve(settings: Settings, task: Consumption) -> None:
    """Take messages until the process is signalled to stop; waits for a database and a broker that are away.

    Raises Invalid for an organization that does not exist, and errors.WrongSchema when the database needs a migration.
    """
    stop = _stop_on_signals()
    raise_descriptor_limit()
    health = ProcessHealth("The consumer")
    server = serve_health(
        health,
        settings.consume_metrics_host,
        settings.consume_metrics_port,
        CONSUMER,
        env_prefix="SENDOFF_CONSUME_METRICS",
    )
    beating = asyncio.create_task(health.beat())
    try:
        while not stop.is_set():
            try:
                async with open_context(settings, traced_as="sendoff-consume") as context:
                    await _consume(context, task, stop, health)
            except Unavailable as error:
                health.set_not_ready("waiting for the database")
                _log.warning("waiting_for_database", error=error.message)
                await _pause(stop)
    finally:
        beating.cancel()
        if server is not None:
            server.shutdown()
            server.server_close()


async def _consume(context: Context, task: Consumption, stop: asyncio.Event, health: ProcessHealth) -> None:
    owner = await _find_owner(context, task.owner)
    notify_ready()
    while not stop.is_set():
        batches = Batches(context, task.source, owner, stop, health)
        connection = _connection(context.settings, task.source, batches)
        try:
            try:
                await connection.start()
            except BrokerAway as error:
                health.set_not_ready("waiting for the broker")
                _log.warning("waiting_for_broker", source=task.source.name, error=error.message)
            else:
                _log.info("consumer_ready", source=task.source.name)
                await _watch(connection, stop, health)
        finally:
            _note(health, is_there=False, reason="stopping" if stop.is_set() else "waiting for the broker")
            await _close(connection)
        if not stop.is_set():
            await _pause(stop)
    _log.info("consumer_stopped", source=task.source.name)


async def _watch(connection: Connection, stop: asyncio.Event, health: ProcessHealth) -> None:
    """Return when the process is to stop, or when the broker has been away for so long that a new connection is due."""
    loop = asyncio.get_running_loop()
    seen = loop.time()
    while not stop.is_set() and loop.time() - seen < AWAY_SECONDS:
        is_there = await connection.check()
        seen = loop.time() if is_there else seen
        _note(health, is_there=is_there, reason="waiting for the broker")
        await _pause(stop, CHECK_EVERY_SECONDS)


def _note(health: ProcessHealth, *, is_there: bool, reason: str) -> None:
    CONSUMER_CONNECTED.set(is_there)
    if is_there:
        health.set_ready()
    else:
        health.set_not_ready(reason)


async def _close(connection: Connection) -> None:
    """Finish and disconnect. What the broker does not hear of any more comes again, and is a duplicate then."""
    try:
        await connection.stop()
    except Exception as error:
        _log.warning("disconnect_failed", error=f"{type(error).__name__}: {error}")


def _connection(settings: Settings, source: Source, batches: Batches) -> Connection:
    """Not connected yet. The broker's module is imported only now: the others' packages are not needed."""
    ssl_context = default_ssl_context(settings.ca_file) if source.tls else None
    limits = Limits(settings.consume_batch, settings.shutdown_grace_seconds, ssl_context)
    try:
        match source.broker:
            case Broker.RABBITMQ:
                from sendoff.consuming.rabbitmq import RabbitMq

                return RabbitMq(source, batches, limits)
            case Broker.NATS:
                from sendoff.consuming.nats import Nats

                return Nats(source, batches, limits)
            case Broker.KAFKA:
                from sendoff.consuming.kafka import Kafka

                return Kafka(source, batches, limits)
    except ImportError:
        raise Invalid(_MISSING) from None


async def _find_owner(context: Context, owner: MessageOwner) -> MessageOwner:
    """The owner, checked. An installation with one organization needs none to be named."""
    async with context.database.read() as tx:
        if owner.organization_id is not None:
            found = (await accounts.find_organizations(tx, [owner.organization_id])).get(owner.organization_id)
            if found is None:
                raise Invalid(
                    f"There is no organization {owner.organization_id!r}; `sendoff orgs list` shows their ids."
                )
            return MessageOwner(found.id, owner.header)
        first = await accounts.page_organizations(tx, limit=2, before=None)
    return MessageOwner(first[0].id, owner.header, is_default=True) if len(first) == 1 else owner


async def _pause(stop: asyncio.Event, seconds: float = WAIT_SECONDS) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
