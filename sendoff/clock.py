"""The only module that reads the time, so that tests can own it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What the product asks of a clock."""

    def now(self) -> datetime:
        """The time, in UTC, with microseconds."""

    def monotonic(self) -> float:
        """Seconds on a clock that is never stepped; for durations and deadlines."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class FakeClock:
    """A clock that a test moves by hand."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._monotonic = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


def iso(moment: datetime) -> str:
    """`2026-04-24T12:34:56.789+00:00`: the contracts' spelling of a time, UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
