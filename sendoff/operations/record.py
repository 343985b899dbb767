"""Record: what many attempts came to, in one transaction: attempts, deliveries, endpoint health, dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog

from sendoff.ids import new_id
from sendoff.metrics import ATTEMPT_SECONDS, ATTEMPTS, DEAD_LETTERS, LEASES_LOST
from sendoff.operations.bury import reason_for
from sendoff.operations.deliver import FinishedAttempt
from sendoff.operations.health import record_health
from sendoff.operations.runtime import Runtime
from sendoff.policy.decision import Dead, Delivered, Health
from sendoff.policy.outcome import DeadLetterReason, Verdict
from sendoff.policy.retry import Again
from sendoff.policy.states import DeliveryState, EndpointState, ReplayItemState
from sendoff.store import attempts, dead_letters, deliveries, replays, successes
from sendoff.store.attempts import NewAttempt
from sendoff.store.database import Transaction
from sendoff.store.deliveries import Settlement
from sendoff.store.successes import Success
from sendoff.store.tables import DeadLetter, Endpoint, LastExchange

_log = structlog.get_logger(__name__)

LONGEST_ERROR = 500


async def record(runtime: Runtime, finished: Sequence[FinishedAttempt]) -> None:
    """Write what the attempts came to. Those whose lease was lost meanwhile belong to somebody else and are left.

    Raises errors.Unavailable when the database cannot be reached; the caller tries again, and nothing is half written.
    """
    if all(is_plain_success(attempt) for attempt in finished):
        await _record_successes(runtime, finished)
    else:
        await _record_any(runtime, finished)


def is_plain_success(attempt: FinishedAttempt) -> bool:
    """Whether it concerns nobody but its delivery and its endpoint's good health."""
    return (
        isinstance(attempt.decision.step, Delivered)
        and attempt.decision.health is Health.WELL
        and attempt.decision.counted
        and attempt.claim.delivery.replay_id is None
    )


async def _record_successes(runtime: Runtime, finished: Sequence[FinishedAttempt]) -> None:
    recorded = await successes.record_successes(runtime.database, [_success(attempt) for attempt in finished])
    ours = [attempt for attempt in finished if (attempt.claim.delivery.id, attempt.claim.lease) in recorded]
    _note_lost_leases(len(finished) - len(ours))
    for attempt in ours:
        _tell(attempt, None)


async def _record_any(runtime: Runtime, finished: Sequence[FinishedAttempt]) -> None:
    now = runtime.clock.now()
    async with runtime.database.write() as tx:
        ours = await _still_ours(tx, finished)
        if not ours:
            return
        endpoints_after = await record_health(tx, runtime.breaker, ours, now)
        closed = {key: row for key, row in endpoints_after.items() if row.state != EndpointState.ACTIVE}
        dead = {attempt.claim.delivery.id: _death_of(attempt, closed) for attempt in ours}
        await attempts.insert_many(tx, [_attempt_row(attempt) for attempt in ours if attempt.decision.counted])
        await deliveries.settle(tx, [_settlement(attempt, dead[attempt.claim.delivery.id]) for attempt in ours])
        await _keep_failures(tx, ours, dead, now)
        await _tell_replays(tx, ours, dead)
    for attempt in ours:
        _tell(attempt, dead[attempt.claim.delivery.id])


async def _still_ours(tx: Transaction, finished: Sequence[FinishedAttempt]) -> list[FinishedAttempt]:
    held = await deliveries.lock_leased(tx, ((attempt.claim.delivery.id, attempt.claim.lease) for attempt in finished))
    ours = [attempt for attempt in finished if (attempt.claim.delivery.id, attempt.claim.lease) in held]
    _note_lost_leases(len(finished) - len(ours))
    return ours


def _note_lost_leases(count: int) -> None:
    if count:
        LEASES_LOST.inc(count)
        _log.warning("lease_lost", deliveries=count)


def _death_of(attempt: FinishedAttempt, closed: dict[str, Endpoint]) -> DeadLetterReason | None:
    step = attempt.decision.step
    if isinstance(step, Dead):
        return step.reason
    endpoint = closed.get(attempt.claim.delivery.endpoint_id)
    if isinstance(step, Delivered) or endpoint is None:
        return None
    return reason_for(endpoint)  # it would be attempted again, but its endpoint is off by now


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


