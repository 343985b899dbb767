"""Publish: an event and one delivery per matching endpoint are committed, then enqueued.

Deliveries beyond what a worker takes of one endpoint at once are inserted as held, and so are those of an endpoint that
has held ones already (docs/decisions/0013).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from sendoff.context import Context
from sendoff.endpoint_health.draining import count_dead_letters
from sendoff.errors import SendoffError, TooLarge, Unavailable
from sendoff.idempotency import IdempotentRequest, StoredResponse, complete, reserve
from sendoff.ids import new_event_id, new_id
from sendoff.observability.statistics import Statistics
from sendoff.policy.delivery.admission import most_due
from sendoff.policy.endpoints.expressions import Evaluated, ExpressionInput
from sendoff.policy.endpoints.matching import (
    BUILT_IN_TYPES,
    is_event_type_name,
    matching_subscriptions,
    patterns_of_all,
)
from sendoff.policy.states import DeliveryState
from sendoff.publishing.evaluation import (
    EvaluationJob,
    Evaluations,
    check_evaluated,
    distinct_expressions,
    evaluate,
    expressions_of,
)
from sendoff.publishing.event_types import check_data, check_types, look_up_publishable
from sendoff.publishing.expression_task import MAX_TRANSFORMED_CHARACTERS, TOO_MUCH_TRANSFORMED
from sendoff.publishing.turns import PublishTurns
from sendoff.publishing.untransformed import Untransformed, dead_letter_untransformed
from sendoff.store.engine.database import ANSWER_SECONDS, Transaction, after_commit
from sendoff.store.hot.rows import EventOfKey
from sendoff.store.queries.endpoints import Subscriber
from sendoff.store.queries.traffic import events, ordering
from sendoff.store.queries.traffic.deliveries import NewDelivery
from sendoff.store.queries.traffic.events import NewEventRow
from sendoff.store.tables import EventTag

_TOO_LATE = "The database did not take the events in time; they may or may not have been accepted."
NOT_TAKEN = "The events could not be taken in time; they were not accepted, so try again in a moment."
_EVERYTHING = Evaluated()
_LARGE_BYTES = 4_096  # of the data of one request; expressions on less are hardly ever costly

MAX_DELIVERIES = 10_000
"""Deliveries that a batch of events may make: they are inserted in one transaction, for which other writers wait. On
SQLite it takes about a quarter of a second."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to publish. `data` is JSON text, kept byte for byte; `occurred_at` defaults to now."""

    type: str
    data: bytes
    occurred_at: datetime | None = None
    traceparent: str | None = None
    """The trace context of the span that publishes it (`observability/tracing.py`)."""
    tags: tuple[str, ...] = ()
    """By which it is found; each once."""


@dataclass(frozen=True, slots=True)
class AcceptedEvent:
    """An event that is committed, with its deliveries."""

    id: str
    organization_id: str
    type: str
    deliveries: list[NewDelivery]
    traceparent: str | None = None

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
    within: float = ANSWER_SECONDS,
) -> StoredResponse:
    """Commit the events with their deliveries, all or none, and return what `answer` makes of them.

    With `idempotent`, a repetition returns the first answer instead, decided in the same transaction.
    Raises UnknownEventType, Invalid, TooLarge, or Unavailable after `within` seconds; `in_batch` lets the errors name
    the index of the event.
    """
    async with (
        answered_by(asyncio.get_running_loop().time() + within) as status,
        context.service(PublishTurns.of).taken(organization_id, idempotent),
    ):
        refusal = await find_refusal(context, organization_id, new_events, in_batch=in_batch)
        publication = Publication.of(organization_id, new_events, request_id)
        if refusal is None:
            await evaluate_if_large(context, publication)
        async with context.database.write() as tx:
            stored = await reserve(tx, context, idempotent) if idempotent else None
            if stored is not None:
                return stored
            if refusal is not None:
                raise refusal
            accepted = await add_publication(tx, context, publication)
            response = answer(accepted)
            if idempotent is not None:
                await complete(tx, context, idempotent, response)
            status.may_be_committed = True
    enqueue_accepted(context, accepted)
    return response


@dataclass(slots=True)
class CommitStatus:
    """Whether the request's events may have been committed although no answer says so."""

    may_be_committed: bool = False
    """Set before the statement that commits them."""


