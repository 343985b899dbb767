"""Endpoints that failed too often, or answered 410, are switched off.

Alert endpoints are not disabled for failing: no one would learn that alerts are lost from then on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from sendoff.audit import WORKER, write_audit
from sendoff.context import Context
from sendoff.endpoint_health.draining import count_drained, dead_letter_open_deliveries
from sendoff.endpoint_health.states import StateChangeReason, move_endpoint
from sendoff.errors import Unavailable
from sendoff.policy.delivery.auto_disable import EndedAttempt
from sendoff.policy.operational_events import OperationalEventType
from sendoff.policy.states import ANSWER_GONE, AUTO_DISABLE, DeadLetterReason, EndpointState
from sendoff.store.engine.database import Transaction
from sendoff.store.hot.rows import EndpointBefore
from sendoff.store.queries import endpoints, operational_events
from sendoff.store.queries.operational_events import NewOperationalEvent
from sendoff.store.queries.traffic import deliveries
from sendoff.store.tables import Endpoint

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RecordedAttempts:
    """Attempts of one endpoint that were recorded together."""

    before: EndpointBefore
    ended: Sequence[EndedAttempt]
    retrying: Sequence[str]
    """The deliveries of those that are to be attempted again."""
    is_alert: bool
    """Whether it is an alert endpoint of the operators."""


async def close_failing_endpoints(
    context: Context, recorded: Mapping[str, RecordedAttempts]
) -> Mapping[str, DeadLetterReason]:
    """Switch endpoints off by what their attempts came to, and dead-letter the deliveries they were to retry.

    Returns the reasons of those by their ids. Other deliveries that wait for the endpoints are dead-lettered by
    `drain_inactive_endpoints`. If the database cannot be reached, the next failure of each endpoint closes it.
    """
    closing: dict[str, EndpointState | None] = {}  # the state that an endpoint gets; None if it is off already
    for endpoint_id, attempts in recorded.items():
        becomes = _judge(context, attempts)
        if becomes is not None or (attempts.retrying and attempts.before.state != EndpointState.ACTIVE):
            closing[endpoint_id] = becomes
    if not closing:
        return {}
    try:
        return await _close(context, closing, recorded)
    except Unavailable as error:
        _log.warning("endpoint_disable_failed", endpoints=list(closing), error=str(error))
        return {}


def _judge(context: Context, attempts: RecordedAttempts) -> EndpointState | None:
    """The state that the endpoint gets by these attempts; None if it keeps its own."""
    before = attempts.before
    tally = context.auto_disable.tally(
        before.consecutive_failures, attempts.ended, first_failure_at=before.first_failure_at
    )
    return None if attempts.is_alert and tally.becomes is EndpointState.DISABLED else tally.becomes


async def _close(
    context: Context, closing: Mapping[str, EndpointState | None], recorded: Mapping[str, RecordedAttempts]
) -> Mapping[str, DeadLetterReason]:
    now = context.clock.now()
    async with context.database.write() as tx:
        rows = await endpoints.find_many(tx, closing, lock=True)
        for endpoint_id, endpoint in rows.items():
            becomes = closing[endpoint_id]
            if becomes is not None:
                await _disable(tx, endpoint, becomes, now)
        await tx.flush()
        off = {key: EndpointState(row.state) for key, row in rows.items() if row.state != EndpointState.ACTIVE}
        batch = await deliveries.lock_waiting(tx, [one for key in off for one in recorded[key].retrying])
        letters = await dead_letter_open_deliveries(tx, batch, off, now=now)
    count_drained(context, letters)
    return {letter.delivery_id: letter.reason for letter in letters}


async def _disable(tx: Transaction, endpoint: Endpoint, becomes: EndpointState, now: datetime) -> None:
    """Switch the endpoint off, unless it changed meanwhile to a state from which this does not lead on."""
    is_gone = becomes is EndpointState.GONE
    trigger = ANSWER_GONE if is_gone else AUTO_DISABLE
    if not trigger.allows(endpoint.state):
        return
    before, reason = str(endpoint.state), StateChangeReason.GONE if is_gone else StateChangeReason.FAILURES
    move_endpoint(endpoint, trigger, reason)
    endpoint.disabled_at = now
    endpoint.unhealthy_since = endpoint.unhealthy_since or endpoint.first_failure_at or now
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
    await operational_events.add(
        tx,
        NewOperationalEvent(
            OperationalEventType.ENDPOINT_DISABLED,
            now,
            endpoint.organization_id,
            endpoint.id,
            facts={"reason": str(reason), "consecutive_failures": endpoint.consecutive_failures, "actor": WORKER.name},
        ),
    )
