"""The recorder: writes finished attempts in groups, and does not give up while the database is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import accumulate

import structlog

from sendoff.errors import Unavailable
from sendoff.operations.deliver import FinishedAttempt
from sendoff.operations.record import is_plain_success, record
from sendoff.operations.runtime import Runtime

_log = structlog.get_logger(__name__)

RECORD_AT_MOST = 500
"""Attempts in one transaction: beyond it nothing is gained, and the locks are held longer."""

RECORD_BYTES_AT_MOST = 1_000_000
"""Of receivers' answers in one transaction: each is in memory several times over while it is written."""

GATHER_SECONDS = 0.02
"""The pause after a record: what finishes meanwhile shares the next one. Nobody waits for a record but its slot."""

RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0)
"""Waits before trying again to record, the last one over and over."""


class Recorder:
    """Takes finished attempts and calls `recorded` with each group once it is committed (or cannot ever be)."""

    def __init__(self, runtime: Runtime, recorded: Callable[[Sequence[FinishedAttempt]], None]) -> None:
        self._runtime = runtime
        self._recorded = recorded
        self._finished: list[FinishedAttempt] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run())

    def add(self, attempt: FinishedAttempt) -> None:
        """Record this one soon, together with whatever finishes meanwhile."""
        self._finished.append(attempt)
        self._wake.set()

    async def close(self, *, within: float) -> None:
        """Record what is left and stop; what cannot be recorded within so many seconds is sent again by others."""
        self._closing = True
        self._wake.set()
        _, unfinished = await asyncio.wait({self._task}, timeout=within)
        if unfinished:
            _log.error("never_recorded", attempts="those under way at the end")
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._finished or not self._closing:
            if not self._finished:
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = self._next_batch()
            for part in _parts(batch):
                await self._record(part)
                self._recorded(part)
            if not self._closing and len(batch) < RECORD_AT_MOST:
                await asyncio.sleep(GATHER_SECONDS)

    def _next_batch(self) -> list[FinishedAttempt]:
        weights = accumulate(attempt.weight for attempt in self._finished[:RECORD_AT_MOST])
        count = max(1, sum(weight <= RECORD_BYTES_AT_MOST for weight in weights))
        batch, self._finished = self._finished[:count], self._finished[count:]
        return batch

    async def _record(self, batch: Sequence[FinishedAttempt]) -> None:
        tried = 0
        while True:
            try:
                return await record(self._runtime, batch)
            except Unavailable as error:
                wait = RETRY_SECONDS[min(tried, len(RETRY_SECONDS) - 1)]
                _log.warning("not_recorded_yet", attempts=len(batch), error=str(error), retry_in=wait)
                await asyncio.sleep(wait)
                tried += 1
            except Exception:
                _log.exception("not_recordable", attempts=len(batch))
                if len(batch) > 1:  # one bad row must not take the others with it
                    for attempt in batch:
                        await self._record([attempt])
                return None


def _parts(batch: Sequence[FinishedAttempt]) -> list[list[FinishedAttempt]]:
    """The plain successes, which are cheap to record together, and the rest.

    An endpoint that fared otherwise, too, has all of its attempts in the rest: their order decides about its health.
    """
    others = {attempt.claim.endpoint.id for attempt in batch if not is_plain_success(attempt)}
    plain = [attempt for attempt in batch if attempt.claim.endpoint.id not in others]
    rest = [attempt for attempt in batch if attempt.claim.endpoint.id in others]
    return [part for part in (plain, rest) if part]
