"""NATS JetStream: a stream, by a durable pull consumer that is made if it does not exist.

What is rejected is ended (`TERM`), and copied to a subject if one is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from ssl import SSLContext
from typing import Any
from urllib.parse import unquote

import structlog
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.nats.message import NatsBatchMessage
from faststream.security import BaseSecurity, SASLPlaintext
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig
from nats.js.errors import NotFoundError

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
    whole_message,
    within,
)
from sendoff.consuming.messages import Message
from sendoff.consuming.source import Source

ACK_WAIT_SECONDS = 30.0
"""Seconds after which a message that was not confirmed comes again, such as one that a killed process had taken. Less
brings messages again that wait for a slow database; more brings those of a killed process later."""

GATHER_SECONDS = 0.1
"""Seconds that a batch is gathered unless it is full before. More makes larger batches, and each event later."""

DEFAULT_CONSUMER = "sendoff"

_log = structlog.get_logger(__name__)


class Nats:
    """Batches are pulled one after the other."""

    def __init__(self, source: Source, batches: Batches, limits: Limits) -> None:
        self._source = source
        self._batches = batches
        self._consumer = source.options.get("consumer", DEFAULT_CONSUMER)
        scheme = "tls" if source.tls else "nats"
        self._broker = NatsBroker(
            [f"{scheme}://{server}" for server in source.servers],
            security=_security(source, limits.ssl_context),
            name="sendoff",
            reconnect_time_wait=1,
            graceful_timeout=limits.grace_seconds,
            logger=LOGGER,
            apply_types=False,
        )
        subscriber = self._broker.subscriber(
            # The consumer exists when FastStream looks for it, so the subject has no meaning.
            source.options.get("subject", ">"),
            stream=JStream(source.place, declare=False),
            durable=self._consumer,
            pull_sub=PullSub(batch_size=limits.batch, timeout=GATHER_SECONDS, batch=True),
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            decoder=whole_message,
        )
        subscriber(self._take)

    async def start(self) -> None:
        await within(CONNECT_SECONDS, self._broker.connect())
        await within(CONNECT_SECONDS, self._make_consumer())
        await within(CONNECT_SECONDS, self._broker.start())

    async def stop(self) -> None:
        await self._broker.stop()

    async def check(self) -> bool:
        """Whether the connection holds and the consumer still exists."""
        try:
            await within(CHECK_SECONDS, self._find_consumer())
        except BrokerAway:
            return False
        return True

    async def _stream(self) -> JetStreamContext:
        return (await self._broker.connect()).jetstream(timeout=CHECK_SECONDS)

    async def _find_consumer(self) -> None:
        await (await self._stream()).consumer_info(self._source.place, self._consumer)

    async def _make_consumer(self) -> None:
        """Make the durable consumer. One that exists stays as it is, so that operators can configure it."""
        stream = await self._stream()
        try:
            await stream.consumer_info(self._source.place, self._consumer)
        except NotFoundError:
            config = ConsumerConfig(
                durable_name=self._consumer,
                ack_wait=ACK_WAIT_SECONDS,
                filter_subject=self._source.options.get("subject"),
            )
            await stream.add_consumer(self._source.place, config)

    async def _take(self, message: NatsBatchMessage) -> None:
        taken = message.raw_message
        outcomes = await self._batches.accept([_read(one) for one in taken], keep=message.in_progress)
        if outcomes is None:
            return
        try:
            for one, outcome in zip(taken, outcomes, strict=True):
                await self._confirm(one, outcome)
        except Exception as error:  # they come again, and are duplicates then
            _log.warning("confirmation_failed", source=self._source.name, error=f"{type(error).__name__}: {error}")

    async def _confirm(self, one: Msg, outcome: Outcome) -> None:
        if outcome.verdict is not MessageResult.REJECTED:
            await one.ack()
            return
        if self._source.dead_letter is not None:
            more = {REASON_HEADER: (outcome.reason or "").replace("\n", " "), SOURCE_HEADER: self._source.name}
            await (await self._stream()).publish(
                self._source.dead_letter, one.data, headers={**(one.headers or {}), **more}
            )
        await one.term()


def _read(one: Msg) -> Message:
    headers = _headers(one.headers or {})
    kept = one.metadata
    return Message(
        one.data,
        headers,
        id=headers.get("nats-msg-id"),
        # With the time: a stream that is made again begins to count from 1.
        position=f"nats:{kept.stream}:{kept.sequence.stream}:{kept.timestamp.timestamp():.6f}",
        is_redelivered=(kept.num_delivered or 1) > 1,
    )


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    """The headers; attributes of CloudEvents are percent-encoded, as over HTTP."""
    lower = {name.lower(): value for name, value in given.items()}
    return {name: unquote(value) if name.startswith("ce-") else value for name, value in lower.items()}


def _security(source: Source, ssl_context: SSLContext | None) -> Any:
    if source.username is None:
        return BaseSecurity(ssl_context)
    return SASLPlaintext(source.username, source.password or "", ssl_context)
