"""The recorder: writes finished attempts in groups, and keeps trying while the database cannot be reached."""

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

SUCCESSES_AT_MOST = 500
"""Successes in one transaction. More gain nothing and hold the locks longer."""

FAILURES_AT_MOST = 20
"""Other attempts in one transaction. Each needs more work than a success, and hundreds would block the event loop."""

RECORD_BYTES_AT_MOST = 1_000_000
"""Bytes of receivers' answers in one transaction. Each byte is in memory several times while it is written."""

GATHER_SECONDS, GATHER_FEW_SECONDS = 0.02, 0.05
"""Seconds between rounds, and after a round of at most FEW: attempts that finish meanwhile share the next one. Longer,
and slots are freed later, and a process that is killed has more that is sent again."""

FEW = 20

RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0)
"""Seconds before each further try to record; the last wait repeats."""


class Recorder:
    """Takes finished attempts and calls `recorded` with each group once it is committed (or cannot ever be).

    Plain successes, which are cheap, go first; of all other attempts, a few are recorded in each round. An endpoint's
    attempts are recorded in the order they finished, which its health depends on: a success waits for the failures of
    its endpoint that finished before it.
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
        """Record the attempt soon, together with others that finish meanwhile."""
        endpoint_id = attempt.claim.endpoint.id
        if attempt.is_plain_success and endpoint_id not in self._endpoints_of_others:
            self._successes.append(attempt)
        else:
            self._others.append(attempt)
            self._endpoints_of_others[endpoint_id] += 1
        self._wake.set()

    async def close(self, *, within: float) -> None:
        """Record what is left and stop. Attempts that are not recorded within this time are made again."""
        self._closing = True
        self._wake.set()
        _, unfinished = await asyncio.wait({self._task}, timeout=within)
        if unfinished:
            _log.error("attempts_not_recorded", attempts=len(self._successes) + len(self._others))
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._successes or self._others or not self._closing:
            if not (self._successes or self._others):
                self._wake.clear()
                await self._wake.wait()
                continue
            count = 0
            for group in (self._next_successes(), self._next_others()):
                if group:
                    await self._record(group)
                    self._recorded(group)
                    count += len(group)
            if not self._closing and len(self._successes) < SUCCESSES_AT_MOST:
                await asyncio.sleep(GATHER_FEW_SECONDS if count <= FEW else GATHER_SECONDS)

    def _next_successes(self) -> list[FinishedAttempt]:
        group, self._successes = self._successes[:SUCCESSES_AT_MOST], self._successes[SUCCESSES_AT_MOST:]
        return group

    def _next_others(self) -> list[FinishedAttempt]:
        weights = accumulate(attempt.weight for attempt in self._others[:FAILURES_AT_MOST])
        count = max(1, sum(weight <= RECORD_BYTES_AT_MOST for weight in weights))
        group, self._others = self._others[:count], self._others[count:]
        self._endpoints_of_others -= Counter(attempt.claim.endpoint.id for attempt in group)
        return group

    async def _record(self, batch: Sequence[FinishedAttempt]) -> None:
        tries = 0
        while True:
            try:
                return await record(self._context, batch)
            except Unavailable as error:
                wait = RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)]
                _log.warning("record_delayed", attempts=len(batch), error=str(error), retry_in=wait)
                await asyncio.sleep(wait)
                tries += 1
            except Exception:
                _log.exception("record_failed", attempts=len(batch))
                if len(batch) > 1:  # one row that cannot be written must not take the others with it
                    for attempt in batch:
                        await self._record([attempt])
                return None