@asynccontextmanager
async def answered_by(deadline: float) -> AsyncIterator[CommitStatus]:
    """Give the block up at `deadline`, a time of the event loop, and raise Unavailable.

    What is then under way in the database is rolled back if the server hears of it. The error says that the events were
    not accepted, unless the block has noted that they may be committed.
    """
    status = CommitStatus()
    try:
        async with asyncio.timeout_at(deadline):
            yield status
    except TimeoutError:
        raise Unavailable(_TOO_LATE if status.may_be_committed else NOT_TAKEN) from None


async def find_refusal(
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


async def evaluate_if_large(context: Context, publication: Publication) -> None:
    """Evaluate expressions on large data before the transaction, which the sandbox would hold open."""
    if sum(len(event.data) for event in publication.events) > _LARGE_BYTES:
        await evaluate_without_transaction(context, publication)


async def evaluate_without_transaction(context: Context, publication: Publication) -> Sequence[Subscriber]:
    """Evaluate the expressions of its subscribers, as they are now, without a transaction; return those."""
    async with context.database.read() as tx:
        subscribers = await find_subscribers(tx, context, publication)
    await evaluate_publication(context, publication, subscribers)
    return subscribers


async def add_events(
    tx: Transaction,
    context: Context,
    organization_id: str,
    new_events: Sequence[NewEvent],
    *,
    request_id: str | None = None,
) -> list[AcceptedEvent]:
    """Insert events and their deliveries within a larger transaction; call `enqueue_accepted` after its commit."""
    publication = Publication.of(organization_id, new_events, request_id)
    return await add_publication(tx, context, publication)


async def add_publication(tx: Transaction, context: Context, publication: Publication) -> list[AcceptedEvent]:
    """Insert a publication within a larger transaction, with what `evaluate_if_large` has not evaluated yet."""
    subscribers = await find_subscribers(tx, context, publication)
    check_fan_out(publication, subscribers)
    await evaluate_publication(context, publication, subscribers)
    [accepted] = await insert_publications(context, [publication], {publication.organization_id: subscribers}, tx=tx)
    return accepted


async def find_subscribers(tx: Transaction, context: Context, publication: Publication) -> Sequence[Subscriber]:
    """The active endpoints of its organization that subscribe to any of its events' types."""
    types = {event.type for event in publication.events}
    found = await context.hot.find_subscribers(tx, {publication.organization_id}, patterns_of_all(types))
    return found[publication.organization_id]


async def insert_publications(
    context: Context,
    publications: Sequence[Publication],
    subscribers: Mapping[str, Sequence[Subscriber]],
    *,
    tx: Transaction | None = None,
) -> list[list[AcceptedEvent]]:
    """Insert events with one delivery for each subscriber that they match.

    Their subscribers' expressions have been evaluated (`evaluate_publication`). Inserts within `tx`, or commits without
    one. Returns what each publication is answered, in their order.
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
    if tx is None and (plan.failed or plan.is_ordered or plan.tags):
        async with context.database.write() as own:
            await _insert(context, plan, now, tx=own)
    elif plan.events:
        await _insert(context, plan, now, tx=tx)
    return plan.accepted


async def accept_one(
    context: Context, key_hash: str, event: NewEvent, *, scope: str, request_id: str | None
) -> AcceptedEvent | None:
    """Commit one event for the organization of an API key in one statement, if nothing about it is unusual.

    None, with nothing written, for any other, which is then accepted or refused like several (`HotStore.accept_one`).
    """
    now = context.clock.now()
    new = EventOfKey(
        key_hash,
        new_event_id(),
        event.type,
        event.data.decode(),
        event.occurred_at or now,
        request_id,
        event.traceparent,
    )
    is_built_in = event.type in BUILT_IN_TYPES
    if event.tags or (not is_built_in and not is_event_type_name(event.type)):
        return None
    accepted = await context.hot.accept_one(new, scope=scope, is_built_in=is_built_in, now=now)
    return None if accepted is None else AcceptedEvent(new.id, accepted[0], event.type, accepted[1], event.traceparent)


async def _insert(context: Context, plan: Plan, now: datetime, *, tx: Transaction | None) -> None:
    if tx is not None and plan.is_ordered:
        await _take_places(tx, plan.deliveries)
    await context.hot.accept(plan.events, plan.deliveries, now=now, tx=tx)
    if tx is not None:
        letters = await dead_letter_untransformed(tx, plan.failed, now=now)
        after_commit(tx, lambda: count_dead_letters(letter.reason for letter in letters))
        await events.insert_tags(tx, plan.tags)


async def evaluate_publication(context: Context, publication: Publication, subscribers: Sequence[Subscriber]) -> None:
    """Evaluate what of the subscribers' filters and transforms the publication has no results of yet.

    Raises Unavailable when too much of the organization's work waits, and TooLarge; see `evaluation.evaluate`.
    """
    jobs = publication.missing_evaluations(subscribers, now=context.clock.now())
    publication.evaluations.update(await evaluate(context, publication.organization_id, jobs))
    check_transformed(publication, subscribers)


async def _take_places(tx: Transaction, planned: Sequence[NewDelivery]) -> None:
    """Give the deliveries for ordered endpoints their places; the first of an empty line is due at once."""
    queued = [delivery for delivery in planned if delivery.state is DeliveryState.QUEUED]
    places = await ordering.take_places(tx, Counter(delivery.endpoint_id for delivery in queued))
    for delivery in queued:
        if (place := places.get(delivery.endpoint_id)) is None:
            delivery.state = DeliveryState.HELD  # the endpoint is not ordered any more
            continue
        place.last_sequence += 1
        delivery.sequence = place.last_sequence
        if place.is_free:
            delivery.state, place.is_free = DeliveryState.PENDING, False


@dataclass(frozen=True, slots=True)
class Publication:
    """Events that one request hands in, with the ids that they get."""

    organization_id: str
    events: Sequence[NewEvent]
    request_id: str | None
    ids: Sequence[str]
    evaluations: Evaluations = field(default_factory=dict)

    @classmethod
    def of(cls, organization_id: str, events: Sequence[NewEvent], request_id: str | None) -> Publication:
        """Give the events their ids."""
        return cls(organization_id, events, request_id, [new_event_id() for _ in events])

    def missing_evaluations(self, subscribers: Sequence[Subscriber], *, now: datetime) -> list[EvaluationJob]:
        """The events with those of the subscribers' expressions that are not evaluated yet."""
        if all(expressions_of(subscriber) is None for subscriber in subscribers):
            return []
        jobs: list[EvaluationJob] = []
        pairs = {type_: distinct_expressions(found) for type_, found in _by_type(self, subscribers).items()}
        for event, event_id in zip(self.events, self.ids, strict=True):
            wanted = [pair for pair in pairs[event.type] if (event_id, pair) not in self.evaluations]
            if wanted:
                source = ExpressionInput(event_id, event.type, event.occurred_at or now, event.data)
                jobs.append(EvaluationJob(source, wanted))
        return jobs

    def result_for(self, subscriber: Subscriber, event_id: str) -> Evaluated:
        """What the subscriber's expressions gave for the event."""
        pair = expressions_of(subscriber)
        return _EVERYTHING if pair is None else self.evaluations[event_id, pair]


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows to insert for the publications, and the answer to each, in order."""

    events: list[NewEventRow]
    deliveries: list[NewDelivery]
    accepted: list[list[AcceptedEvent]]
    failed: list[Untransformed]
    """The deliveries whose transform failed: they are inserted, and are dead letters at once."""
    tags: list[EventTag]

    @property
    def is_ordered(self) -> bool:
        """Whether a delivery needs a place in a line."""
        return any(delivery.state is DeliveryState.QUEUED for delivery in self.deliveries)


def plan_publications(
    publications: Sequence[Publication],
    subscribers: Mapping[str, Sequence[Subscriber]],
    *,
    endpoint_cap: int,
    slots: int,
    now: datetime,
) -> Plan:
    """One event row for each event, one delivery row for each of its organization's endpoints that it matches.

    Of one endpoint's deliveries at most `most_due` are due, and none while live ones of it are held; the rest is held.
    Those of ordered endpoints are queued, without a place yet.
    """
    plan = Plan([], [], [], [], [])
    due: Counter[str] = Counter()
    for publication in publications:
        plan.accepted.append([])
        subscribed = _by_type(publication, subscribers[publication.organization_id])
        reached = {subscriber.id for found in subscribed.values() for subscriber in found}
        due_at_most = most_due(endpoint_cap, slots=slots, endpoints=len(reached))
        for event, event_id in zip(publication.events, publication.ids, strict=True):
            rows: list[NewDelivery] = []
            transformed = 0
            for subscriber in subscribed[event.type]:
                result = publication.result_for(subscriber, event_id)
                if not result.matches:
                    continue
                transformed += len(result.data or "")
                if result.data is not None and transformed > MAX_TRANSFORMED_CHARACTERS:
                    result = TOO_MUCH_TRANSFORMED
                if result.error is not None:
                    state = DeliveryState.DEAD
                elif subscriber.ordered:
                    state = DeliveryState.QUEUED
                elif subscriber.has_held or due[subscriber.id] >= due_at_most:
                    state = DeliveryState.HELD
                else:
                    state = DeliveryState.PENDING
                    due[subscriber.id] += 1
                row = NewDelivery(
                    new_id(), event_id, subscriber.id, publication.organization_id, now, state, data=result.data
                )
                rows.append(row)
                if result.error is not None:
                    failed = Untransformed(row.id, result.error)
                    row.dead_letter_reason = failed.reason
                    plan.failed.append(failed)
            plan.deliveries.extend(rows)
            plan.events.append(_event_row(event, event_id, publication, now, len(rows)))
            plan.tags.extend(
                EventTag(event_id=event_id, tag=tag, organization_id=publication.organization_id) for tag in event.tags
            )
            plan.accepted[-1].append(
                AcceptedEvent(event_id, publication.organization_id, event.type, rows, event.traceparent)
            )
    return plan


def check_fan_out(publication: Publication, subscribers: Sequence[Subscriber]) -> int:
    """How many deliveries the events make. Raises TooLarge for several events that make too many together."""
    count = len(publication.events) * len(subscribers)
    if count <= MAX_DELIVERIES:
        return count  # at most, and exactly if every subscriber gets every event
    by_type = _by_type(publication, subscribers)
    count = sum(len(by_type[event.type]) for event in publication.events)
    if count > MAX_DELIVERIES and len(publication.events) > 1:
        raise TooLarge(
            f"The batch makes {count:,} deliveries for {len(subscribers):,} endpoints, more than {MAX_DELIVERIES:,}; "
            "publish it in parts."
        )
    return count


def check_transformed(publication: Publication, subscribers: Sequence[Subscriber]) -> None:
    """Raise TooLarge for several events of which transforms make too much together."""
    if not publication.evaluations or len(publication.events) == 1:
        return
    subscribed, total = _by_type(publication, subscribers), 0
    for event, event_id in zip(publication.events, publication.ids, strict=True):
        results = [publication.result_for(subscriber, event_id) for subscriber in subscribed[event.type]]
        total += sum(len(result.data or "") for result in results)
    check_evaluated(total)


def _by_type(publication: Publication, subscribers: Sequence[Subscriber]) -> dict[str, list[Subscriber]]:
    wanted = {event.type: matching_subscriptions(event.type) for event in publication.events}
    return {type_: [one for one in subscribers if not wants.isdisjoint(one.events)] for type_, wants in wanted.items()}


def enqueue_accepted(context: Context, accepted: Sequence[AcceptedEvent]) -> None:
    """Enqueue the deliveries of committed events for the workers, and count the events."""
    statistics, now = Statistics.of(context), context.clock.now()
    for event in accepted:
        statistics.count_accepted(event.organization_id, event.type, event.deliveries, now=now)
    new = [delivery for event in accepted for delivery in event.deliveries]
    due = {delivery.id: delivery.endpoint_id for delivery in new if delivery.state == DeliveryState.PENDING}
    context.queue.enqueue_deliveries(due, endpoint_ids=due)
    context.queue.enqueue_backlog({delivery.endpoint_id for delivery in new if delivery.state == DeliveryState.HELD})
    if context.tracer is not None:
        for event in accepted:
            context.tracer.begin("enqueue", event.traceparent, kind="producer").end(
                {"sendoff.event_id": event.id, "sendoff.deliveries": len(event.deliveries)}
            )


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
        traceparent=event.traceparent,
    )
