"""Sweep: enqueue whatever is due. Retries, orphans of dead workers and lost jobs are found by the same query."""

from __future__ import annotations

from datetime import timedelta

from sendoff.context import Context
from sendoff.observability.metrics import SWEEP_FOUND
from sendoff.recovery.ordering import advance
from sendoff.store.hot.rows import WorkAtHand
from sendoff.store.queries import uploads
from sendoff.store.queries.traffic import deliveries, ordering, replays

ENQUEUE_LIMIT = 10_000
"""Deliveries enqueued in one sweep; at a sweep a second, twice what a worker is built to send."""

_UPLOADS_AT_MOST = 100


async def sweep(context: Context, *, sweep_lag: timedelta = timedelta(0), work: WorkAtHand | None = None) -> int:
    """Enqueue due deliveries, waiting uploads and running replays; return how many deliveries.

    Deliveries that were accepted within `sweep_lag` are left to the job that was enqueued for them then. `work`: what
    there is to do, if it has just been looked up.
    Safe to run anywhere, at any time, twice at once: enqueueing twice is harmless, since only one claim succeeds.
    """
    now = context.clock.now()
    enqueued_until = now - sweep_lag
    work = work or await context.hot.look_for_work(now=now, enqueued_until=enqueued_until)
    if not (work.deliveries or work.uploads or work.replays or work.queued):
        return 0
    async with context.database.look() as tx:
        due = waiting_uploads = running_replays = stalled = list[str]()
        if work.deliveries:
            due = await deliveries.find_due(tx, now=now, enqueued_until=enqueued_until, limit=ENQUEUE_LIMIT)
        if work.uploads:
            waiting_uploads = await uploads.find_due(tx, now=now, limit=_UPLOADS_AT_MOST)
        if work.replays:
            running_replays = await replays.find_running(tx)
        if work.queued:
            stalled = await ordering.find_stalled(tx)
    context.queue.enqueue_deliveries(due)
    due = [*due, *await advance(context, stalled)]
    SWEEP_FOUND.inc(len(due))
    context.queue.enqueue_uploads(waiting_uploads)
    context.queue.enqueue_replays(running_replays)
    return len(due)
