"""Counting for the statistics: in memory as things happen, written every few seconds.

A process that is killed loses what it has counted since it last wrote, at most FLUSH_SECONDS, and no delivery.
"""

from __future__ import annotations

import asyncio
from itertools import compress
from typing import TYPE_CHECKING, Any

import structlog

from sendoff.policy.states import DeliveryState
from sendoff.policy.statistics import DURATION_BINS, LONGEST_DURATION, bin_of, minute_of
from sendoff.store.queries.installation import statistics
from sendoff.store.tables.statistics import MEASURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sendoff.context import Context
    from sendoff.store.queries.traffic.dead_letters import InsertedLetter
    from sendoff.store.queries.traffic.deliveries import NewDelivery

_log = structlog.get_logger(__name__)

FLUSH_SECONDS = 10.0
"""Seconds between writes. A process that is killed loses the statistics of this time; shorter, and there are more rows
for the same counts, each of which is written, read and removed again."""

MOST_ROWS = 50_000
"""Rows that wait in memory while the database is away, each of one minute, endpoint, event type and outcome: about
50 MB. Beyond this nothing new is counted."""

_ROWS_AT_ONCE = 1_000

_ACCEPTED, _ATTEMPTS, _FAILED, _RETRIES, _DELIVERED, _DEAD, _DURATION, _LATENCY = range(8)
_DURATION_BINS = 8
_LATENCY_BINS = _DURATION_BINS + DURATION_BINS
_EMPTY = (0,) * len(MEASURES)

Key = tuple[int, str, str | None, str, str]
"""The minute, the organization, the endpoint, the event type and the outcome."""


class Statistics:
    """What this process has counted and not written yet."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rows: dict[Key, list[int]] = {}
        self._dropped = 0

    @classmethod
    def of(cls, context: Context) -> Statistics:
        """The process's own."""
        return context.service(cls)

    def count_attempt(
        self,
        key: Key,
        *,
        milliseconds: int,
        is_retry: bool,
        becomes: DeliveryState,
        latency: float | None,
    ) -> None:
        """Count an attempt that was recorded.

        `latency`: seconds from acceptance to delivery; None without a delivery, and for a replay, of which it would
        tell when somebody replayed.
        """
        row = self._row(key)
        row[_ATTEMPTS] += 1
        row[_DURATION] += milliseconds
        row[_DURATION_BINS + bin_of(min(milliseconds, LONGEST_DURATION))] += 1
        row[_RETRIES] += is_retry
        if becomes is DeliveryState.DELIVERED:
            row[_DELIVERED] += 1
        else:
            row[_FAILED] += 1
            row[_DEAD] += becomes is DeliveryState.DEAD
        if latency is not None:
            waited = int(latency * 1000)
            row[_LATENCY] += waited
            row[_LATENCY_BINS + bin_of(waited)] += 1

    def count_accepted(
        self, organization_id: str, event_type: str, deliveries: Sequence[NewDelivery], *, now: datetime
    ) -> None:
        """Count an event that was accepted with these deliveries."""
        minute = minute_of(now)
        self._row((minute, organization_id, None, event_type, ""))[_ACCEPTED] += 1
        for delivery in deliveries:
            self._row((minute, organization_id, delivery.endpoint_id, event_type, ""))[_ACCEPTED] += 1
            if (outcome := delivery.dead_letter_reason) is not None:
                self._row((minute, organization_id, delivery.endpoint_id, event_type, outcome))[_DEAD] += 1

    def count_dead(self, letters: Iterable[InsertedLetter], *, now: datetime) -> None:
        """Count deliveries that were dead-lettered without an attempt; their outcome is the reason."""
        minute = minute_of(now)
        for letter in letters:
            self._row((minute, letter.organization_id, letter.endpoint_id, letter.event_type, letter.reason))[
                _DEAD
            ] += 1

    async def flush(self) -> None:
        """Write what was counted. Raises errors.Unavailable, and keeps it, when the database cannot be reached."""
        while self._rows:
            taken = dict(list(self._rows.items())[:_ROWS_AT_ONCE])
            self._rows = dict(list(self._rows.items())[_ROWS_AT_ONCE:])
            try:
                async with self._context.database.write() as tx:
                    await statistics.insert(tx, map(_increment, taken.items()))
            except BaseException:
                self._keep(taken)
                raise
        if self._dropped:
            _log.warning("statistics_dropped", counted=self._dropped)
            self._dropped = 0

    async def flush_regularly(self) -> None:
        """Write every FLUSH_SECONDS until cancelled, through times without a database."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except Exception as error:
                _log.warning("statistics_not_written", error=str(error))

    async def aclose(self) -> None:
        """Write what is left."""
        try:
            await self.flush()
        except Exception as error:
            _log.warning("statistics_not_written", error=str(error))

    def _row(self, key: Key) -> list[int]:
        return self._rows.get(key) or self._new_row(key)

    def _new_row(self, key: Key) -> list[int]:
        row = list(_EMPTY)
        if len(self._rows) < MOST_ROWS:
            self._rows[key] = row
        else:
            self._dropped += 1
        return row

    def _keep(self, rows: Mapping[Key, list[int]]) -> None:
        """Take back rows that could not be written; what was counted meanwhile is added."""
        for key, row in rows.items():
            newer = self._rows.get(key)
            self._rows[key] = row if newer is None else [old + new for old, new in zip(row, newer, strict=True)]


def _increment(counted: tuple[Key, Sequence[int]]) -> dict[str, Any]:
    (minute, organization_id, endpoint_id, event_type, outcome), values = counted
    return {
        "minute": minute,
        "organization_id": organization_id,
        "endpoint_id": endpoint_id,
        "event_type": event_type,
        "outcome": outcome,
        **dict(zip(compress(MEASURES, values), filter(None, values), strict=True)),
    }
