"""Record: what attempts came to is written in one transaction; then endpoints that failed too often are disabled.

Two transactions, so that the first is one statement. Should the process die between them, the endpoint's next failure
disables it, and deliveries for an endpoint that is off become dead letters when they are claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from sendoff.audit import WORKER, write_audit
from sendoff.context import Context
from sendoff.delivery.dead_letters import count_dead_letters, dead_letter_open_deliveries
from sendoff.delivery.pipeline import FinishedAttempt
from sendoff.errors import Unavailable
from sendoff.ids import new_id
from sendoff.metrics import ATTEMPT_SECONDS, ATTEMPTS, LEASES_LOST
from sendoff.policy.attempt_result import ResultKind
from sendoff.policy.decision import Delivered
from sendoff.policy.retry import DeadLettered, Retry
from sendoff.policy.states import ANSWER_GONE, AUTO_DISABLE, DeliveryState, EndpointState
from sendoff.store.engine.database import Transaction
from sendoff.store.hot.rows import AttemptRecord, Exchange, NewDeadLetter
from sendoff.store.queries import deliveries, endpoints
from sendoff.store.tables import Endpoint

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _EndpointClosing:
    """An endpoint that these attempts disable, or that was off when they were recorded."""

    becomes: EndpointState | None
    """The state that the attempts put it into; None if it was off before."""
    retrying: list[str]
    """Deliveries that were to be attempted again."""


async def record(context: Context, finished: Sequence[FinishedAttempt]) -> None:
    """Record what attempts came to, with everything that follows for their endpoints.

    An attempt whose lease was lost changes nothing: another worker owns its delivery. Raises errors.Unavailable when
    the database cannot be reached; then nothing is written, and the caller tries again.
    """
    closing = await _write(context, finished)
    if closing:
        try:
            await _close_endpoints(context, closing)
        except Unavailable as error:  # the next failure of each closes it
            _log.warning("endpoint_disable_failed", endpoints=list(closing), error=str(error))


async def _write(context: Context, finished: Sequence[FinishedAttempt]) -> dict[str, _EndpointClosing]:
    """Write attempts, delivery states, dead letters and failure counts; return the endpoints to close, by id."""
    in_order = sorted(finished, key=lambda attempt: attempt.ended_at)
    recorded = await context.hot.record([_to_record(attempt) for attempt in in_order], now=context.clock.now())
    ours = [one for one in in_order if (one.claim.delivery.id, one.claim.lease_token) in recorded.claims]
    for attempt in ours:
        _log_attempt(attempt)
    if lost := len(finished) - len(ours):
        LEASES_LOST.inc(lost)
        _log.warning("lease_lost", deliveries=lost)
    closing: dict[str, _EndpointClosing] = {}
    for endpoint_id, before in recorded.endpoints.items():
        made = [attempt for attempt in ours if attempt.claim.endpoint.id == endpoint_id]
        effects = [attempt.decision.health for attempt in made]
        becomes = context.auto_disable.tally(before.consecutive_failures, effects).becomes
        retrying = [one.claim.delivery.id for one in made if isinstance(one.decision.step, Retry)]
        if becomes is not None or (retrying and before.state != EndpointState.ACTIVE):
            closing[endpoint_id] = _EndpointClosing(becomes, retrying)
    return closing


async def _close_endpoints(context: Context, closing: dict[str, _EndpointClosing]) -> None:
    """Disable endpoints, and dead-letter the deliveries that were to be attempted again.

    Other deliveries that wait for them are dead-lettered by `drain_inactive_endpoints`.
    """
    now = context.clock.now()
    async with context.database.write() as tx:
        rows = await endpoints.find_many(tx, closing, lock=True)
        for endpoint_id, endpoint in rows.items():
            becomes = closing[endpoint_id].becomes
            if becomes is not None:
                _disable(tx, endpoint, becomes, now)
        await tx.flush()
        off = {key: EndpointState(row.state) for key, row in rows.items() if row.state != EndpointState.ACTIVE}
        retrying = [delivery_id for endpoint_id in off for delivery_id in closing[endpoint_id].retrying]
        batch = await deliveries.lock_waiting(tx, retrying)
        reasons = await dead_letter_open_deliveries(tx, batch, off, now=now)
    count_dead_letters(reasons)


def _disable(tx: Transaction, endpoint: Endpoint, becomes: EndpointState, now: datetime) -> None:
    """Switch the endpoint off, unless it changed meanwhile to a state from which this does not lead on."""
    trigger = ANSWER_GONE if becomes is EndpointState.GONE else AUTO_DISABLE
    if not trigger.allows(endpoint.state):
        return
    before = str(endpoint.state)
    endpoints.move(endpoint, trigger)
    endpoint.disabled_at = now
    _log.warning("endpoint_disabled", endpoint=endpoint.id, state=str(endpoint.state))
    write_audit(
        tx,
        WORKER,
        "endpoint.disable",
        target=("endpoint", endpoint.id),
        now=now,
        organization_id=endpoint.organization_id,
        before={"state": before},
        after={"state": str(endpoint.state), "consecutive_failures": endpoint.consecutive_failures},
    )


def _to_record(attempt: FinishedAttempt) -> AttemptRecord:
    claimed, step = attempt.claim, attempt.decision.step
    return AttemptRecord(
        delivery_id=claimed.delivery.id,
        lease_token=claimed.lease_token,
        state=_state_after(attempt),
        due_at=step.at if isinstance(step, Retry) else None,
        counted=attempt.decision.counted,
        number=claimed.attempt_number,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        duration_ms=attempt.duration_ms,
        outcome=attempt.result.name,
        response_status=attempt.status,
        error=attempt.error,
        blocked_since=_blocked_since(attempt),
        health=attempt.decision.health,
        exchange=_exchange(attempt) if attempt.decision.counted and not isinstance(step, Delivered) else None,
        dead_letter=NewDeadLetter(new_id(), step.reason, claimed.event.type, claimed.endpoint.url)
        if isinstance(step, DeadLettered)
        else None,
    )


def _state_after(attempt: FinishedAttempt) -> DeliveryState:
    match attempt.decision.step:
        case Delivered():
            return DeliveryState.DELIVERED
        case Retry():
            return DeliveryState.PENDING
        case DeadLettered():
            return DeliveryState.DEAD


def _blocked_since(attempt: FinishedAttempt) -> datetime | None:
    if attempt.result.kind is not ResultKind.OURS:
        return None
    return attempt.claim.delivery.blocked_since or attempt.started_at


def _exchange(attempt: FinishedAttempt) -> Exchange:
    response = attempt.response
    return Exchange(
        url=attempt.claim.endpoint.url,
        request_headers=list(attempt.request.headers) if attempt.request else [],
        response_headers=list(response.headers) if response else None,
        response_body=response.body if response else None,
        response_truncated=response.truncated if response else False,
    )


def _log_attempt(attempt: FinishedAttempt) -> None:
    """Count a committed attempt, and write one wide log line if it failed."""
    ATTEMPTS.labels(attempt.result.name).inc()
    ATTEMPT_SECONDS.observe(attempt.duration_ms / 1000)
    step, claimed = attempt.decision.step, attempt.claim
    if isinstance(step, Delivered):
        return
    reason = step.reason if isinstance(step, DeadLettered) else None
    if reason is not None:
        count_dead_letters([reason])
    _log.info(
        "attempt_failed",
        delivery=claimed.delivery.id,
        event_id=claimed.event.id,
        event_type=claimed.event.type,
        request_id=claimed.event.request_id,
        endpoint=claimed.endpoint.id,
        organization=claimed.delivery.organization_id,
        attempt=claimed.attempt_number,
        outcome=attempt.result.name,
        status=attempt.status,
        because=attempt.result.detail,
        milliseconds=attempt.duration_ms,
        next_attempt_at=step.at.isoformat() if isinstance(step, Retry) else None,
        dead=reason,
    )
