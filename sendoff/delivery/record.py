"""Record: what many attempts came to, in one transaction: attempts, deliveries, endpoint health, dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sendoff.context import Context
from sendoff.delivery.attempt_log import note_lost_leases, tell
from sendoff.delivery.attempt_rows import attempt_row, exchange_row
from sendoff.delivery.dead_letters import reason_for
from sendoff.delivery.health import record_health
from sendoff.delivery.pipeline import FinishedAttempt
from sendoff.delivery.record_plain import record_failures, record_successes
from sendoff.ids import new_id
from sendoff.policy.decision import Dead, Delivered
from sendoff.policy.outcome import DeadLetterReason, Verdict
from sendoff.policy.retry import Again
from sendoff.policy.states import DeliveryState, EndpointState, ReplayItemState
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import attempts, dead_letters, deliveries, replays
from sendoff.store.queries.deliveries import Settlement
from sendoff.store.tables import DeadLetter, Endpoint


async def record(context: Context, finished: Sequence[FinishedAttempt]) -> None:
    """Write what the attempts came to. Those whose lease was lost meanwhile belong to somebody else and are left.

    Raises errors.Unavailable when the database cannot be reached; the caller tries again, and nothing is half written.
    """
    if all(attempt.is_plain_success for attempt in finished):
        await record_successes(context, finished)
    elif all(attempt.is_plain_failure for attempt in finished):
        await _record_any(context, await record_failures(context, finished))
    else:
        await _record_any(context, finished)


async def _record_any(context: Context, finished: Sequence[FinishedAttempt]) -> None:
    if not finished:
        return
    now = context.clock.now()
    async with context.database.write() as tx:
        ours = await _still_ours(tx, finished)
        if not ours:
            return
        endpoints_after = await record_health(tx, context.auto_disable, ours, now)
        closed = {key: row for key, row in endpoints_after.items() if row.state != EndpointState.ACTIVE}
        dead = {attempt.claim.delivery.id: _dead_letter_of(attempt, closed) for attempt in ours}
        await attempts.insert_many(tx, [attempt_row(attempt) for attempt in ours if attempt.decision.counted])
        await deliveries.settle(tx, [_settlement(attempt, dead[attempt.claim.delivery.id]) for attempt in ours])
        await _keep_failures(tx, ours, dead, now)
        await _tell_replays(tx, ours, dead)
    for attempt in ours:
        tell(attempt, dead[attempt.claim.delivery.id])


async def _still_ours(tx: Transaction, finished: Sequence[FinishedAttempt]) -> list[FinishedAttempt]:
    held = await deliveries.lock_leased(tx, ((attempt.claim.delivery.id, attempt.claim.lease) for attempt in finished))
    ours = [attempt for attempt in finished if (attempt.claim.delivery.id, attempt.claim.lease) in held]
    note_lost_leases(len(finished) - len(ours))
    return ours


def _dead_letter_of(attempt: FinishedAttempt, closed: dict[str, Endpoint]) -> DeadLetterReason | None:
    step = attempt.decision.step
    if isinstance(step, Dead):
        return step.reason
    endpoint = closed.get(attempt.claim.delivery.endpoint_id)
    if isinstance(step, Delivered) or endpoint is None:
        return None
    return reason_for(endpoint)  # it would be attempted again, but its endpoint is off by now


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
        last_error=attempt.error,
        delivered_at=attempt.ended_at if state is DeliveryState.DELIVERED else None,
        blocked_since=_blocked_since(attempt),
    )


def _blocked_since(attempt: FinishedAttempt) -> datetime | None:
    if attempt.outcome.verdict is not Verdict.OURS:
        return None
    return attempt.claim.delivery.blocked_since or attempt.started_at


async def _keep_failures(
    tx: Transaction,
    ours: Sequence[FinishedAttempt],
    dead: dict[str, DeadLetterReason | None],
    now: datetime,
) -> None:
    failed = [attempt for attempt in ours if not isinstance(attempt.decision.step, Delivered)]
    exchanges = [exchange_row(attempt) for attempt in failed if attempt.decision.counted]
    if exchanges:
        await attempts.keep_last_exchanges(tx, exchanges)
    letters = [
        _letter(attempt, reason, now) for attempt in failed if (reason := dead[attempt.claim.delivery.id]) is not None
    ]
    if letters:
        await dead_letters.insert_many(tx, letters)


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
        last_error=attempt.error,
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
