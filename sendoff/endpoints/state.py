"""Changes of an endpoint's state and fields: one function for each trigger of `policy/states.py`, and one `apply`.

The transaction must hold the endpoint. `drain_endpoint` follows after the commit when `drain_due` is set.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sendoff.audit import Actor, only_changes, write_audit
from sendoff.endpoint_health.states import StateChangeReason, move_endpoint
from sendoff.endpoints.fields import audit_snapshot
from sendoff.errors import Conflict
from sendoff.policy.operational_events import OperationalEventType
from sendoff.policy.redaction import redact_mapping
from sendoff.policy.states import (
    DELETE,
    DISABLE_BY_OPERATOR,
    SWITCH_OFF,
    SWITCH_ON,
    EndpointState,
    Trigger,
)
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import endpoints, operational_events
from sendoff.store.queries.operational_events import NewOperationalEvent
from sendoff.store.tables import Endpoint


async def check_count(tx: Transaction, organization_id: str, limit: int) -> None:
    """Raise Conflict if the organization has `limit` endpoints already, or more."""
    count = await endpoints.count_of_organization(tx, organization_id)
    if count >= limit:
        raise Conflict(
            f"The organization has {count} endpoints, and {limit} is the limit (subscriptions count, too); delete one "
            "that is not needed, or let one endpoint receive several event types."
        )


def apply_changes(endpoint: Endpoint, changes: Mapping[str, Any], now: datetime) -> None:
    """Write what an owner changes, by the names in `fields.EndpointChanges`. Raises Conflict as the switches do."""
    for name, value in changes.items():
        if name == "is_active":
            (switch_on if value else switch_off)(endpoint, now)
        else:
            setattr(endpoint, name, value)
    endpoint.updated_at = now


def check_can_switch_on(endpoint: Endpoint) -> None:
    """Raise Conflict unless the owner may switch the endpoint on."""
    if endpoint.state == EndpointState.GONE:
        raise Conflict("This endpoint answered 410 Gone, which disables it for good; register the URL as a new one.")
    if endpoint.disabled_by_operator:
        raise Conflict("An operator disabled this endpoint; ask the operator of this service to enable it.")


def switch_on(endpoint: Endpoint, now: datetime) -> None:
    """Its owner switches it on, its failures forgotten. Raises Conflict if it is gone or an operator disabled it."""
    check_can_switch_on(endpoint)
    _activate(endpoint, now, StateChangeReason.OWNER)


def switch_off(endpoint: Endpoint, now: datetime) -> None:
    """Its owner pauses it; one that is off already stays as it is."""
    if endpoint.state == EndpointState.ACTIVE:
        _move(endpoint, SWITCH_OFF, now, StateChangeReason.OWNER)


def enable_by_operator(endpoint: Endpoint, now: datetime) -> None:
    """An operator switches it on, its failures forgotten. Raises Conflict if its receiver answered 410."""
    if endpoint.state == EndpointState.GONE:
        raise Conflict("This endpoint answered 410 Gone, which is for good; its owner can register the URL again.")
    endpoint.disabled_by_operator = False
    _activate(endpoint, now, StateChangeReason.OPERATOR)


def disable_by_operator(endpoint: Endpoint, now: datetime) -> None:
    """An operator switches it off; only an operator can switch it on again. Raises Conflict if it is gone."""
    if endpoint.state == EndpointState.GONE:
        raise Conflict("This endpoint answered 410 Gone and is off for good; there is nothing left to disable.")
    if endpoint.state != EndpointState.DISABLED:
        _move(endpoint, DISABLE_BY_OPERATOR, now, StateChangeReason.OPERATOR)
        endpoint.disabled_at = now
        endpoint.unhealthy_since = endpoint.unhealthy_since or now
    endpoint.disabled_by_operator = True
    endpoint.updated_at = now


async def mark_deleted(tx: Transaction, actor: Actor, endpoint: Endpoint, now: datetime) -> None:
    """Delete it: it is kept for the record, but never sent to again."""
    before = audit_snapshot(endpoint)
    _move(endpoint, DELETE, now, StateChangeReason.OWNER)
    await record_change(tx, actor, "endpoint.delete", endpoint, before=before)


async def record_change(
    tx: Transaction,
    actor: Actor,
    action: str,
    endpoint: Endpoint,
    *,
    before: Mapping[str, Any] | None,
    resealed: bool = False,
) -> None:
    """Write down what became of an endpoint since the snapshot `before`, which is None if it is new.

    In the audit log and, if an alert endpoint subscribes to it, as an operational event. `resealed`: sealed values, of
    which snapshots show the names alone, may have changed.
    """
    after = audit_snapshot(endpoint)
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
    if before != after or resealed:
        await operational_events.add(tx, _describe_change(actor, action, endpoint, before, after))


def _describe_change(
    actor: Actor, action: str, endpoint: Endpoint, before: Mapping[str, Any] | None, after: Mapping[str, Any]
) -> NewOperationalEvent:
    changed = only_changes(before, after) if before is not None else None
    facts: dict[str, Any] = {"actor": actor.name}
    if changed is not None and action != "endpoint.delete":
        facts |= {"before": redact_mapping(changed[0] or {}), "after": redact_mapping(changed[1] or {})}
    if before is not None and endpoint.state == EndpointState.DISABLED and before["state"] != endpoint.state:
        facts["reason"] = str(StateChangeReason.OPERATOR)
        type_ = OperationalEventType.ENDPOINT_DISABLED
    else:
        type_ = _TYPES.get(action, OperationalEventType.ENDPOINT_UPDATED)
    return NewOperationalEvent(type_, endpoint.updated_at, endpoint.organization_id, endpoint.id, facts=facts)


_TYPES = {
    "endpoint.create": OperationalEventType.ENDPOINT_CREATED,
    "endpoint.delete": OperationalEventType.ENDPOINT_DELETED,
}
"""The operational events of these actions; others change an endpoint."""


def _activate(endpoint: Endpoint, now: datetime, reason: StateChangeReason) -> None:
    if endpoint.state != EndpointState.ACTIVE:
        _move(endpoint, SWITCH_ON, now, reason)
    endpoint.consecutive_failures, endpoint.first_failure_at = 0, None
    endpoint.disabled_at = None


def _move(endpoint: Endpoint, trigger: Trigger, now: datetime, reason: StateChangeReason) -> None:
    move_endpoint(endpoint, trigger, reason)
    endpoint.updated_at = now
