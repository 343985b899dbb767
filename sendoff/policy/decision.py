"""The judgement on a delivery after an attempt: delivered, again at a time, or dead for a reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from sendoff.policy.outcome import REJECTED_ADDRESS, DeadLetterReason, Outcome, Verdict
from sendoff.policy.retry import GiveUp, RandomSource, Retry, RetrySchedule, jittered

OUR_WAIT_SECONDS = 10.0
"""How long a delivery waits that we could not try: long enough not to spin, short enough to be soon."""

OUR_PATIENCE_SECONDS = 900.0
"""How long at least a delivery waits in this way before its attempts are counted, however short the schedule is."""


class HealthEffect(StrEnum):
    """The effect of an attempt on its endpoint's health."""

    SUCCESS = "success"
    FAILURE = "failure"
    GONE = "gone"
    """The endpoint is to be disabled for good."""
    NONE = "none"
    """The fault was on our side, or the attempt was an operator's replay."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver acknowledged it."""


Step = Delivered | Retry | GiveUp


@dataclass(frozen=True, slots=True)
class Decision:
    """The delivery's next step, and the effect on its endpoint's health."""

    step: Step
    health: HealthEffect
    counted: bool
    """Whether the attempt used up its number; an attempt that failed locally is repeated under the same number."""


def decide(
    outcome: Outcome,
    attempt_number: int,
    *,
    schedule: RetrySchedule,
    now: datetime,
    random_source: RandomSource,
    replayed: bool = False,
    blocked_since: datetime | None = None,
) -> Decision:
    """The judgement on attempt `attempt_number` (1 for the first), which ended at `now` with `outcome`.

    `replayed` says that an operator asked for the attempt: its failure is not charged to the endpoint.
    `blocked_since` is when the first of those attempts failed by our fault that nothing but such ones followed.
    For as long as the whole schedule lasts such attempts are not counted; from then on they use up the schedule like
    any that fails, so that a delivery which we can never try is a dead letter after twice the schedule.
    """
    match outcome.verdict:
        case Verdict.DELIVERED:
            return Decision(Delivered(), HealthEffect.SUCCESS, counted=True)
        case Verdict.GONE:
            return Decision(GiveUp(DeadLetterReason.ENDPOINT_GONE, outcome.detail), HealthEffect.GONE, counted=True)
        case Verdict.OURS if _is_out_of_patience(blocked_since, schedule, now):
            return Decision(
                _after_failure(outcome, attempt_number, schedule, now, random_source), HealthEffect.NONE, counted=True
            )
        case Verdict.OURS:
            again = Retry(jittered(now, OUR_WAIT_SECONDS, random_source), outcome.detail)
            return Decision(again, HealthEffect.NONE, counted=False)
        case Verdict.FAILED:
            health = HealthEffect.NONE if replayed else HealthEffect.FAILURE
            return Decision(_after_failure(outcome, attempt_number, schedule, now, random_source), health, counted=True)


def _is_out_of_patience(blocked_since: datetime | None, schedule: RetrySchedule, now: datetime) -> bool:
    if blocked_since is None:
        return False
    return (now - blocked_since).total_seconds() >= max(schedule.duration, OUR_PATIENCE_SECONDS)


def _after_failure(
    outcome: Outcome, attempt_number: int, schedule: RetrySchedule, now: datetime, random_source: RandomSource
) -> Retry | GiveUp:
    step = schedule.next_step(
        attempt_number, detail=outcome.detail, retry_after=outcome.retry_after, now=now, random_source=random_source
    )
    # A refused address may be corrected in the DNS, so it is retried like any failure; if it never was,
    # operators filter dead letters by its own reason.
    if isinstance(step, GiveUp) and outcome.name == REJECTED_ADDRESS:
        return replace(step, reason=DeadLetterReason.REJECTED_ADDRESS)
    return step
