"""How statistics are summed: spans of time, bins of milliseconds, and percentiles that are read from them. Pure.

Times are minutes since 1970 in UTC, so that both databases cut them in the same way.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SPANS = (1, 5, 60, 1_440)
"""Minutes that a sum is kept for: a minute, five, an hour, a day. Each divides the next."""

KEPT_MINUTES = {1: 48 * 60, 5: 48 * 60, 60: 90 * 1_440, 1_440: 730 * 1_440}
"""For how long the sums of each span are kept, in minutes. Longer takes more of the database: an endpoint that is busy
all the time has 2,880 sums of a minute in 48 hours, and a few times that if it gets several types of events."""

_HALF_OCTAVES = [bound for power in range(1, 16) for bound in (1 << power, 3 << (power - 1))]
_OCTAVES = [1 << power for power in range(16, 30)]

BOUNDS = (0, 1, *_HALF_OCTAVES, *_OCTAVES)
"""The lower bounds of the bins in milliseconds. Up to a minute a bin is at most half as wide as its lower bound, so a
percentile is off by less than half; beyond, up to a week, by less than the value itself."""

DURATION_BINS = 32
"""Bins of how long attempts took: the last begins at 49 s, and an attempt ends before."""

LONGEST_DURATION = BOUNDS[DURATION_BINS] - 1
"""Milliseconds; longer attempts count for the last bin."""

LATENCY_BINS = len(BOUNDS)
"""Bins of the time from acceptance to delivery: the last begins at six days."""


_SHORT = bytes(bisect_right(BOUNDS, milliseconds) - 1 for milliseconds in range(4_096))


def bin_of(milliseconds: int) -> int:
    """The bin that a time of 0 or more belongs to. Looked up for most: it is asked twice for every attempt."""
    return _SHORT[milliseconds] if milliseconds < len(_SHORT) else bisect_right(BOUNDS, milliseconds) - 1


def percentiles(counts: Sequence[int], total: int, shares: Sequence[float]) -> list[float] | None:
    """The times in milliseconds that these shares of the observations do not exceed; None without any.

    `total` is the sum of the observed times. Within a bin observations are taken to be spread evenly, and those of a
    single bin to be equal.
    """
    below = list(accumulate(counts, initial=0))  # how many observations lie below each bin
    number = below[-1]
    if not number:
        return None
    found: list[float] = []
    for share in shares:
        index = bisect_left(below, share * number) - 1
        inside = counts[index]
        if inside == number:
            return [round(total / number, 1)] * len(shares)
        low = BOUNDS[index]
        high = BOUNDS[index + 1] if index + 1 < len(BOUNDS) else 2 * low
        found.append(round(low + (high - low) * (share * number - below[index]) / inside, 1))
    return found


def minute_of(moment: datetime) -> int:
    """The minute that a moment lies in."""
    return int(moment.timestamp() // 60)


def moment_of(minute: int) -> datetime:
    """When a minute begins."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a range of time: the sums of one span that begin in it, from `start` on and before `end`."""

    span: int
    start: int
    end: int


def pieces_of(start: int, end: int, *, span: int, now: int, longest: int = SPANS[-1]) -> list[Piece]:
    """Cover a range, whose ends are multiples of `span`, by as few sums as possible, none longer than `longest`.

    Long ones lie inside and short ones at the edges. From `now` on there is nothing yet, so a long sum may reach beyond
    the end of a range that ends there.
    """
    if start >= end:
        return []
    longer = next((one for one in SPANS if span < one <= longest), None)
    if longer is None:
        return [Piece(span, start, end)]
    inner_start = -(-start // longer) * longer
    inner_end = -(-end // longer) * longer if end > now else end // longer * longer
    if inner_start >= inner_end:
        return [Piece(span, start, end)]
    before = [Piece(span, start, inner_start)] if start < inner_start else []
    after = [Piece(span, inner_end, end)] if inner_end < end else []
    return [*before, *pieces_of(inner_start, inner_end, span=longer, now=now, longest=longest), *after]
