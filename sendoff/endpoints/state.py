"""What can become of an endpoint of any surface: switched on or off, deleted, told in the audit log."""

from __future__ import annotations

from typing import Any

from sendoff.audit import Actor, write_audit
from sendoff.context import Context
from sendoff.errors import Invalid
from sendoff.policy.redaction import redact_url
from sendoff.policy.states import EndpointState
from sendoff.store.engine.database import Transaction
from sendoff.store.tables import Endpoint

HIGHEST_RATE = 10_000
"""Deliveries per second. Whoever wants more wants no limit."""


def check_rate_limit(rate_limit: int | None) -> None:
    """Raise Invalid unless it is a number of deliveries per second that can be kept, or None for no limit."""
    if rate_limit is not None and not 1 <= rate_limit <= HIGHEST_RATE:
        raise Invalid(
            f"`rate_limit` is a number of deliveries per second from 1 to {HIGHEST_RATE}, not {rate_limit}; "
            "null stands for no limit.",
            field="rate_limit",
        )


def mark_deleted(tx: Transaction, context: Context, actor: Actor, endpoint: Endpoint) -> None:
    """Delete an endpoint that the transaction holds; `drain_endpoint` after its commit."""
    before = shown(endpoint)
    endpoint.state = EndpointState.DELETED
    endpoint.drain_due = True
    endpoint.updated_at = context.clock.now()
    note(tx, actor, "endpoint.delete", endpoint, before=before, after=None)


def switch(endpoint: Endpoint, *, on: bool) -> None:
    """Switch on what is off, its failures forgotten, or pause what is active."""
    if on:
        endpoint.state = EndpointState.ACTIVE
        endpoint.drain_due = False
        endpoint.consecutive_failures = 0
        endpoint.disabled_at = None
    elif endpoint.state == EndpointState.ACTIVE:
        endpoint.state = EndpointState.PAUSED
        endpoint.drain_due = True


def note(
    tx: Transaction,
    actor: Actor,
    action: str,
    endpoint: Endpoint,
    *,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> None:
    """Tell the audit log what became of an endpoint when it was updated last."""
    write_audit(
        tx,
        actor,
        action,
        target=("endpoint", endpoint.id),
        now=endpoint.updated_at,
        organization_id=endpoint.organization_id,
        before=before,
        after=after,
    )


def shown(endpoint: Endpoint) -> dict[str, Any]:
    """What the audit log tells of an endpoint."""
    return {
        "url": redact_url(endpoint.url),
        "description": endpoint.description,
        "events": list(endpoint.events),
        "state": str(endpoint.state),
        "rate_limit": endpoint.rate_limit,
    }
