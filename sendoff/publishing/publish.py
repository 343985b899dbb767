"""Publish: an event and one delivery per matching endpoint are committed, then enqueued.

Deliveries beyond what a worker takes of one endpoint at once are inserted as held, and so are those of an endpoint that
has held ones already (docs/decisions/0013).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sendoff.context import Context
from sendoff.delivery.admission import most_due
from sendoff.errors import SendoffError
from sendoff.idempotency import IdempotentRequest, StoredResponse, complete, reserve
from sendoff.ids import new_event_id, new_id
from sendoff.policy.matching import BUILT_IN_TYPES, matches
from sendoff.policy.states import DeliveryState
from sendoff.publishing.event_types import check_data, check_types, look_up_publishable
from sendoff.store.engine.database import Transaction
from sendoff.store.hot.rows import EventOfKey
from sendoff.store.queries.deliveries import NewDelivery
from sendoff.store.queries.endpoints import Subscriber
from sendoff.store.queries.events import NewEventRow


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to publish. `data` is JSON text, kept byte for byte; `occurred_at` defaults to now."""

    type: str
    data: bytes
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AcceptedEvent:
    """An event that is committed, with its deliveries."""

    id: str
    type: str
    deliveries: list[NewDelivery]

    @property
    def delivery_ids(self) -> list[str]:
        """The ids of its deliveries."""
        return [delivery.id for delivery in self.deliveries]


async def publish(
    context: Context,
    organization_id: str,
    new_events: Sequence[NewEvent],
    *,
    answer: Callable[[list[AcceptedEvent]], StoredResponse],
    request_id: str | None = None,
    idempotent: IdempotentRequest | None = None,
    in_batch: bool = False,
) -> StoredResponse:
    """Commit the events with their deliveries, all or none, and return what `answer` makes of them.

    With `idempotent`, a repetition returns the first answer instead, decided in the same transaction.
    Raises UnknownEventType or Invalid; `in_batch` lets the errors name the index of the event.
    """
    refusal = await _find_refusal(context, organization_id, new_events, in_batch=in_batch)
    async with context.database.write() as tx:
        stored = await reserve(tx, context, idempotent) if idempotent else None
        if stored is not None:
            return stored
        if refusal is not None:
            raise refusal
        accepted = await add_events(tx, context, organization_id, new_events, request_id=request_id)
        response = answer(accepted)
        if idempotent is not None:
            await complete(tx, context, idempotent, response)
    enqueue_accepted(context, accepted)
    return response


async def _find_refusal(
    context: Context, organization_id: str, new_events: Sequence[NewEvent], *, in_batch: bool
) -> SendoffError | None:
    """Why the events may not be published, found before the transaction that a long check would hold open."""
    registered = await look_up_publishable(context, {event.type for event in new_events})
    try:
        check_types(registered, new_events, in_batch=in_batch)
        await check_data(context, organization_id, registered, new_events, in_batch=in_batch)
    except SendoffError as error:
        return error
    return None


async def add_events(
    tx: Transaction,
    context: Context,
    organization_id: str,
    new_events: Sequence[NewEvent],
    *,
    request_id: str | None = None,
) -> list[AcceptedEvent]:
    """Insert events and their deliveries within a larger transaction; call `enqueue_accepted` after its commit."""
    publication = Publication(organization_id, new_events, request_id)
    subscribers = await context.hot.find_subscribers(tx, {organization_id}, {event.type for event in new_events})
    [accepted] = await insert_publications(context, [publication], subscribers, tx=tx)
    return accepted


async def insert_publications(
    context: Context,
    publications: Sequence[Publication],
    subscribers: Mapping[str, Sequence[Subscriber]],
    *,
    tx: Transaction | None = None,
) -> list[list[AcceptedEvent]]:
    """Insert events with one delivery for each subscriber that they match: the one way in which events are published.

    Inserts within `tx`, or commits without one. Returns what each publication is answered, in their order.
    """
    now = context.clock.now()
    settings = context.settings
    plan = plan_publications(
        publications,
        subscribers,
        endpoint_cap=settings.endpoint_max_in_flight,
        slots=settings.worker_max_in_flight,
        now=now,
    )
    if plan.events:
        await context.hot.accept(plan.events, plan.deliveries, now=now, tx=tx)
    return plan.accepted


