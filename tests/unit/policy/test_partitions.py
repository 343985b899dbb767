"""Where partitions begin and end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sendoff.policy.partitions import Partition, expired, first_boundary, length_of, next_boundary

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def at(day: int) -> datetime:
    return datetime(2026, 5, day, tzinfo=UTC)


@pytest.mark.parametrize(("retention", "days"), [(1, 1), (6, 1), (7, 2), (30, 5), (365, 61)])
def test_a_retention_is_divided_into_six_partitions_of_whole_days(retention: int, days: int) -> None:
    assert length_of(retention) == timedelta(days=days)


def test_a_table_takes_rows_for_two_days_while_it_is_converted() -> None:
    assert first_boundary(NOON) == at(13)


@pytest.mark.parametrize(
    ("lower", "boundary"),
    [
        (at(12), None),  # it begins in more than a day
        (at(11), at(16)),
        (at(9), at(14)),
        (at(1), at(12)),  # nobody made any for long: what it holds is of the past
        (None, None),
    ],
)
def test_the_newest_partition_ends_when_the_next_can_be_made(lower: datetime | None, boundary: datetime | None) -> None:
    newest = Partition("newest", lower, None)
    assert next_boundary(newest, now=NOON, length=5 * DAY) == boundary


def test_a_partition_that_ends_before_the_retention_is_dropped() -> None:
    first, second, newest = Partition("a", None, at(1)), Partition("b", at(1), at(6)), Partition("c", at(6), None)
    partitions = [first, second, newest]
    assert expired(partitions, until=at(1) - DAY) == []
    assert expired(partitions, until=at(1)) == [first]
    assert expired(partitions, until=NOON) == [first, second]


def test_kept_rows_are_moved_again_only_together_with_another_partition() -> None:
    kept, second, newest = Partition("kept_1", None, at(1)), Partition("b", at(1), at(6)), Partition("c", at(6), None)
    assert expired([kept, second, newest], until=at(5)) == []
    assert expired([kept, second, newest], until=at(6)) == [kept, second]
