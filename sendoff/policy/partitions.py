"""Where the partitions of the history begin and end, and which of them retention may drop.

A partition holds what was created between two midnights. The oldest one has no lower bound and the newest no upper one,
so that a row has a place whatever the clock says, and even if nothing has made partitions for months.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

PARTITIONS_OF_RETENTION = 6
"""How many partitions a retention is divided into. More, and rows stay for less time beyond their retention, which ends
with that of their whole partition; but each statement takes longer, because it looks into all of them."""

MADE_AHEAD = timedelta(days=1)
"""How long before it begins a partition is made."""

CONVERTED_WITHIN = timedelta(days=2)
"""How long the conversion of an existing table may take: the table takes no rows that are created later than that."""

KEPT = "kept_"

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Partition:
    """The rows that were created from `lower` until `upper`; `suffix` is what follows the table's name in its own."""

    suffix: str
    lower: datetime | None
    upper: datetime | None

    @property
    def is_kept(self) -> bool:
        """Whether it holds what was left of partitions that were dropped."""
        return self.suffix.startswith(KEPT)


def length_of(retention_days: int) -> timedelta:
    """How long a partition lasts."""
    return timedelta(days=max(1, -(-retention_days // PARTITIONS_OF_RETENTION)))


def first_boundary(now: datetime) -> datetime:
    """Where the partition ends that an existing table becomes."""
    return _midnight_after(now + CONVERTED_WITHIN)


def next_boundary(newest: Partition, *, now: datetime, length: timedelta) -> datetime | None:
    """Where the newest partition is to end, so that another one follows it; None while it is too early."""
    if newest.lower is None or now < newest.lower - MADE_AHEAD:
        return None
    return max(newest.lower + length, _midnight_after(now + MADE_AHEAD))


def expired(partitions: Sequence[Partition], *, until: datetime) -> list[Partition]:
    """The partitions whose rows were all created before `until`; none if that is only what was kept of others."""
    found = [one for one in partitions if one.upper is not None and one.upper <= until]
    return [] if all(one.is_kept for one in found) else found


@dataclass(frozen=True, slots=True)
class RowByRow:
    """What retention removes row by row, because it does not leave with a partition."""

    created_until: datetime | None
    """What was created before this; None for everything, without partitions."""

    @property
    def nothing(self) -> bool:
        return self.created_until == _NEVER


def row_by_row(partitions: Sequence[Partition], *, until: datetime) -> RowByRow:
    """What was kept of dropped partitions, and what could not be dropped although it was all created before `until`."""
    if not partitions:
        return RowByRow(None)
    ended = [one.upper for one in partitions if one.upper is not None and (one.is_kept or one.upper <= until)]
    return RowByRow(max(ended, default=_NEVER))


def suffix_from(boundary: datetime) -> str:
    """The suffix of the partition that begins there."""
    return f"{boundary:%Y%m%d}"


def suffix_before(boundary: datetime) -> str:
    """The suffix of the table that was there before there were partitions, and ends there."""
    return f"before_{boundary:%Y%m%d}"


def suffix_kept(boundary: datetime) -> str:
    """The suffix of the partition with what was kept of those that ended there or earlier."""
    return f"{KEPT}{boundary:%Y%m%d}"


def _midnight_after(moment: datetime) -> datetime:
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day + timedelta(days=1)
