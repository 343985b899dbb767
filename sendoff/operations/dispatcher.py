"""The dispatcher: one per worker process; takes ids from jobs, makes the attempts, records them in groups.

A job waits here only for capacity, never for a receiver. What makes all of it safe is not in this file: every delivery
in flight is under a lease in SQL, so that a process may die at any moment.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import structlog

from sendoff.errors import Unavailable
from sendoff.operations.deliver import Claim, Claims, FinishedAttempt, claim, claim_held, deliver, release
from sendoff.operations.record import record
from sendoff.operations.runtime import Runtime

_log = structlog.get_logger(__name__)

RECORD_AT_MOST = 500
"""Attempts in one recording transaction: beyond it nothing is gained, and the locks are held longer."""

RECORD_RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0)
"""Waits before trying again to record, the last one over and over."""


class Dispatcher:
    """Makes attempts side by side, at most `WORKER_MAX_IN_FLIGHT`, and `ENDPOINT_MAX_IN_FLIGHT` of one endpoint."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._free = runtime.settings.worker_max_in_flight
        self._cap = runtime.settings.endpoint_max_in_flight
        self._in_flight: Counter[str] = Counter()
        self._with_held: set[str] = set()
        self._under_way: dict[asyncio.Task[None], Claim] = {}
        self._finished: list[FinishedAttempt] = []
        self._something_finished = asyncio.Event()
        self._room = asyncio.Event()
        self._stopping = False
        self._recorder = asyncio.create_task(self._record_all())

    async def submit(self, delivery_ids: Sequence[str]) -> None:
        """Start those of the deliveries that are due; returns when all are started, held or somebody else's.

        Raises errors.Unavailable when the database cannot be reached; nothing is lost by it.
        """
        waiting = list(delivery_ids)
        while waiting and not self._stopping:
            room = await self._reserve(len(waiting))
            batch, waiting = waiting[:room], waiting[room:]
            try:
                claims = await claim(self._runtime, batch, full=self._full_endpoints())
            except BaseException:
                self._give_back(room)
                raise
            await self._start(claims, reserved=room)

    async def drain(self, grace_seconds: float) -> None:
        """Take nothing new, wait for what is under way, at most `grace_seconds`, and release the rest for others."""
        self._stopping = True
        if self._under_way:
            await asyncio.wait(list(self._under_way), timeout=grace_seconds)
        unfinished = dict(self._under_way)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        if unfinished:
            _log.info("released_at_shutdown", deliveries=len(unfinished))
            await release(self._runtime, list(unfinished.values()))
        self._something_finished.set()
        await self._recorder

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way and nothing waits to be recorded."""
        return self._free == self._runtime.settings.worker_max_in_flight

    async def _reserve(self, wanted: int) -> int:
        while self._free <= 0:
            self._room.clear()
            await self._room.wait()
        return self._take(wanted)

    def _take(self, wanted: int) -> int:
        taken = min(wanted, self._free)
        self._free -= taken
        return taken

    def _give_back(self, slots: int) -> None:
        self._free += slots
        self._room.set()

    def _full_endpoints(self) -> list[str]:
        return [endpoint_id for endpoint_id, number in self._in_flight.items() if number >= self._cap]

    async def _start(self, claims: Claims, *, reserved: int) -> None:
        self._with_held |= claims.held_endpoint_ids
        above_cap: list[Claim] = []
        for claimed in claims.to_send:
            endpoint_id = claimed.delivery.endpoint_id
            if self._in_flight[endpoint_id] >= self._cap:
                above_cap.append(claimed)
                continue
            self._in_flight[endpoint_id] += 1
            task = asyncio.create_task(self._attempt(claimed))
            self._under_way[task] = claimed
            task.add_done_callback(self._under_way.pop)
        self._give_back(reserved - (len(claims.to_send) - len(above_cap)))
        if above_cap:
            await self._hold(above_cap)

    async def _hold(self, claims: Sequence[Claim]) -> None:
        self._with_held.update(claimed.delivery.endpoint_id for claimed in claims)
        await release(self._runtime, claims, held=True)

    async def _attempt(self, claimed: Claim) -> None:
        try:
            attempt = await deliver(self._runtime, claimed)
        except Exception:
            # A defect of ours: the lease ends by itself, and until then nobody runs into it again.
            _log.exception("attempt_crashed", delivery=claimed.delivery.id)
            self._free_slots([claimed.delivery.endpoint_id])
        else:
            self._finished.append(attempt)
        self._something_finished.set()

    async def _record_all(self) -> None:
        while not (self._stopping and not self._under_way and not self._finished):
            await self._something_finished.wait()
            self._something_finished.clear()
            while self._finished:
                batch, self._finished = self._finished[:RECORD_AT_MOST], self._finished[RECORD_AT_MOST:]
                await self._record(batch)
                self._free_slots([attempt.claim.delivery.endpoint_id for attempt in batch])
                await self._take_turns(batch)

    async def _record(self, batch: Sequence[FinishedAttempt]) -> None:
        tried = 0
        while True:
            try:
                return await record(self._runtime, batch)
            except Unavailable as error:
                wait = RECORD_RETRY_SECONDS[min(tried, len(RECORD_RETRY_SECONDS) - 1)]
                _log.warning("not_recorded_yet", attempts=len(batch), error=str(error), retry_in=wait)
                await asyncio.sleep(wait)
                tried += 1
            except Exception:
                _log.exception("not_recordable", attempts=len(batch))
                if len(batch) > 1:  # one bad row must not take the others with it
                    for attempt in batch:
                        await self._record([attempt])
                return None

    def _free_slots(self, endpoint_ids: Sequence[str]) -> None:
        for endpoint_id in endpoint_ids:
            self._in_flight[endpoint_id] -= 1
            if not self._in_flight[endpoint_id]:
                del self._in_flight[endpoint_id]
        self._give_back(len(endpoint_ids))

    async def _take_turns(self, batch: Sequence[FinishedAttempt]) -> None:
        """Where a slot of an endpoint with held deliveries is free again, start the oldest of those."""
        for endpoint_id in {attempt.claim.delivery.endpoint_id for attempt in batch} & self._with_held:
            room = self._take(self._cap - self._in_flight[endpoint_id])
            if room <= 0 or self._stopping:
                self._give_back(room)
                continue
            try:
                claims = await claim_held(self._runtime, endpoint_id, limit=room)
            except Unavailable:
                self._give_back(room)  # the sweeper releases what is held when the database is back
                continue
            if len(claims.to_send) < room:
                self._with_held.discard(endpoint_id)
            await self._start(claims, reserved=room)
