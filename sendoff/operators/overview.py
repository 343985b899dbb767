"""The overview: is all well, what waits, which endpoints fail, and who works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sendoff.operators.workers import list_workers
from sendoff.store.queries.overview import count_open

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sendoff.context import Context
    from sendoff.store.queries.overview import OpenCounts
    from sendoff.store.tables import Worker


@dataclass(frozen=True, slots=True)
class Overview:
    """The installation at one moment."""

    at: datetime
    open: OpenCounts
    workers: Sequence[Worker]

    @property
    def oldest_due_seconds(self) -> float:
        """For how long the delivery that has been due for longest waits; 0 if none is due."""
        since = self.open.oldest_due_at
        return 0.0 if since is None else max(0.0, (self.at - since).total_seconds())


async def get_overview(context: Context) -> Overview:
    """The state of all organizations together. Its cost does not grow with the history."""
    now = context.clock.now()
    async with context.database.read() as tx:
        counts = await count_open(tx, now=now)
    return Overview(now, counts, await list_workers(context))