def _attempt_row(attempt: FinishedAttempt) -> NewAttempt:
    return NewAttempt(
        delivery_id=attempt.claim.delivery.id,
        number=attempt.claim.attempt_number,
        started_at=attempt.started_at,
        duration_ms=attempt.duration_ms,
        outcome=attempt.outcome.name,
        response_status=attempt.status,
        error=_error_of(attempt),
    )


def _settlement(attempt: FinishedAttempt, dead: DeadLetterReason | None) -> Settlement:
    step = attempt.decision.step
    next_attempt_at: datetime | None = None
    if dead is not None:
        state = DeliveryState.DEAD
    elif isinstance(step, Again):
        state, next_attempt_at = DeliveryState.PENDING, step.at
    else:
        state = DeliveryState.DELIVERED
    return Settlement(
        id=attempt.claim.delivery.id,
        state=state,
        attempt_count=attempt.claim.delivery.attempt_count + attempt.decision.counted,
        next_attempt_at=next_attempt_at,
        last_attempt_at=attempt.started_at if attempt.decision.counted else None,
        last_response_status=attempt.status,
        last_error=_error_of(attempt),
        delivered_at=attempt.ended_at if state is DeliveryState.DELIVERED else None,
        untried_since=_untried_since(attempt),
    )


def _untried_since(attempt: FinishedAttempt) -> datetime | None:
    if attempt.outcome.verdict is not Verdict.OURS:
        return None
    return attempt.claim.delivery.untried_since or attempt.started_at


async def _keep_failures(
    tx: Transaction,
    ours: Sequence[FinishedAttempt],
    dead: dict[str, DeadLetterReason | None],
    now: datetime,
) -> None:
    failed = [attempt for attempt in ours if not isinstance(attempt.decision.step, Delivered)]
    exchanges = [_exchange_row(attempt) for attempt in failed if attempt.decision.counted]
    if exchanges:
        await attempts.keep_last_exchanges(tx, exchanges)
    letters = [
        _letter(attempt, reason, now) for attempt in failed if (reason := dead[attempt.claim.delivery.id]) is not None
    ]
    if letters:
        await dead_letters.insert_many(tx, letters)


def _exchange_row(attempt: FinishedAttempt) -> LastExchange:
    response = attempt.response
    return LastExchange(
        delivery_id=attempt.claim.delivery.id,
        attempt=attempt.claim.attempt_number,
        url=attempt.claim.endpoint.url,
        request_headers=[list(pair) for pair in attempt.request.headers] if attempt.request else [],
        response_status=response.status if response else None,
        response_headers=[list(pair) for pair in response.headers] if response else None,
        response_body=response.body if response else None,
        response_truncated=response.truncated if response else False,
    )


def _letter(attempt: FinishedAttempt, reason: DeadLetterReason, now: datetime) -> DeadLetter:
    claimed = attempt.claim
    return DeadLetter(
        id=new_id(),
        delivery_id=claimed.delivery.id,
        event_id=claimed.event.id,
        event_type=claimed.event.type,
        endpoint_id=claimed.endpoint.id,
        endpoint_url=claimed.endpoint.url,
        organization_id=claimed.delivery.organization_id,
        reason=reason,
        last_response_status=attempt.status,
        last_error=_error_of(attempt),
        attempt_count=claimed.delivery.attempt_count + attempt.decision.counted,
        died_at=now,
    )


async def _tell_replays(
    tx: Transaction, ours: Sequence[FinishedAttempt], dead: dict[str, DeadLetterReason | None]
) -> None:
    ended: dict[tuple[str, ReplayItemState], list[str]] = {}
    for attempt in ours:
        delivery = attempt.claim.delivery
        if delivery.replay_id is None:
            continue
        if dead[delivery.id] is not None:
            ended.setdefault((delivery.replay_id, ReplayItemState.FAILED), []).append(delivery.id)
        elif isinstance(attempt.decision.step, Delivered):
            ended.setdefault((delivery.replay_id, ReplayItemState.SUCCEEDED), []).append(delivery.id)
    for (replay_id, state), delivery_ids in ended.items():
        await replays.move_items(tx, replay_id, delivery_ids, to=state)


def _tell(attempt: FinishedAttempt, dead: DeadLetterReason | None) -> None:
    """One wide line for each failed attempt, and the metrics."""
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


def _error_of(attempt: FinishedAttempt) -> str | None:
    if isinstance(attempt.decision.step, Delivered):
        return None
    return attempt.outcome.because.replace("\x00", "")[:LONGEST_ERROR]
