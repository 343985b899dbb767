"""Publish operational events: what transactions have written down becomes deliveries to alert endpoints.

An event leaves the table `operational_events` in the transaction that inserts its deliveries, so that it is published
at most once, and exactly once unless no alert endpoint wants it any more. One process does it at a time.

Alert endpoints for people (`dialects/alert.py`) get the first event of a type at once. What follows within
`ALERT_GROUP_SECONDS` comes together in one message: an endpoint that is disabled with 20,000 deliveries waiting makes
two messages, not 20,000.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from msgspec.structs import replace

from sendoff.clock import iso
from sendoff.context import Context
from sendoff.dialects.alert import FOR_PEOPLE
from sendoff.ids import new_event_id
from sendoff.policy.endpoints.expressions import ExpressionInput
from sendoff.policy.endpoints.matching import matches, patterns_of_all
from sendoff.policy.operational_events import OPERATORS
from sendoff.publishing.evaluation import evaluate_event, filter_of
from sendoff.publishing.operational_data import describe
from sendoff.publishing.publish import (
    AcceptedEvent,
    NewEvent,
    Publication,
    enqueue_accepted,
    evaluate_publication,
    insert_publications,
)
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import accounts, operational_events
from sendoff.store.queries.endpoints import Subscriber
from sendoff.store.tables import AlertGroup, Endpoint, OperationalEvent

AT_ONCE = 200
"""Events published in one transaction; on SQLite, other writers wait for it."""

ENDPOINTS_NAMED = 20
"""Endpoints that a message about several events names; the others are only counted."""


async def publish_operational_events(context: Context) -> None:
    """Publish what waits, and send what was kept together long enough, until nothing is left."""
    while await _publish_some(context):
        pass


async def _publish_some(context: Context) -> bool:
    """Publish at most `AT_ONCE`; return whether there may be more."""
    now = context.clock.now()
    async with context.database.write() as tx:
        await accounts.lock_organization(tx, OPERATORS)
        found = await operational_events.oldest(tx, limit=AT_ONCE)
        recipients = await _read_recipients(tx, context, [event.type for event in found])
        groups = _Groups(await operational_events.groups(tx), now, context.settings.alert_group_seconds)
        data = await describe(tx, context, found)
        planned = await _plan(context, found, data, recipients, groups)
        planned += await _close_groups(tx, groups, recipients)
        accepted = await _insert(tx, context, planned, recipients)
        await operational_events.remove(tx, found)
    enqueue_accepted(context, accepted)
    return len(found) == AT_ONCE


@dataclass(frozen=True, slots=True)
class _Recipient:
    """An active alert endpoint, and how publishing sees it."""

    endpoint: Endpoint
    subscriber: Subscriber
    for_people: bool

    def wants(self, event: OperationalEvent) -> bool:
        """Whether it subscribes to the event's type and to its organization."""
        organizations = self.endpoint.organization_ids
        return matches(self.endpoint.events, event.type) and (
            organizations is None or event.organization_id in organizations
        )


@dataclass(frozen=True, slots=True)
class _Planned:
    """An event, and the alert endpoints that get it."""

    event: NewEvent
    endpoint_ids: tuple[str, ...]
    is_summary: bool = False
    """Whether it tells of several: filters and transforms are made for one, and do not apply."""


async def _read_recipients(tx: Transaction, context: Context, types: Sequence[str]) -> dict[str, _Recipient]:
    rows = await operational_events.alert_endpoints(tx)
    patterns = patterns_of_all(types) | {pattern for row in rows for pattern in row.events}
    found = (await context.hot.find_subscribers(tx, {OPERATORS}, patterns))[OPERATORS]
    subscribers = {subscriber.id: subscriber for subscriber in found}
    return {
        row.id: _Recipient(row, subscribers[row.id], row.dialect in FOR_PEOPLE) for row in rows if row.id in subscribers
    }


async def _plan(
    context: Context,
    found: Sequence[OperationalEvent],
    data: Sequence[dict[str, Any]],
    recipients: Mapping[str, _Recipient],
    groups: _Groups,
) -> list[_Planned]:
    """Who gets which of the events now; what comes too soon after another goes to its group."""
    planned: list[_Planned] = []
    for event, described in zip(found, data, strict=True):
        new = NewEvent(event.type, orjson.dumps(described), event.occurred_at)
        now_to: list[str] = []
        for recipient in recipients.values():
            if not recipient.wants(event):
                continue
            if recipient.for_people:
                if not await _passes_filter(context, recipient.subscriber, new):
                    continue
                if groups.keep(recipient.endpoint.id, event, described):
                    continue
            now_to.append(recipient.endpoint.id)
        if now_to:
            planned.append(_Planned(new, tuple(now_to)))
    return planned


