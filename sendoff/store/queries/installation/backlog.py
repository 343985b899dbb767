"""Samples of the backlog: one row a minute, whichever worker writes it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sendoff.store.engine.batch import execute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sendoff.store.engine.database import Transaction


@dataclass(frozen=True, slots=True)
class BacklogSample:
    """What was open in one minute; of several minutes, the most of each. `minute` counts from 1970 in UTC."""

    minute: int
    waiting: int
    """Deliveries that have not ended and are not in flight."""
    in_flight: int
    oldest_due_seconds: int
    dead_letters: int
    """Those that are open."""


async def insert(tx: Transaction, sample: BacklogSample) -> None:
    """Keep the sample; of one minute, the first that is written counts."""
    await execute(
        tx,
        """
        INSERT INTO backlog_samples (minute, waiting, in_flight, oldest_due_seconds, dead_letters)
        VALUES (:minute, :waiting, :in_flight, :oldest_due_seconds, :dead_letters) ON CONFLICT (minute) DO NOTHING
        """,
        **asdict(sample),
    )


async def read(tx: Transaction, *, start: int, end: int, span: int) -> Sequence[BacklogSample]:
    """The most of each measure in every `span` minutes from `start` on and before `end` that has a sample."""
    found = await execute(
        tx,
        f"""
        SELECT minute - minute % {span} AS first, max(waiting) AS waiting, max(in_flight) AS in_flight,
            max(oldest_due_seconds) AS oldest_due_seconds, max(dead_letters) AS dead_letters
        FROM backlog_samples WHERE minute >= :start AND minute < :end GROUP BY 1 ORDER BY 1
        """,
        start=start,
        end=end,
    )
    return [
        BacklogSample(row.first, row.waiting, row.in_flight, row.oldest_due_seconds, row.dead_letters) for row in found
    ]


async def remove_old(tx: Transaction, *, first_minute: int, first_hour: int) -> int:
    """Remove the samples from before `first_hour`, and those from before `first_minute` that begin no hour."""
    removed = await execute(
        tx,
        "DELETE FROM backlog_samples WHERE minute < :first_hour OR (minute < :first_minute AND minute % 60 <> 0)",
        first_minute=first_minute,
        first_hour=first_hour,
    )
    return removed.rowcount
