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


async def insert(tx: Transaction, sample: BacklogSample) -> bool:
    """Keep the sample; False if there is one of its minute: the first that is written counts."""
    inserted = await execute(
        tx,
        """
        INSERT INTO backlog_samples (minute, waiting, in_flight, oldest_due_seconds, dead_letters)
        VALUES (:minute, :waiting, :in_flight, :oldest_due_seconds, :dead_letters) ON CONFLICT (minute) DO NOTHING
        """,
        **asdict(sample),
    )
    return inserted.rowcount > 0


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


async def fold_hours(tx: Transaction, *, before: int) -> None:
    """Replace the samples of each hour that ended before the minute `before` by the most of each measure in it.

    It stands at the hour's first minute.
    """
    before -= before % 60
    await execute(
        tx,
        """
        INSERT INTO backlog_samples (minute, waiting, in_flight, oldest_due_seconds, dead_letters)
        SELECT minute - minute % 60, max(waiting), max(in_flight), max(oldest_due_seconds), max(dead_letters)
        FROM backlog_samples WHERE minute < :before GROUP BY 1 HAVING max(minute % 60) > 0
        ON CONFLICT (minute) DO UPDATE SET waiting = excluded.waiting, in_flight = excluded.in_flight,
            oldest_due_seconds = excluded.oldest_due_seconds, dead_letters = excluded.dead_letters
        """,
        before=before,
    )
    await execute(tx, "DELETE FROM backlog_samples WHERE minute < :before AND minute % 60 <> 0", before=before)


async def remove_old(tx: Transaction, *, before: int) -> None:
    """Remove the samples from before this minute."""
    await execute(tx, "DELETE FROM backlog_samples WHERE minute < :before", before=before)