async def _passes_filter(context: Context, subscriber: Subscriber, event: NewEvent) -> bool:
    """Whether the filter lets the event through: only events that people would have got are sent together."""
    if (pair := filter_of(subscriber)) is None:
        return True
    source = ExpressionInput(new_event_id(), event.type, event.occurred_at or context.clock.now(), event.data)
    return (await evaluate_event(context, OPERATORS, source, [pair]))[pair].matches


class _Groups:
    """What alert endpoints for people are to get together."""

    def __init__(self, groups: dict[tuple[str, str], AlertGroup], now: datetime, seconds: float) -> None:
        self.known = groups
        self.new: list[AlertGroup] = []
        self._now = now
        self._seconds = seconds
        self._until = now + timedelta(seconds=seconds)

    def keep(self, endpoint_id: str, event: OperationalEvent, data: Mapping[str, Any]) -> bool:
        """Whether the event waits for others; if it does not, those that follow it will."""
        if self._seconds == 0:
            return False
        group = self.known.get((endpoint_id, event.type))
        if group is None:
            group = AlertGroup(endpoint_id=endpoint_id, type=event.type, due_at=self._until)
            self.known[endpoint_id, event.type] = group
            self.new.append(group)
            return False
        group.count += 1
        group.first_at, group.last_at = group.first_at or event.occurred_at, event.occurred_at
        about = str(data.get("endpoint_id") or "")
        if about in group.by_endpoint or (about and len(group.by_endpoint) < ENDPOINTS_NAMED):
            named = group.by_endpoint.get(about) or {
                "endpoint_id": about,
                "endpoint_url": data.get("endpoint_url"),
                "organization_id": data.get("organization_id"),
                "organization_name": data.get("organization_name"),
                "count": 0,
            }
            # A new mapping, for SQLAlchemy does not see changes within one.
            group.by_endpoint = group.by_endpoint | {about: named | {"count": named["count"] + 1}}
        return True

    def due(self) -> list[AlertGroup]:
        """The groups whose time is over."""
        return [group for group in self.known.values() if group.due_at <= self._now]

    def start_again(self, group: AlertGroup) -> None:
        """What was kept is sent; keep what follows for as long again."""
        group.due_at, group.count, group.first_at, group.last_at, group.by_endpoint = self._until, 0, None, None, {}


async def _close_groups(tx: Transaction, groups: _Groups, recipients: Mapping[str, _Recipient]) -> list[_Planned]:
    """The events of groups whose time is over; a group in which nothing came is forgotten."""
    tx.add_all(groups.new)
    planned: list[_Planned] = []
    for group in groups.due():
        if group.count == 0 or group.endpoint_id not in recipients:
            await tx.delete(group)
            continue
        summary = NewEvent(group.type, orjson.dumps(_describe_group(group)))
        planned.append(_Planned(summary, (group.endpoint_id,), is_summary=True))
        groups.start_again(group)
    await tx.flush()
    return planned


def _describe_group(group: AlertGroup) -> dict[str, Any]:
    named = sorted(group.by_endpoint.values(), key=lambda one: one["count"], reverse=True)
    return {
        "count": group.count,
        "first_at": iso(group.first_at) if group.first_at else None,
        "last_at": iso(group.last_at) if group.last_at else None,
        "endpoints": named,
    }


async def _insert(
    tx: Transaction, context: Context, planned: Sequence[_Planned], recipients: Mapping[str, _Recipient]
) -> list[AcceptedEvent]:
    """Insert the events, those with the same recipients together."""
    together: dict[tuple[tuple[str, ...], bool], list[NewEvent]] = {}
    for one in planned:
        together.setdefault((one.endpoint_ids, one.is_summary), []).append(one.event)
    accepted: list[AcceptedEvent] = []
    for (endpoint_ids, is_summary), new_events in together.items():
        subscribers = [recipients[endpoint_id].subscriber for endpoint_id in endpoint_ids]
        if is_summary:
            subscribers = [replace(one, filter=None, transform=None) for one in subscribers]
        publication = Publication.of(OPERATORS, new_events, None)
        await evaluate_publication(context, publication, subscribers)
        [inserted] = await insert_publications(context, [publication], {OPERATORS: subscribers}, tx=tx)
        accepted += inserted
    return accepted
