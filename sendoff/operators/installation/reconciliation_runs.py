"""Reconciliations that are started from a page. Nothing has to be cleaned up after one, for it only reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from sendoff.operators.installation.reconcile import Reconciliation, reconcile
from sendoff.operators.installation.run_record import RunRecord, Runs, report_until_done

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


class ReconciliationRuns(Runs[ReconciliationRun]):
    """Checks every row."""

    record = RECORD

    def _begun(self, started_at: datetime, by: str) -> ReconciliationRun:
        return ReconciliationRun(started_at, by, {}, {}, ())

    async def _work(self, run: ReconciliationRun) -> None:
        result = Reconciliation()
        work = await report_until_done(
            reconcile(self._context, limit_per_check=FINDINGS_SHOWN, result=result),
            lambda: self._report(run, result),
            every=REPORT_SECONDS,
        )
        error = work.exception()
        if error is not None:
            _log.warning("reconciliation_failed", error=str(error))
        await self._report(run, result, ended=True, error=None if error is None else type(error).__name__)

    async def _report(
        self, run: ReconciliationRun, result: Reconciliation, *, ended: bool = False, error: str | None = None
    ) -> None:
        findings = [
            {
                "what": one.check.what,
                "remedy": one.check.remedy,
                "rows": ", ".join(f"{name} {identifier}" for name, identifier in one.ids.items()),
            }
            for one in result.findings
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


async def find_last_run(context: Context) -> ReconciliationRun | None:
    """The last run of any process; None if there was none lately, or without Redis."""
    fields = await RECORD.read(context)
    return None if fields is None else ReconciliationRun(**fields)
