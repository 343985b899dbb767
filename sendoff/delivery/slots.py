"""The slots of a worker: how many attempts can start at a moment, what is reserved for claims, and waiting for one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sendoff.delivery.admission import AdmissionControl
from sendoff.delivery.prefetch import PrefetchBuffer
from sendoff.delivery.waiting import wait_for

_LOOK_AGAIN_SECONDS = 0.2  # attempts that go into overtime give their slots back without an event


class Slots:
    """What the admission has, less what is spoken for. `now` is the admission's clock.

    A slot is free again when its attempt is recorded: otherwise a slow database would have ever more to record.
    """

    def __init__(self, admission: AdmissionControl, lines: PrefetchBuffer, now: Callable[[], float]) -> None:
        self._admission = admission
        self._lines = lines
        self._now = now
        self._reserved = 0
        self._freed = asyncio.Event()
        self._closed = False
        self.awaiting_record = 0
        """Successes that are not recorded yet, whose endpoint has its room back already."""

    @property
    def is_reserved(self) -> bool:
        """Whether a claim is under way that slots are kept for."""
        return self._reserved > 0

    def free(self) -> int:
        """How many attempts can start at this moment; not below 0."""
        free = self._admission.free_slots(self._now()) - self.awaiting_record - len(self._lines) - self._reserved
        return max(0, free)

    async def acquire(self) -> int:
        """Wait until there is one; how many there are, 0 only when all is over."""
        while not self._closed and not self.free():
            self._freed.clear()
            await wait_for(self._freed, seconds=_LOOK_AGAIN_SECONDS)
        return self.free()

    def reserve(self, count: int) -> None:
        """Keep so many for a claim."""
        self._reserved += count

    def release(self, reserved: int) -> None:
        """The claim is done: what came of it has started, or was put off."""
        self._reserved -= reserved
        self._freed.set()

    def notify(self) -> None:
        """Something was recorded or came to nothing."""
        self._freed.set()

    def close(self) -> None:
        """Let go of whoever waits."""
        self._closed = True
        self._freed.set()
