"""Spans, bins and percentiles of statistics."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.policy.statistics import BOUNDS, SPANS, bin_of, minute_of, moment_of, percentiles, pieces_of


@given(st.integers(0, 3 * 1_440), st.integers(1, 3 * 1_440), st.sampled_from(SPANS), st.integers(0, 8 * 1_440))
def test_pieces_cover_a_range_once(start: int, length: int, span: int, now: int) -> None:
    start, end = start // span * span, (start + length + span) // span * span
    covered = [
        minute
        for piece in pieces_of(start, end, span=span, now=now)
        for first in range(piece.start, piece.end, piece.span)
        for minute in range(first, first + piece.span)
    ]
    assert len(covered) == len(set(covered))
    assert set(covered) >= set(range(start, end))
    assert all(minute > now for minute in set(covered) - set(range(start, end)))


def test_a_long_range_needs_few_pieces() -> None:
    start = 29_000_003
    pieces = pieces_of(start, start + 1_440, span=1, now=start + 1_440)
    assert sum((piece.end - piece.start) // piece.span for piece in pieces) < 80
    assert len(pieces_of(start, start + 1_440, span=1, now=0, longest=1)) == 1


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_percentiles_are_off_by_less_than_half(share: float) -> None:
    chance = random.Random(1)  # noqa: S311 - numbers that repeat
    for scale in (3, 40, 900, 20_000):
        times = sorted(int(chance.lognormvariate(0, 0.7) * scale) + 1 for _ in range(1_000))
        counts = [0] * len(BOUNDS)
        for one in times:
            counts[bin_of(one)] += 1
        true = times[int(share * len(times)) - 1]
        found = percentiles(counts, sum(times), [share])
        assert found is not None
        assert abs(found[0] - true) < 0.5 * true + 1, (scale, true, found)


def test_equal_times_give_themselves() -> None:
    counts = [0] * len(BOUNDS)
    counts[bin_of(300)] = 4
    assert percentiles(counts, 1_200, (0.5, 0.99)) == [300, 300]
    assert percentiles([0] * len(BOUNDS), 0, [0.5]) is None
    assert bin_of(10**12) == len(BOUNDS) - 1


def test_a_moment_lies_in_its_minute() -> None:
    moment = moment_of(29_000_003)
    assert minute_of(moment) == 29_000_003
    assert (moment.second, moment.microsecond) == (0, 0)
