"""The backlog over time: workers note once a minute what waits, and charts read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sendoff.operators.installation.measurements import MEASURE_SLOWLY_SECONDS, Measurements
from sendoff.policy.states import DeliveryState
from sendoff.policy.statistics import KEPT_MINUTES, minute_of
from sendoff.store.queries.installation import backlog
from sendoff.store.queries.installation.backlog import BacklogSample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sendoff.context import Context
    from sendoff.operators.installation.statistics import StatisticsReport


_YOUNG_SECONDS = MEASURE_SLOWLY_SECONDS / 2
"""How old a measurement may be that is noted. At a whole minute, a worker that is alone takes its last one for young
every other time, and half of the minutes have no sample; less, and each of several workers measures for itself."""


async def note_backlog(context: Context) -> None:
    """Keep what the newest measurement says of the backlog, and forget what is past its time.

    Samples of every minute are kept for 48 hours, then the most of each hour for 90 days. Of several workers, the one
    whose sample is kept does it.
    """
    measured = await context.service(Measurements.of).current(context, not_older_than=_YOUNG_SECONDS)
    if measured is None:
        return
    minute, in_flight = int(measured.at // 60), measured.deliveries_open.get(DeliveryState.IN_FLIGHT, 0)
    sample = BacklogSample(
        minute,
        waiting=sum(measured.deliveries_open.values()) - in_flight,
        in_flight=in_flight,
        oldest_due_seconds=int(measured.oldest_due_seconds),
        dead_letters=sum(measured.dead_letters_open.values()),
    )
    async with context.database.write() as tx:
        if await backlog.insert(tx, sample):
            await backlog.fold_hours(tx, before=minute - KEPT_MINUTES[1])
            await backlog.remove_old(tx, before=minute - KEPT_MINUTES[60])


async def read_backlog(context: Context, report: StatisticsReport) -> Sequence[BacklogSample | None]:
    """What waited in each bucket of the report, at its fullest; None where no worker noted it."""
    start, end, span = minute_of(report.since), minute_of(report.until), report.bucket.minutes
    async with context.database.read() as tx:
        found = {one.minute: one for one in await backlog.read(tx, start=start, end=end, span=span)}
    return [found.get(minute) for minute in range(start, end, span)]
