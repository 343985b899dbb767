"""RabbitMQ: a queue. What is rejected goes to the queue's own dead-letter exchange, or is copied to a named queue."""

from __future__ import annotations

import asyncio
from ssl import SSLContext
from typing import Any
from urllib.parse import quote

import structlog
from aio_pika.abc import AbstractIncomingMessage
from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue
from faststream.rabbit.message import RabbitMessage
from faststream.security import BaseSecurity, SASLPlaintext

from sendoff.consuming.acceptance import MessageResult, Outcome
from sendoff.consuming.batches import Batches
from sendoff.consuming.connection import (
    CHECK_SECONDS,
    CONNECT_SECONDS,
    LOGGER,
    REASON_HEADER,
    SOURCE_HEADER,
    BrokerAway,
    Limits,
    header_text,
    whole_message,
    within,
)
from sendoff.consuming.messages import Message
from sendoff.consuming.source import Source

_log = structlog.get_logger(__name__)

_Taken = tuple[AbstractIncomingMessage, asyncio.Future[Outcome | None]]


class RabbitMq:
    """Messages come one by one; those that come while a batch is committed are the next batch."""

    def __init__(self, source: Source, batches: Batches, limits: Limits) -> None:
        self._source = source
        self._batches = batches
        self._batch = limits.batch
        self._taken: asyncio.Queue[_Taken] = asyncio.Queue()
        self._working: asyncio.Task[None] | None = None
        self._broker = RabbitBroker(
            f"amqp{'s' if source.tls else ''}://{source.servers[0]}/{quote(source.virtual_host, safe='')}",
            security=_security(source, limits.ssl_context),
            reconnect_interval=1.0,
            default_channel=Channel(on_return_raises=True),
            graceful_timeout=limits.grace_seconds,
            logger=LOGGER,
            apply_types=False,
        )
        self._queue = RabbitQueue(source.place, declare=False)
        self._subscriber = self._broker.subscriber(
            self._queue,
            # Twice as many as are committed together: the next batch comes meanwhile.
            channel=Channel(prefetch_count=2 * limits.batch),
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            decoder=whole_message,
        )
        self._subscriber(self._take)

    async def start(self) -> None:
        await within(CONNECT_SECONDS, self._broker.connect())
        if self._source.dead_letter is not None:
            await within(CONNECT_SECONDS, self._find(self._source.dead_letter))
        self._working = asyncio.create_task(self._work())
        await within(CONNECT_SECONDS, self._broker.start())

    async def stop(self) -> None:
        await self._broker.stop()
        if self._working is not None:
            self._working.cancel()

    async def check(self) -> bool:
        """Whether the connection holds and the queue, whose deletion ends the subscription, has this consumer."""
        try:
            return await within(CHECK_SECONDS, self._find(self._source.place)) > 0
        except BrokerAway:
            return False

    async def _find(self, queue: str) -> int:
        """The number of consumers of a queue that must exist. A channel of its own: a miss closes it."""
        connection = await self._broker.connect()
        channel = await connection.channel()
        try:
            found = await channel.declare_queue(queue, passive=True)
            return found.declaration_result.consumer_count or 0
        finally:
            await channel.close()

    async def _take(self, message: RabbitMessage) -> None:
        raw = message.raw_message
        decided: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self._taken.put_nowait((raw, decided))
        outcome = await decided
        if outcome is None:
            return
        try:
            await self._confirm(raw, outcome)
        except Exception as error:  # it comes again, and is a duplicate then
            _log.warning("confirmation_failed", source=self._source.name, error=f"{type(error).__name__}: {error}")

    async def _work(self) -> None:
        while True:
            taken = [await self._taken.get()]
            while len(taken) < self._batch and not self._taken.empty():
                taken.append(self._taken.get_nowait())
            outcomes = await self._batches.accept([_read(raw) for raw, _ in taken])
            for index, (_, decided) in enumerate(taken):
                if not decided.done():
                    decided.set_result(outcomes[index] if outcomes else None)

    async def _confirm(self, raw: AbstractIncomingMessage, outcome: Outcome) -> None:
        if outcome.verdict is not MessageResult.REJECTED:
            await raw.ack()
        elif self._source.dead_letter is None:
            await raw.reject(requeue=False)  # to the queue's dead-letter exchange, if it has one
        else:
            await self._copy(raw, self._source.dead_letter, outcome.reason or "")
            await raw.ack()

    async def _copy(self, raw: AbstractIncomingMessage, queue: str, reason: str) -> None:
        await self._broker.publish(
            raw.body,
            queue,
            headers={**raw.headers, REASON_HEADER: reason, SOURCE_HEADER: self._source.name},
            content_type=raw.content_type,
            message_id=raw.message_id,
            persist=True,
        )


def _read(raw: AbstractIncomingMessage) -> Message:
    return Message(
        raw.body,
        {name.lower(): header_text(value) for name, value in raw.headers.items()},
        content_type=raw.content_type or "",
        id=raw.message_id or None,
        is_redelivered=bool(raw.redelivered),
    )


def _security(source: Source, ssl_context: SSLContext | None) -> Any:
    if source.username is None:
        return BaseSecurity(ssl_context)
    return SASLPlaintext(source.username, source.password or "", ssl_context)
