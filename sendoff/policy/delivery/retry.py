"""When a delivery is attempted again. Nothing here sleeps or schedules: it answers with a decision."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from sendoff.clock import parse_duration
from sendoff.policy.states import DeadLetterReason

RandomSource = Callable[[], float]
"""Returns a number with 0 <= n < 1, as `random.random` does."""

JITTER = 0.1
"""A wait is lengthened by up to this share of itself: what failed together need not return together."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again, not before `at`."""

    at: datetime
    detail: str


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """Make no further attempt: the delivery becomes a dead letter."""

    reason: DeadLetterReason
    detail: str


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """The waits between attempts, in seconds; one attempt more than there are waits.

    Raises ValueError for a wait that is negative or no number.
    """

    waits: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(math.isfinite(wait) and wait >= 0 for wait in self.waits):
            raise ValueError(f"waits must be seconds of 0 or more, not {self.waits}")

    @property
    def max_attempts(self) -> int:
        """How often a delivery is attempted before it is given up."""
        return len(self.waits) + 1

    @property
    def duration(self) -> float:
        """How long a delivery is tried for, in seconds, when every attempt fails at once."""
        return sum(self.waits)

    @property
    def longest_wait(self) -> float:
        """The most that a receiver's `Retry-After` is followed, in seconds."""
        return max(self.waits, default=0.0)

    def next_step(
        self,
        attempt_number: int,
        *,
        detail: str,
        retry_after: float | None,
        now: datetime,
        random_source: RandomSource,
    ) -> Retry | DeadLettered:
        """The next step after attempt `attempt_number` (1 for the first) failed at `now`.

        Never sooner than the schedule's wait, nor than `retry_after` seconds as long as that is within the
        schedule's longest wait; later than that by at most JITTER. Attempts beyond the schedule (of a replay,
        or after the schedule was shortened) are not followed by another.
        """
        if attempt_number >= self.max_attempts:
            return DeadLettered(
                DeadLetterReason.RETRIES_EXHAUSTED, f"Given up after attempt {attempt_number}. {detail}"
            )
        asked = min(retry_after or 0.0, self.longest_wait)
        wait = max(self.waits[attempt_number - 1], asked)
        return Retry(at=jittered(now, wait, random_source), detail=detail)


@lru_cache(maxsize=10_000)
def parse_schedule(waits: tuple[str, ...]) -> RetrySchedule:
    """The schedule of waits such as `30s`, which an endpoint has of its own. Raises ValueError for other text."""
    return RetrySchedule(tuple(map(parse_duration, waits)))


def jittered(now: datetime, wait: float, random_source: RandomSource) -> datetime:
    """`now` plus `wait` seconds, or up to JITTER of `wait` later."""
    return now + timedelta(seconds=wait * (1 + JITTER * random_source()))
