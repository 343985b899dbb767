"""Tell operators when more deliveries die within an hour than `ALERT_DEAD_LETTERS_PER_HOUR` allows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sendoff.clock import iso
from sendoff.context import Context
from sendoff.policy.operational_events import OPERATORS, OperationalEventType
from sendoff.policy.redaction import redact_url
from sendoff.store.queries import accounts, operational_events
from sendoff.store.queries.operational_events import NewOperationalEvent
from sendoff.store.queries.traffic import dead_letters
from sendoff.store.queries.traffic.dead_letters import DeadOfEndpoint
from sendoff.store.tables import AlertGroup

WINDOW = timedelta(hours=1)
"""The time that dead letters are counted over, and the least time between two such events."""

MOST_COUNTED = 10_000
"""Dead letters that are counted for one event, or the threshold if it is higher: more would take too long to read."""

_NAMED = 10  # endpoints with the most dead letters that the event names


async def watch_dead_letters(context: Context) -> None:
    """Write an operational event if there are too many, unless there was one within the last hour."""
    threshold = context.settings.alert_dead_letters_per_hour
    if threshold is None:
        return
    now = context.clock.now()
    key = (OPERATORS, str(OperationalEventType.DEAD_LETTERS_EXCEEDED))
    async with context.database.look() as tx:
        if not await operational_events.alert_endpoints(tx):
            return
    async with context.database.write() as tx:
        await accounts.lock_organization(tx, OPERATORS)
        group = (await operational_events.groups(tx)).get(key)
        if group is not None and group.due_at > now:
            return
        most = max(MOST_COUNTED, threshold + 1)
        found = await dead_letters.count_by_endpoint(tx, since=now - WINDOW, limit=most)
        count = sum(one.count for one in found)
        if count <= threshold:
            return
        facts = {"threshold": threshold, "count": count, "is_at_least": count == most, "since": iso(now - WINDOW)}
        facts["endpoints"] = [_named(one) for one in found[:_NAMED]]
        exceeded = OperationalEventType.DEAD_LETTERS_EXCEEDED
        await operational_events.add(tx, NewOperationalEvent(exceeded, now, None, facts=facts))
        if group is None:
            tx.add(AlertGroup(endpoint_id=OPERATORS, type=exceeded, due_at=now + WINDOW))
        else:
            group.due_at = now + WINDOW


def _named(one: DeadOfEndpoint) -> dict[str, Any]:
    return {
        "endpoint_id": one.endpoint_id,
        "endpoint_url": redact_url(one.endpoint_url),
        "organization_id": one.organization_id,
        "count": one.count,
    }
