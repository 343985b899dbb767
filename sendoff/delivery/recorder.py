"""The recorder: writes finished attempts in groups, and does not give up while the database is away."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate

import structlog

from sendoff.context import Context
from sendoff.delivery.pipeline import FinishedAttempt
from sendoff.delivery.record import record
from sendoff.errors import Unavailable

_log = structlog.get_logger(__name__)

RECORD_AT_MOST = 500
"""Successes in one transaction: beyond it nothing is gained, and the locks are held longer."""

FAILURES_AT_MOST = 20
"""Others in one transaction: each needs more than a success does, and hundreds would hold up the event loop."""

RECORD_BYTES_AT_MOST = 1_000_000
"""Of receivers' answers in one transaction: each is in memory several times over while it is written."""

GATHER_SECONDS = 0.02
"""The pause between rounds: what finishes meanwhile shares the next one, and what came to nothing by the hundred leaves
the processor to others in between. Nobody waits for a record but its slot."""

RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0)
"""Waits before trying again to record, the last one over and over."""


class Recorder:
    """Takes finished attempts and calls `recorded` with each group once it is committed (or cannot ever be).

    Plain successes, which are cheap, go first; of all others, a few in each round. An endpoint's attempts are recorded
    in the order they finished, which decides about its health: a success behind a failure waits with it.
    """

    def __init__(self, context: Context, recorded: Callable[[Sequence[FinishedAttempt]], None]) -> None:
        self._context = context
        self._recorded = recorded
        self._successes: list[FinishedAttempt] = []
        self._others: list[FinishedAttempt] = []
        self._endpoints_of_others: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run())

    def add(self, attempt: FinishedAttempt) -> None:
        """Record this one soon, together with whatever finishes meanwhile."""
        endpoint_id = attempt.claim.endpoint.id
        if attempt.is_plain_success and endpoint_id not in self._endpoints_of_others:
            self._successes.append(attempt)
        else:
            self._others.append(attempt)
            self._endpoints_of_others[endpoint_id] += 1
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
        while self._successes or self._others or not self._closing:
            if not (self._successes or self._others):
                self._wake.clear()
                await self._wake.wait()
                continue
            for group in (self._next_successes(), *_with_plain_failures_apart(self._next_others())):
                if group:
                    await self._record(group)
                    self._recorded(group)
            if not self._closing and len(self._successes) < RECORD_AT_MOST:
                await asyncio.sleep(GATHER_SECONDS)

    def _next_successes(self) -> list[FinishedAttempt]:
        group, self._successes = self._successes[:RECORD_AT_MOST], self._successes[RECORD_AT_MOST:]
        return group

    def _next_others(self) -> list[FinishedAttempt]:
        weights = accumulate(attempt.weight for attempt in self._others[:FAILURES_AT_MOST])
        count = max(1, sum(weight <= RECORD_BYTES_AT_MOST for weight in weights))
        group, self._others = self._others[:count], self._others[count:]
        self._endpoints_of_others -= Counter(attempt.claim.endpoint.id for attempt in group)
        return group

    async def _record(self, batch: Sequence[FinishedAttempt]) -> None:
        tried = 0
        while True:
            try:
                return await record(self._context, batch)
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


def _with_plain_failures_apart(
    group: Sequence[FinishedAttempt],
) -> tuple[list[FinishedAttempt], list[FinishedAttempt]]:
    """The plain failures, which are cheap when they are among themselves, and the rest; an endpoint's stay together."""
    mixed = {attempt.claim.endpoint.id for attempt in group if not attempt.is_plain_failure}
    plain = [attempt for attempt in group if attempt.claim.endpoint.id not in mixed]
    return plain, [attempt for attempt in group if attempt.claim.endpoint.id in mixed]
