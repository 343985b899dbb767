"""Health: what attempts say about their endpoints is counted on them, and may disable them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog

from sendoff.audit import WORKER, write_audit
from sendoff.delivery.pipeline import FinishedAttempt
from sendoff.policy.auto_disable import AutoDisable
from sendoff.policy.decision import Health
from sendoff.policy.states import EndpointState
from sendoff.store.engine.database import Transaction
from sendoff.store.hot.successes import SUCCESS_NOTED_EVERY
from sendoff.store.queries import endpoints
from sendoff.store.tables import Endpoint

_log = structlog.get_logger(__name__)


async def record_health(
    tx: Transaction, auto_disable: AutoDisable, ours: Sequence[FinishedAttempt], now: datetime
) -> dict[str, Endpoint]:
    """Count the attempts on their endpoints; those endpoints that something was to be written or decided about."""
    by_endpoint: dict[str, list[FinishedAttempt]] = {}
    for attempt in ours:
        by_endpoint.setdefault(attempt.claim.delivery.endpoint_id, []).append(attempt)
    touched = {key for key, made in by_endpoint.items() if _is_worth_noting(made, now)}
    # What the claim saw is old by now: a success must end the count of failures that were recorded since.
    touched |= await endpoints.find_failing(tx, by_endpoint.keys() - touched)
    if not touched:
        return {}
    rows = await endpoints.find_many(tx, touched, lock=True)
    for endpoint_id, endpoint in rows.items():
        before = endpoint.state
        _count(endpoint, by_endpoint[endpoint_id], auto_disable, now)
        if endpoint.state != before:
            _note_disabled(tx, endpoint, before, now)
    await tx.flush()
    return rows


def _note_disabled(tx: Transaction, endpoint: Endpoint, before: str, now: datetime) -> None:
    _log.warning("endpoint_disabled", endpoint=endpoint.id, state=str(endpoint.state))
    write_audit(
        tx,
        WORKER,
        "endpoint.disable",
        target=("endpoint", endpoint.id),
        now=now,
        organization_id=endpoint.organization_id,
        before={"state": str(before)},
        after={"state": str(endpoint.state), "consecutive_failures": endpoint.consecutive_failures},
    )


def _is_worth_noting(made: Sequence[FinishedAttempt], now: datetime) -> bool:
    if any(attempt.decision.health is not Health.WELL for attempt in made):
        return True
    seen = made[0].claim.endpoint
    return seen.last_success_at is None or seen.last_success_at <= now - SUCCESS_NOTED_EVERY


def _count(endpoint: Endpoint, made: Sequence[FinishedAttempt], auto_disable: AutoDisable, now: datetime) -> None:
    made = sorted(made, key=lambda attempt: attempt.ended_at)
    for attempt in made:
        if attempt.decision.health is Health.WELL:
            endpoint.last_success_at = attempt.ended_at
        elif attempt.decision.counted:
            endpoint.last_failure_at = attempt.ended_at
    standing = auto_disable.tally(endpoint.consecutive_failures, [attempt.decision.health for attempt in made])
    endpoint.consecutive_failures = standing.consecutive_failures
    if standing.becomes is not None and _can_become(standing.becomes, endpoint):
        endpoint.state = standing.becomes
        endpoint.disabled_at = now
        endpoint.drain_due = True


def _can_become(state: EndpointState, endpoint: Endpoint) -> bool:
    if endpoint.state == EndpointState.ACTIVE:
        return True
    # What is paused or disabled could be switched on again; what answered 410 must not.
    return state == EndpointState.GONE and endpoint.state in (EndpointState.PAUSED, EndpointState.DISABLED)
