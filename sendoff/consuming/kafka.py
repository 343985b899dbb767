"""Kafka: a topic, by a consumer group. What is rejected is copied to a topic if one is named.

The group's offsets are committed after the events are. Kafka has no way to leave out a message, so none waits behind a
rejected one: what cannot be accepted is written down before the offset passes it.
"""

from __future__ import annotations

from ssl import SSLContext
from typing import Any

import structlog
from aiokafka import ConsumerRecord
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, Topic
from faststream.kafka.message import KafkaAckableMessage
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

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

GATHER_MILLISECONDS = 100
"""Milliseconds between two looks for messages when there are none. More makes each event later."""

DEFAULT_GROUP = "sendoff"

_log = structlog.get_logger(__name__)

_SASL = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}


class Kafka:
    """Batches are fetched one after the other, from all partitions that the group gives to this process."""

    def __init__(self, source: Source, batches: Batches, limits: Limits) -> None:
        self._source = source
        self._batches = batches
        self._broker = KafkaBroker(
            list(source.servers),
            security=_security(source, limits.ssl_context),
            client_id="sendoff",
            consumer_only=source.dead_letter is None,
            enable_idempotence=source.dead_letter is not None,
            graceful_timeout=limits.grace_seconds,
            logger=LOGGER,
            apply_types=False,
        )
        self._subscriber = self._broker.subscriber(
            Topic(source.place, declare=False),
            batch=True,
            group_id=source.options.get("group", DEFAULT_GROUP),
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_records=limits.batch,
            batch_timeout_ms=GATHER_MILLISECONDS,
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            parser=self._parse,
            decoder=whole_message,
        )
        self._subscriber(self._take)

    async def start(self) -> None:
        await within(CONNECT_SECONDS, self._broker.connect())
        await within(CONNECT_SECONDS, self._broker.start())

    async def stop(self) -> None:
        await self._broker.stop()

    async def check(self) -> bool:
        """Whether the cluster answers and has the topic."""
        consumer = self._subscriber.consumer
        try:
            return consumer is not None and self._source.place in await within(CHECK_SECONDS, consumer.topics())
        except BrokerAway:
            return False

    async def _parse(self, records: tuple[ConsumerRecord[Any, Any], ...], _original: Any) -> KafkaAckableMessage:
        """In place of FastStream's parser, which fails for headers that are not UTF-8."""
        return KafkaAckableMessage(records, b"", consumer=self._subscriber.consumer)

    async def _take(self, message: KafkaAckableMessage) -> None:
        taken: tuple[ConsumerRecord[Any, Any], ...] = message.raw_message
        outcomes = await self._batches.accept([_read(one) for one in taken])
        if outcomes is None:
            return
        try:
            for one, outcome in zip(taken, outcomes, strict=True):
                if outcome.verdict is MessageResult.REJECTED and self._source.dead_letter is not None:
                    await self._copy(one, self._source.dead_letter, outcome)
            await message.ack()
        except Exception as error:  # they come again, or the next batch confirms them
            _log.warning("confirmation_failed", source=self._source.name, error=f"{type(error).__name__}: {error}")

    async def _copy(self, one: ConsumerRecord[Any, Any], topic: str, outcome: Outcome) -> None:
        headers = {name: header_text(value or b"") for name, value in one.headers}
        await self._broker.publish(
            one.value or b"",
            topic,
            key=one.key,
            headers={**headers, REASON_HEADER: outcome.reason or "", SOURCE_HEADER: self._source.name},
        )


def _read(one: ConsumerRecord[Any, Any]) -> Message:
    return Message(
        one.value or b"",
        {name.lower(): header_text(value or b"") for name, value in one.headers},
        # With the time: a topic that is made again begins to count from 0.
        position=f"kafka:{one.topic}:{one.partition}:{one.offset}:{one.timestamp}",
    )


def _security(source: Source, ssl_context: SSLContext | None) -> Any:
    if source.username is None:
        return BaseSecurity(ssl_context)
    kind = _SASL[source.options.get("sasl", "PLAIN")]
    return kind(source.username, source.password or "", ssl_context)
