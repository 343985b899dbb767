"""The decision on a delivery after an attempt: delivered, retried at a time, or dead-lettered for a reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from sendoff.policy.delivery.attempt_result import REJECTED_ADDRESS, AttemptResult, ResultKind
from sendoff.policy.delivery.retry import DeadLettered, RandomSource, Retry, RetrySchedule, jittered
from sendoff.policy.states import DeadLetterReason

LOCAL_RETRY_SECONDS = 10.0
"""Seconds until a delivery is tried again whose attempt failed locally. Shorter, and a local fault makes workers spin;
longer, and deliveries resume later once it is mended."""

LOCAL_PATIENCE_SECONDS = 900.0
"""Minimum seconds of local failures before they count as attempts. Shorter, and a brief local fault uses up a short
retry schedule."""


class HealthEffect(StrEnum):
    """The effect of an attempt on its endpoint's health."""

    SUCCESS = "success"
    FAILURE = "failure"
    GONE = "gone"
    """The endpoint is to be disabled for good."""
    NONE = "none"
    """The fault was local, or the attempt was an operator's replay."""


@dataclass(slots=True)
class Delivered:
    """The receiver acknowledged it."""


Step = Delivered | Retry | DeadLettered


@dataclass(slots=True)
class Decision:
    """The delivery's next step, and the effect on its endpoint's health."""

    step: Step
    health: HealthEffect
    counted: bool
    """Whether the attempt used up its number; an attempt that failed locally is repeated under the same number."""


def decide(
    result: AttemptResult,
    attempt_number: int,
    *,
    schedule: RetrySchedule,
    now: datetime,
    random_source: RandomSource,
    replayed: bool = False,
    blocked_since: datetime | None = None,
) -> Decision:
    """The decision after attempt `attempt_number` (1 for the first), which ended at `now` with `result`.

    `replayed` says that an operator asked for the attempt: its failure is not charged to the endpoint.
    `blocked_since` is when the present series of local failures began; None if the attempt before left this host.
    Local failures are not counted until the series has lasted as long as the retry schedule, and for at least
    LOCAL_PATIENCE_SECONDS. From then on each uses up an attempt, so a delivery that can never leave this host becomes a
    dead letter at last.
    """
    match result.kind:
        case ResultKind.DELIVERED:
            return Decision(Delivered(), HealthEffect.SUCCESS, counted=True)
        case ResultKind.GONE:
            return Decision(
                DeadLettered(DeadLetterReason.ENDPOINT_GONE, result.detail), HealthEffect.GONE, counted=True
            )
        case ResultKind.LOCAL if _is_out_of_patience(blocked_since, schedule, now):
            return Decision(
                _after_failure(result, attempt_number, schedule, now, random_source), HealthEffect.NONE, counted=True
            )
        case ResultKind.LOCAL:
            retry = Retry(jittered(now, LOCAL_RETRY_SECONDS, random_source), result.detail)
            return Decision(retry, HealthEffect.NONE, counted=False)
        case ResultKind.FAILED:
            health = HealthEffect.NONE if replayed else HealthEffect.FAILURE
            return Decision(_after_failure(result, attempt_number, schedule, now, random_source), health, counted=True)


def _is_out_of_patience(blocked_since: datetime | None, schedule: RetrySchedule, now: datetime) -> bool:
    if blocked_since is None:
        return False
    return (now - blocked_since).total_seconds() >= max(schedule.duration, LOCAL_PATIENCE_SECONDS)


def _after_failure(
    result: AttemptResult, attempt_number: int, schedule: RetrySchedule, now: datetime, random_source: RandomSource
) -> Retry | DeadLettered:
    step = schedule.next_step(
        attempt_number, detail=result.detail, retry_after=result.retry_after, now=now, random_source=random_source
    )
    # A refused address may be corrected in the DNS, so it is retried like any failure; if it never was,
    # operators filter dead letters by its own reason.
    if isinstance(step, DeadLettered) and result.name == REJECTED_ADDRESS:
        return replace(step, reason=DeadLetterReason.REJECTED_ADDRESS)
    return step
