"""Retention that is run from a page at once, instead of by a worker within a minute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from sendoff.maintenance.purge import purge_expired
from sendoff.operators.installation.run_record import ALIVE_SECONDS, RunRecord, Runs, report_until_done

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


class RetentionRuns(Runs[RetentionRun]):
    """Removes what is past its retention. A run may meet a worker that does the same; one of them removes each row."""

    record = RECORD

    def _begun(self, started_at: datetime, by: str) -> RetentionRun:
        return RetentionRun(started_at, by)

    async def _work(self, run: RetentionRun) -> None:
        context = self._context
        work = await report_until_done(
            purge_expired(context), lambda: RECORD.write(context, run), every=_REPORT_SECONDS
        )
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