async def accept_one(
    context: Context, key_hash: str, event: NewEvent, *, scope: str, request_id: str | None
) -> AcceptedEvent | None:
    """Commit one event for the organization of an API key in one statement, if nothing about it is unusual.

    None, with nothing written, for any other, which is then accepted or refused like several (`HotStore.accept_one`).
    """
    now = context.clock.now()
    new = EventOfKey(key_hash, new_event_id(), event.type, event.data.decode(), event.occurred_at or now, request_id)
    is_built_in = event.type in BUILT_IN_TYPES
    deliveries = await context.hot.accept_one(new, scope=scope, is_built_in=is_built_in, now=now)
    return None if deliveries is None else AcceptedEvent(new.id, event.type, deliveries)


@dataclass(frozen=True, slots=True)
class Publication:
    """Events that one request hands in."""

    organization_id: str
    events: Sequence[NewEvent]
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows to insert for the publications, and the answer to each, in order."""

    events: list[NewEventRow]
    deliveries: list[NewDelivery]
    accepted: list[list[AcceptedEvent]]


def plan_publications(
    publications: Sequence[Publication],
    subscribers: Mapping[str, Sequence[Subscriber]],
    *,
    endpoint_cap: int,
    slots: int,
    now: datetime,
) -> Plan:
    """One event row for each event, one delivery row for each of its organization's endpoints that it matches.

    Of one endpoint's deliveries at most `most_due` are due, and none while others of it are held; the rest is held.
    """
    plan = Plan([], [], [])
    due: Counter[str] = Counter()
    for publication in publications:
        plan.accepted.append([])
        subscribed = _by_type(publication, subscribers[publication.organization_id])
        reached = {subscriber.id for found in subscribed.values() for subscriber in found}
        due_at_most = most_due(endpoint_cap, slots=slots, endpoints=len(reached))
        for event in publication.events:
            event_id = new_event_id()
            rows: list[NewDelivery] = []
            for subscriber in subscribed[event.type]:
                is_due = not subscriber.has_held and due[subscriber.id] < due_at_most
                due[subscriber.id] += is_due
                state = DeliveryState.PENDING if is_due else DeliveryState.HELD
                rows.append(NewDelivery(new_id(), event_id, subscriber.id, publication.organization_id, now, state))
            plan.deliveries.extend(rows)
            plan.events.append(_event_row(event, event_id, publication, now, len(rows)))
            plan.accepted[-1].append(AcceptedEvent(event_id, event.type, rows))
    return plan


def _by_type(publication: Publication, subscribers: Sequence[Subscriber]) -> dict[str, list[Subscriber]]:
    types = {event.type for event in publication.events}
    return {type_: [subscriber for subscriber in subscribers if matches(subscriber.events, type_)] for type_ in types}


def enqueue_accepted(context: Context, accepted: Sequence[AcceptedEvent]) -> None:
    """Enqueue the deliveries of committed events for the workers."""
    new = [delivery for event in accepted for delivery in event.deliveries]
    context.queue.enqueue_deliveries(delivery.id for delivery in new if delivery.state == DeliveryState.PENDING)
    context.queue.enqueue_backlog({delivery.endpoint_id for delivery in new if delivery.state == DeliveryState.HELD})


def _event_row(
    event: NewEvent, event_id: str, publication: Publication, now: datetime, delivery_count: int
) -> NewEventRow:
    return NewEventRow(
        id=event_id,
        organization_id=publication.organization_id,
        type=event.type,
        data=event.data.decode(),
        occurred_at=event.occurred_at or now,
        created_at=now,
        request_id=publication.request_id,
        delivery_count=delivery_count,
    )
