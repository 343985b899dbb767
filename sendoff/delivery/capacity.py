"""The capacity of a worker: free slots, claims that slots are reserved for, and prefetched deliveries."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable

from sendoff.delivery.admission import AdmissionControl
from sendoff.delivery.pipeline import Claim

_RECHECK_SECONDS = 0.2  # attempts that become slow give their slots back without an event


class PrefetchBuffer:
    """Claimed deliveries that wait in memory until their endpoint has capacity, oldest first. Times are monotonic."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[tuple[float, Claim]]] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many deliveries are prefetched for all endpoints together."""
        return self._count

    def length(self, endpoint_id: str) -> int:
        """How many deliveries are prefetched for this endpoint."""
        return len(self._queues.get(endpoint_id, ()))

    def push(self, claimed: Claim, now: float) -> None:
        """Append a delivery to its endpoint's queue."""
        self._queues.setdefault(claimed.endpoint.id, deque()).append((now, claimed))
        self._count += 1

    def pop(self, endpoint_id: str) -> Claim | None:
        """Take the endpoint's oldest delivery; None when none is prefetched."""
        queue = self._queues.get(endpoint_id)
        if not queue:
            return None
        _, claimed = queue.popleft()
        self._count -= 1
        if not queue:
            del self._queues[endpoint_id]
        return claimed

    def evict(self, *, pushed_before: float) -> list[Claim]:
        """Take out the deliveries that have waited since before that time."""
        evicted: list[Claim] = []
        for endpoint_id in list(self._queues):
            queue = self._queues[endpoint_id]
            while queue and queue[0][0] < pushed_before:
                evicted.append(queue.popleft()[1])
            if not queue:
                del self._queues[endpoint_id]
        self._count -= len(evicted)
        return evicted


class Slots:
    """The slots that admission has free, less those that are reserved. `now` is the admission's clock.

    A slot is free again once its attempt is recorded: otherwise a slow database would have ever more to record.
    """

    def __init__(self, admission: AdmissionControl, prefetched: PrefetchBuffer, now: Callable[[], float]) -> None:
        self._admission = admission
        self._prefetched = prefetched
        self._now = now
        self._reserved = 0
        self._freed = asyncio.Event()
        self._closed = False
        self.awaiting_record = 0
        """Successes that are not recorded yet, whose endpoint has its capacity back already."""

    @property
    def is_reserved(self) -> bool:
        """Whether a claim is under way that slots are reserved for."""
        return self._reserved > 0

    def free(self) -> int:
        """How many attempts can start now."""
        free = self._admission.free_slots(self._now()) - self.awaiting_record - len(self._prefetched) - self._reserved
        return max(0, free)

    async def acquire(self) -> int:
        """Wait until a slot is free; return how many are, 0 only after `close`."""
        while not self._closed and not self.free():
            self._freed.clear()
            await wait_for(self._freed, seconds=_RECHECK_SECONDS)
        return self.free()

    def reserve(self, count: int) -> None:
        """Keep slots for a claim."""
        self._reserved += count

    def release(self, reserved: int) -> None:
        """The claim is done: its deliveries have started, are prefetched or were requeued."""
        self._reserved -= reserved
        self._freed.set()

    def notify(self) -> None:
        """An attempt was recorded or came to nothing."""
        self._freed.set()

    def close(self) -> None:
        """Wake everyone who waits for a slot."""
        self._closed = True
        self._freed.set()


@contextlib.asynccontextmanager
async def at_most(seconds: float) -> AsyncIterator[None]:
    """End the block after this time, without an error."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            yield


async def wait_for(event: asyncio.Event, *, seconds: float) -> None:
    """Wait for the event, at most this long."""
    async with at_most(seconds):
        await event.wait()
