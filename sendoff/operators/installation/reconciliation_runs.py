"""Reconciliations that are started from a page. Nothing has to be cleaned up after one, for it only reads."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from sendoff.audit import Actor
from sendoff.operators.installation.reconcile import Reconciliation, reconcile
from sendoff.operators.installation.run_record import RunRecord

if TYPE_CHECKING:
    from sendoff.context import Context

REPORT_SECONDS = 1.0
"""How often a run says how far it is. More often, and Redis is asked for nothing."""

FINDINGS_SHOWN = 50
"""Faults that are kept to be shown; all are counted."""

RECORD = RunRecord(
    "reconciliation", "reconciliation.start", "sendoff:reconciliation", "sendoff:reconciling", "sendoff reconcile"
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReconciliationRun:
    """The last run: what it has checked by table, its faults by kind, and the first of them in words."""

    started_at: datetime
    by: str
    checked: Mapping[str, int]
    counts: Mapping[str, int]
    findings: Sequence[Mapping[str, str]]
    finished_at: datetime | None = None
    error: str | None = None
    """Why it ended early."""
    is_running: bool = field(default=False)


class ReconciliationRuns:
    """Runs of this process. One per context."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._task: asyncio.Task[None] | None = None

    async def start(self, actor: Actor) -> None:
        """Begin to check every row. Raises Conflict while one runs, and Unavailable without Redis."""
        begun = await RECORD.begin(self._context, actor, last=self._task)
        run = ReconciliationRun(begun, actor.name, {}, {}, ())
        await RECORD.write(self._context, run)
        self._task = asyncio.create_task(self._work(run))

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self, run: ReconciliationRun) -> None:
        result = Reconciliation()
        work = asyncio.create_task(reconcile(self._context, limit_per_check=FINDINGS_SHOWN, result=result))
        try:
            while not (await asyncio.wait([work], timeout=REPORT_SECONDS))[0]:
                await self._report(run, result)
            error = work.exception()
            if error is not None:
                _log.warning("reconciliation_failed", error=str(error))
            await self._report(run, result, ended=True, error=None if error is None else type(error).__name__)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)  # its transaction ends before the database closes

    async def _report(
        self, run: ReconciliationRun, result: Reconciliation, *, ended: bool = False, error: str | None = None
    ) -> None:
        findings = [
            {"what": one.check.what, "remedy": one.check.remedy, "rows": _spell(one.ids)} for one in result.findings
        ]
        now = self._context.clock.now()
        await RECORD.write(
            self._context,
            ReconciliationRun(
                run.started_at,
                run.by,
                dict(result.checked),
                dict(result.counts),
                findings,
                finished_at=now if ended else None,
                error=error,
            ),
            ended=ended,
        )


def _spell(ids: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {identifier}" for name, identifier in ids.items())


async def find_last_run(context: Context) -> ReconciliationRun | None:
    """The last run of any process; None if there was none lately, or without Redis."""
    fields = await RECORD.read(context)
    return None if fields is None else ReconciliationRun(**fields)
