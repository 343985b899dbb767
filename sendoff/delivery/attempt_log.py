"""What is told of recorded attempts: the metrics, and one wide line in the log for each that failed."""

from __future__ import annotations

import structlog

from sendoff.delivery.pipeline import FinishedAttempt
from sendoff.metrics import ATTEMPT_SECONDS, ATTEMPTS, DEAD_LETTERS, LEASES_LOST
from sendoff.policy.decision import Delivered
from sendoff.policy.outcome import DeadLetterReason
from sendoff.policy.retry import Again

_log = structlog.get_logger(__name__)


def tell(attempt: FinishedAttempt, dead: DeadLetterReason | None = None) -> None:
    """Tell of an attempt that is committed; `dead` says why its delivery was given up, if it was."""
    ATTEMPTS.labels(attempt.outcome.name).inc()
    ATTEMPT_SECONDS.observe(attempt.duration_ms / 1000)
    if isinstance(attempt.decision.step, Delivered):
        return
    if dead is not None:
        DEAD_LETTERS.labels(dead).inc()
    claimed = attempt.claim
    _log.info(
        "attempt_failed",
        delivery=claimed.delivery.id,
        event_id=claimed.event.id,
        event_type=claimed.event.type,
        request_id=claimed.event.request_id,
        endpoint=claimed.endpoint.id,
        organization=claimed.delivery.organization_id,
        attempt=claimed.attempt_number,
        outcome=attempt.outcome.name,
        status=attempt.status,
        because=attempt.outcome.because,
        milliseconds=attempt.duration_ms,
        next_attempt_at=attempt.decision.step.at.isoformat() if isinstance(attempt.decision.step, Again) else None,
        dead=dead,
    )


def note_lost_leases(count: int) -> None:
    """So many attempts could not be recorded: their deliveries are somebody else's by now."""
    if count:
        LEASES_LOST.inc(count)
        _log.warning("lease_lost", deliveries=count)
