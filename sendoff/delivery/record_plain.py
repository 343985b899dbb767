"""Record plain attempts, which nearly all are: they concern nobody but their delivery and its endpoint's health."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from sendoff.context import Context
from sendoff.delivery.attempt_log import note_lost_leases, tell
from sendoff.delivery.attempt_rows import attempt_row, exchange_row
from sendoff.delivery.pipeline import FinishedAttempt
from sendoff.policy.retry import Again
from sendoff.store.hot import failed_attempts, successes
from sendoff.store.hot.failed_attempts import PlainFailure
from sendoff.store.hot.successes import Success


async def record_successes(context: Context, finished: Sequence[FinishedAttempt]) -> None:
    """Write plain successes; those whose lease was lost are left alone."""
    recorded = await successes.record_successes(context.database, [_success(attempt) for attempt in finished])
    ours = [attempt for attempt in finished if (attempt.claim.delivery.id, attempt.claim.lease) in recorded]
    note_lost_leases(len(finished) - len(ours))
    for attempt in ours:
        tell(attempt)


async def record_failures(context: Context, finished: Sequence[FinishedAttempt]) -> list[FinishedAttempt]:
    """Write plain failures; those that turned out to be none.

    That is when an endpoint is disabled by its failures or is not active any more, and when a lease was lost.
    """
    rows = [_failure(attempt) for attempt in finished]
    recorded = await failed_attempts.record_failures(context.database, rows, disable_at=context.auto_disable.threshold)
    left: list[FinishedAttempt] = []
    for attempt in finished:
        if (attempt.claim.delivery.id, attempt.claim.lease) in recorded:
            tell(attempt)
        else:
            left.append(attempt)
    return left


def _success(attempt: FinishedAttempt) -> Success:
    return Success(
        delivery_id=attempt.claim.delivery.id,
        lease=attempt.claim.lease,
        number=attempt.claim.attempt_number,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        duration_ms=attempt.duration_ms,
        outcome=attempt.outcome.name,
        response_status=attempt.status,
    )


def _failure(attempt: FinishedAttempt) -> PlainFailure:
    return PlainFailure(
        lease=attempt.claim.lease,
        ended_at=attempt.ended_at,
        next_attempt_at=cast(Again, attempt.decision.step).at,
        attempt=attempt_row(attempt),
        exchange=exchange_row(attempt),
    )
