"""Reconcile: every accepted event × matching endpoint against deliveries, attempts and dead letters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

from sendoff.context import Context
from sendoff.store.queries.installation import reconciliation
from sendoff.store.queries.installation.reconciliation import WALKS, Discrepancy, Scan

GRACE = timedelta(minutes=10)
"""A delivery overdue by more than this counts as forgotten. A shorter time reports deliveries that are merely late."""

FINDINGS_PER_CHECK = 100
"""Discrepancies that each check lists. A systematic fault would otherwise list every row."""


@dataclass(slots=True)
class Reconciliation:
    """The number of checked rows and the faults: all are counted, and the first of each kind are kept."""

    checked: Counter[str] = field(default_factory=Counter)
    """Rows by table."""
    counts: Counter[str] = field(default_factory=Counter)
    """Faults by kind."""
    findings: list[Discrepancy] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not self.counts

    def note(self, found: list[Discrepancy], *, at_most: int) -> None:
        for finding in found:
            if self.counts[finding.check.kind] < at_most:
                self.findings.append(finding)
            self.counts[finding.check.kind] += 1


async def reconcile(
    context: Context,
    *,
    grace: timedelta = GRACE,
    limit_per_check: int = FINDINGS_PER_CHECK,
    result: Reconciliation | None = None,
) -> Reconciliation:
    """Check all rows, in ranges of keys. Safe to run in production: it takes no locks that block other processes.

    Due or leased rows are faults if they are late by more than `grace`. Rows that retention removed are not faults.
    `result` is filled while the check goes on, for those who want to see how far it is.
    """
    result = Reconciliation() if result is None else result
    for scan in WALKS:
        await _run_scan(context, scan, result, grace=grace, at_most=limit_per_check)
    return result


async def _run_scan(context: Context, scan: Scan, result: Reconciliation, *, grace: timedelta, at_most: int) -> None:
    after: str | None = scan.start
    while after is not None:
        now = context.clock.now()
        async with context.database.read() as tx:
            keys = await reconciliation.find_range(tx, scan, after=after)
            result.checked[scan.table] += await reconciliation.count_rows(tx, scan, keys)
            for check in scan.checks:
                found = await reconciliation.find_faults(
                    tx,
                    scan,
                    check,
                    keys,
                    overdue=now - grace,
                    kept_since=now - timedelta(days=context.settings.retention_days),
                )
                result.note(found, at_most=at_most)
        after = keys.up_to
