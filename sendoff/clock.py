"""The only module that reads the time, so that tests can own it; and how times and durations are written."""

from __future__ import annotations

import random
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1, None: 1, "m": 60, "h": 3600, "d": 86400}


class Clock(Protocol):
    """What the product asks of a clock."""

    def now(self) -> datetime:
        """The time that all processes of an installation agree on, in UTC, with microseconds; for what is stored."""

    def machine_now(self) -> datetime:
        """The time by this machine's own clock; for what others judge by theirs: signatures and access tokens."""

    def monotonic(self) -> float:
        """Seconds on a clock that is never stepped; for durations and deadlines."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def machine_now(self) -> datetime:
        return self.now()

    def monotonic(self) -> float:
        return time.monotonic()


class SharedClock:
    """The database's time: processes on hosts whose clocks differ agree on leases and due times.

    It goes on by the monotonic clock from the last answer that `set` was given, so that a step of the machine's clock
    does not show. Before the first, it is the machine's time.
    """

    def __init__(self, machine: Clock) -> None:
        self._machine = machine
        self._origin: datetime | None = None

    def now(self) -> datetime:
        if self._origin is None:
            return self._machine.now()
        return self._origin + timedelta(seconds=self._machine.monotonic())

    def machine_now(self) -> datetime:
        return self._machine.machine_now()

    def monotonic(self) -> float:
        return self._machine.monotonic()

    def set(self, shared_now: datetime, *, asked_at: float) -> None:
        """Go by `shared_now`, the answer to a question that was asked at `asked_at` on the monotonic clock.

        Half of what the answer took is taken for its way back, so the error is at most that half.
        """
        self._origin = shared_now - timedelta(seconds=(asked_at + self.monotonic()) / 2)

    @property
    def machine_is_ahead(self) -> float:
        """Seconds by which the machine's clock is ahead of this one; negative when it is behind."""
        return (self.machine_now() - self.now()).total_seconds()


class FakeClock:
    """A clock that a test moves by hand."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._monotonic = 0.0

    def now(self) -> datetime:
        return self._now

    def machine_now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


_WAKE_UP_OFFSETS = 60.0
"""Seconds over which processes spread their wake-ups: the longest interval at which many loops work. Shorter, and what
is done every minute, such as purging, bunches within that time of the minute."""

_wake_up_offset = 0.0


def choose_wake_up_times() -> None:
    """Let this process wake up at other times than the others of its host, whose event loops have the same clock.

    Called once, when a process starts; without it, as in tests, loops wake up at whole multiples of their interval.
    """
    global _wake_up_offset  # noqa: PLW0603 - of the process, as its clock is
    _wake_up_offset = random.random() * _WAKE_UP_OFFSETS  # noqa: S311 - no secret


def seconds_to_next(every: float, now: float) -> float:
    """Seconds to sleep until a time that all loops with this interval share, by the event loop's time `now`.

    So a process that has nothing to do wakes up once for all of them. Between half the interval and one and a half.
    """
    left = every - (now - _wake_up_offset) % every
    return left if left >= every / 2 else left + every


def iso(moment: datetime) -> str:
    """`2026-04-24T12:34:56.789+00:00`: the contracts' spelling of a time, UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def parse_duration(text: str) -> float:
    """The seconds that `text` means: `90`, `90s`, `5m`, `2h`, `30d`. Raises ValueError, with a sentence."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"invalid duration {text!r}; use for example 90s, 5m or 2h")
    return float(match["number"]) * _SECONDS[match["unit"]]
