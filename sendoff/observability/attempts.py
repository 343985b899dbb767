"""What is told of attempts: counters and statistics, a line in the log, a span."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from sendoff.endpoint_health.draining import count_dead_letters
from sendoff.ids import created_at
from sendoff.observability.metrics import ATTEMPT_SECONDS, ATTEMPTS, DELIVERIES, DELIVERY_LATENCY, RETRIES
from sendoff.observability.statistics import Statistics
from sendoff.policy.delivery.decision import Delivered
from sendoff.policy.delivery.retry import DeadLettered, Retry
from sendoff.policy.states import DeadLetterReason, DeliveryState
from sendoff.policy.statistics import minute_of

if TYPE_CHECKING:
    from sendoff.context import Context
    from sendoff.delivery.pipeline import FinishedAttempt
    from sendoff.observability.tracing import Span

_log = structlog.get_logger(__name__)


def count_attempts(context: Context, attempts: Sequence[FinishedAttempt]) -> None:
    """Count committed attempts, and what they came to; each counter is increased once for all of them."""
    statistics, minute = Statistics.of(context), minute_of(context.clock.now())
    becoming: Counter[DeliveryState] = Counter()
    outcomes: Counter[str] = Counter()
    for attempt in attempts:
        claimed, becomes, step = attempt.claim, attempt.becomes, attempt.decision.step
        latency: float | None = None
        if becomes is DeliveryState.DELIVERED and claimed.delivery.replay_id is None:
            latency = max(0.0, attempt.ended_at.timestamp() - created_at(claimed.delivery.id))
            DELIVERY_LATENCY.observe(latency)
        elif isinstance(step, DeadLettered):
            count_dead_letters([step.reason])
        ATTEMPT_SECONDS.observe(attempt.duration_ms / 1000)
        becoming[becomes] += attempt.decision.counted
        outcomes[attempt.result.name] += 1
        statistics.count_attempt(
            (minute, claimed.endpoint.organization_id, claimed.endpoint.id, claimed.event.type, attempt.result.name),
            milliseconds=attempt.duration_ms,
            is_retry=claimed.delivery.attempt_count > 0,
            becomes=becomes,
            latency=latency,
        )
    for outcome, number in outcomes.items():
        ATTEMPTS.labels(outcome).inc(number)
    DELIVERIES.labels("delivered").inc(becoming[DeliveryState.DELIVERED])
    RETRIES.labels("automatic").inc(becoming[DeliveryState.PENDING])


def log_attempts(
    context: Context, attempts: Sequence[FinishedAttempt], dead_lettered: Mapping[str, DeadLetterReason]
) -> None:
    """Write one wide line for each attempt that the setting LOG_ATTEMPTS asks for.

    `dead_lettered`: deliveries that became dead letters with their endpoint instead of being attempted again.
    """
    of_failed, of_successful = context.settings.log_attempts_share
    for attempt in attempts:
        is_delivered = isinstance(attempt.decision.step, Delivered)
        share = of_successful if is_delivered else of_failed
        if share == 0 or (share < 1 and context.random_source() >= share):
            continue
        if is_delivered:
            _log.info("attempt_succeeded", **_described(attempt))
        else:
            _log.info("attempt_failed", **_described(attempt), **_outlook(attempt, dead_lettered))


def _described(attempt: FinishedAttempt) -> dict[str, Any]:
    claimed = attempt.claim
    return {
        "delivery": claimed.delivery.id,
        "event_id": claimed.event.id,
        "event_type": claimed.event.type,
        "request_id": claimed.event.request_id,
        "endpoint": claimed.endpoint.id,
        "organization": claimed.delivery.organization_id,
        "replay": claimed.delivery.replay_id,
        "attempt": claimed.attempt_number,
        "outcome": attempt.result.name,
        "status": attempt.status,
        "milliseconds": attempt.duration_ms,
    }


def _outlook(attempt: FinishedAttempt, dead_lettered: Mapping[str, DeadLetterReason]) -> dict[str, Any]:
    step = attempt.decision.step
    dead = step.reason if isinstance(step, DeadLettered) else dead_lettered.get(attempt.claim.delivery.id)
    return {
        "because": attempt.result.detail,
        "next_attempt_at": step.at.isoformat() if isinstance(step, Retry) and dead is None else None,
        "dead": dead,
    }


def end_attempt_span(span: Span, attempt: FinishedAttempt) -> None:
    """End the span of an attempt, with what it came to."""
    claimed = attempt.claim
    attributes: dict[str, str | int] = {
        "sendoff.event_id": claimed.event.id,
        "sendoff.event_type": claimed.event.type,
        "sendoff.delivery_id": claimed.delivery.id,
        "sendoff.endpoint_id": claimed.endpoint.id,
        "sendoff.attempt": claimed.attempt_number,
        "sendoff.outcome": attempt.result.name,
        "server.address": urlsplit(claimed.endpoint.url).hostname or "",
    }
    if attempt.status is not None:
        attributes["http.response.status_code"] = attempt.status
    span.end(attributes, error=attempt.error)
