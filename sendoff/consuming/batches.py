"""Batches of messages are accepted, however long the database is away, and counted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import structlog

from sendoff.consuming.acceptance import MessageOwner, MessageResult, Outcome, accept_messages, keep_rejected
from sendoff.consuming.messages import Message
from sendoff.consuming.source import Source
from sendoff.context import Context
from sendoff.errors import Unavailable
from sendoff.observability.metrics import CONSUME_SECONDS, MESSAGES_CONSUMED
from sendoff.processes.health import ProcessHealth

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 10.0
"""Seconds before a batch is tried again while the database is away; each wait is twice the one before. Meanwhile
nothing more is taken from the broker."""

_DEFECT = "A defect of this version kept the message from being accepted; the log of `sendoff consume` has its trace."

_log = structlog.get_logger(__name__)


class Batches:
    """What the brokers' modules hand messages to."""

    def __init__(
        self, context: Context, source: Source, owner: MessageOwner, stopping: asyncio.Event, health: ProcessHealth
    ) -> None:
        self._context = context
        self._source = source
        self._owner = owner
        self._stopping = stopping
        self._health = health

    async def accept(
        self, messages: Sequence[Message], *, keep: Callable[[], Awaitable[None]] | None = None
    ) -> list[Outcome] | None:
        """What became of each message, once that is committed: only then may they be confirmed to the broker.

        None if the process stops while the database is away: the broker delivers them again. `keep` asks the broker,
        before each further try, not to deliver them elsewhere.
        """
        started = time.perf_counter()
        wait = FIRST_WAIT_SECONDS
        while True:
            try:
                outcomes = await self._accept_or_divide(messages)
            except Exception as error:
                await self._postpone(messages, error, wait)
                if self._stopping.is_set():
                    return None
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)
                messages = _perhaps_accepted(messages)
                if keep is not None:
                    with suppress(Exception):  # the broker may be away as well
                        await keep()
            else:
                self._health.set_failing("database", None)
                CONSUME_SECONDS.observe(time.perf_counter() - started)
                self._note(messages, outcomes)
                return outcomes

    async def _postpone(self, messages: Sequence[Message], error: Exception, wait: float) -> None:
        """Say why the messages cannot be accepted now, and wait, but not when the process is to stop."""
        reason = error.message if isinstance(error, Unavailable) else f"{type(error).__name__}: {error}"
        self._health.set_failing("database", reason)
        _log.warning("messages_postponed", messages=len(messages), error=reason, retry_in=wait)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), wait)

    async def _accept_or_divide(self, messages: Sequence[Message]) -> list[Outcome]:
        """Accept them together, or one by one when a defect fails the batch: it must not block the others."""
        try:
            return await accept_messages(self._context, self._source, self._owner, messages)
        except Unavailable:
            raise
        except Exception:
            if len(messages) == 1:
                _log.exception("message_failed", source=self._source.name, message_id=messages[0].id)
                await keep_rejected(self._context, self._source, [(messages[0], _DEFECT)])
                return [Outcome(MessageResult.REJECTED, _DEFECT)]
        again = _perhaps_accepted(messages)
        return [outcome for message in again for outcome in await self._accept_or_divide([message])]

    def _note(self, messages: Sequence[Message], outcomes: Sequence[Outcome]) -> None:
        for verdict, count in Counter(outcome.verdict for outcome in outcomes).items():
            MESSAGES_CONSUMED.labels(verdict).inc(count)
        for message, outcome in zip(messages, outcomes, strict=True):
            if outcome.verdict is MessageResult.REJECTED:
                _log.warning(
                    "message_rejected",
                    source=self._source.name,
                    message_id=message.id or message.position,
                    because=outcome.reason,
                )


def _perhaps_accepted(messages: Sequence[Message]) -> list[Message]:
    """The messages for a further try: the one before may have been committed, though nobody heard of it."""
    return [replace(message, is_redelivered=True) for message in messages]
