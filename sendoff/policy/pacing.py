"""Pacing: how much of a worker one endpoint may take, so that it can only hurt itself. Counts; never sleeps or sends.

A worker has slots for attempts under way. An attempt that takes longer than OVERTIME_AFTER_SECONDS gives its slot back
and counts as overtime instead: however many receivers hang, those that answer promptly find slots. Overtime is bounded,
too, but its bound stops only endpoints that are in overtime themselves.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

OVERTIME_AFTER_SECONDS = 2.0
"""Most receivers answer within tenths of a second; whoever needs longer waits among their like."""

_BURST_SECONDS = 0.1  # a rate is kept over every window that is not much shorter than this


@dataclass(slots=True)
class TokenBucket:
    """Tokens that come at `rate` per second, at most a short burst of them at once."""

    rate: float
    tokens: float
    filled_at: float

    @property
    def depth(self) -> float:
        return max(1.0, self.rate * _BURST_SECONDS)

    def fill(self, now: float) -> None:
        """Add what came since the last time."""
        self.tokens = min(self.depth, self.tokens + max(0.0, now - self.filled_at) * self.rate)
        self.filled_at = now

    def seconds_to_next(self) -> float:
        """How long until there is a whole token."""
        return max(0.0, (1.0 - self.tokens) / self.rate)


@dataclass(slots=True)
class _Lane:
    in_flight: int = 0
    overtime: int = 0
    bucket: TokenBucket | None = None
    rate_limit: float | None = None


class Pacer:
    """The slots of one worker process and who takes them. `now` is monotonic seconds everywhere.

    An endpoint's cap and rate hold over all workers: each takes the share that `set_workers` gives it.
    """

    def __init__(self, *, slots: int, endpoint_cap: int) -> None:
        self._slots = slots
        self._endpoint_cap = endpoint_cap
        self._workers = 1
        self._lanes: dict[str, _Lane] = {}
        self._prompt: dict[Hashable, tuple[str, float]] = {}  # by start, oldest first
        self._overtime: dict[Hashable, str] = {}

    def set_workers(self, count: int) -> None:
        """How many worker processes share the endpoints' caps and rates."""
        if count == self._workers or count < 1:
            return
        self._workers = count
        for lane in self._lanes.values():
            if lane.bucket is not None and lane.rate_limit is not None:
                lane.bucket.rate = lane.rate_limit / count

    def set_rate_limit(self, endpoint_id: str, rate_limit: float | None, now: float) -> None:
        """The endpoint's own limit, in deliveries per second; None for none."""
        lane = self._lanes.get(endpoint_id)
        if rate_limit == (lane.rate_limit if lane else None):
            return
        lane = self._lanes.setdefault(endpoint_id, _Lane())
        lane.rate_limit = rate_limit
        lane.bucket = None if rate_limit is None else TokenBucket(rate_limit / self._workers, 1.0, now)

    def free_slots(self, now: float) -> int:
        """How many attempts can start at this moment, whoever they are for."""
        self._move_to_overtime(now)
        return self._slots - len(self._prompt)

    def room_for(self, endpoint_id: str, now: float) -> int:
        """How many attempts of this endpoint can start at this moment, slots aside."""
        lane = self._lanes.get(endpoint_id)
        cap = max(1, self._endpoint_cap // self._workers)
        if lane is None:
            return cap
        if lane.overtime and len(self._overtime) >= self._slots:
            return 0
        room = cap - lane.in_flight
        if lane.bucket is not None:
            lane.bucket.fill(now)
            room = min(room, int(lane.bucket.tokens))
        return max(0, room)

    def full_endpoints(self, now: float) -> list[str]:
        """The endpoints of which nothing can start at this moment."""
        self._move_to_overtime(now)
        return [endpoint_id for endpoint_id in self._lanes if self.room_for(endpoint_id, now) == 0]

    def start(self, key: Hashable, endpoint_id: str, now: float) -> None:
        """An attempt, known by `key` until it finishes, begins."""
        lane = self._lanes.setdefault(endpoint_id, _Lane())
        lane.in_flight += 1
        if lane.bucket is not None:
            lane.bucket.tokens -= 1
        self._prompt[key] = (endpoint_id, now)

    def finish(self, key: Hashable) -> None:
        """The attempt is over and recorded."""
        started = self._prompt.pop(key, None)
        endpoint_id = started[0] if started else self._overtime.pop(key)
        lane = self._lanes[endpoint_id]
        lane.in_flight -= 1
        lane.overtime -= started is None
        if not lane.in_flight and lane.bucket is None:
            del self._lanes[endpoint_id]

    def seconds_to_token(self, endpoint_id: str) -> float | None:
        """How long until the endpoint's rate allows another attempt; None when it has no limit."""
        lane = self._lanes.get(endpoint_id)
        return lane.bucket.seconds_to_next() if lane is not None and lane.bucket is not None else None

    def _move_to_overtime(self, now: float) -> None:
        while self._prompt:
            key = next(iter(self._prompt))
            endpoint_id, started = self._prompt[key]
            if now - started < OVERTIME_AFTER_SECONDS:
                return
            del self._prompt[key]
            self._overtime[key] = endpoint_id
            self._lanes[endpoint_id].overtime += 1
