"""Retention that is run from a page at once, instead of by a worker within a minute."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from sendoff.audit import Actor
from sendoff.maintenance.purge import purge_expired
from sendoff.operators.installation.run_record import ALIVE_SECONDS, RunRecord

if TYPE_CHECKING:
    from sendoff.context import Context

RECORD = RunRecord(
    "retention", "retention.run", "sendoff:retention", "sendoff:retention-running", "sendoff retention run"
)

_REPORT_SECONDS = ALIVE_SECONDS / 3

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RetentionRun:
    """The last run, and what it removed by kind once it has ended."""

    started_at: datetime
    by: str
    removed: Mapping[str, int] = field(default_factory=dict)
    finished_at: datetime | None = None
    error: str | None = None
    """Why it ended early."""
    is_running: bool = False


class RetentionRuns:
    """Runs of this process. One per context."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._task: asyncio.Task[None] | None = None

    async def start(self, actor: Actor) -> None:
        """Begin to remove what is past its retention. Raises Conflict while a run goes on, Unavailable without Redis.

        It may meet a worker that does the same; each row is removed by one of them.
        """
        run = RetentionRun(await RECORD.begin(self._context, actor, last=self._task), actor.name)
        await RECORD.write(self._context, run)
        self._task = asyncio.create_task(self._work(run))

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self, run: RetentionRun) -> None:
        context, work = self._context, asyncio.create_task(purge_expired(self._context))
        try:
            while not (await asyncio.wait([work], timeout=_REPORT_SECONDS))[0]:
                await RECORD.write(context, run)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)  # its transaction rolls back before the database closes
        error = work.exception()
        if error is not None:
            _log.warning("retention_failed", error=str(error))
        ended = replace(
            run,
            finished_at=context.clock.now(),
            removed={} if error else {name: count for name, count in asdict(work.result()).items() if count},
            error=type(error).__name__ if error else None,
        )
        await RECORD.write(context, ended, ended=True)


async def find_last_run(context: Context) -> RetentionRun | None:
    """The last run of any process; None if there was none lately, or without Redis."""
    fields = await RECORD.read(context)
    return None if fields is None else RetentionRun(**fields)
