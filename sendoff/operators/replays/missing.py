"""Deliveries that were never made: events that match an endpoint as it is now, which it did not get.

It was created, enabled or subscribed later, or its filter was another. They are found when a replay is counted or
started, and made when it sends them, so that it can be paced and cancelled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sendoff.context import Context
from sendoff.endpoint_health.draining import count_drained
from sendoff.errors import Invalid
from sendoff.ids import event_id_at, floor_of, new_id
from sendoff.policy.endpoints.expressions import Evaluated, Expressions
from sendoff.policy.endpoints.matching import matches
from sendoff.policy.operational_events import OPERATORS
from sendoff.policy.states import DeliveryState, EndpointState
from sendoff.publishing.evaluation import (
    EvaluationJob,
    Evaluations,
    LateEvaluations,
    evaluate,
    expressions_of,
    filter_of,
    input_of,
)
from sendoff.publishing.untransformed import Untransformed, dead_letter_untransformed
from sendoff.store.engine.database import Transaction, after_commit
from sendoff.store.queries import endpoints
from sendoff.store.queries.traffic import deliveries, events, ordering
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.queries.traffic.deliveries import NewDelivery
from sendoff.store.queries.traffic.events import EventSummary
from sendoff.store.queries.traffic.replays import MissingDelivery, WaitingItem
from sendoff.store.tables import Endpoint, Event

MOST_EVENTS = 100_000
"""Events that one replay looks at. More, and the request that starts it takes longer than clients wait."""

_PAGE = 1_000
_EVALUATED_AT_ONCE = 50  # events whose data, up to 256 KB of each, is in memory
_CLOCKS_DIFFER = timedelta(days=1)  # at most, of the machines that give ids to events


async def find_missing(context: Context, chosen: DeadLetterFilter) -> AsyncIterator[list[MissingDelivery]]:
    """What the filter's endpoints miss of the filter's events, oldest first, in pages.

    Raises Invalid for a time range with more than MOST_EVENTS events.
    """
    active = await _active_endpoints(context, chosen)
    if not active or active[0].organization_id == OPERATORS:
        return  # alert endpoints may get events of some organizations only, and several events together
    after, before = _id_range(chosen)
    seen = 0
    while True:
        async with context.database.read(owner=chosen.organization_id) as tx:
            page = await events.page_accepted(
                tx,
                active[0].organization_id,
                event_type=chosen.event_type,
                since=chosen.since,
                until=chosen.until,
                after=after,
                before=before,
                limit=_PAGE,
            )
            had = await events.find_deliveries(tx, [event.id for event in page])
        seen += len(page)
        if seen > MOST_EVENTS:
            raise Invalid(
                f"The time range holds more than {MOST_EVENTS:,} events; choose a shorter one, or one event type.",
                field="filter.since",
            )
        wanted = [
            (event, endpoint)
            for event in page
            for endpoint in active
            if matches(endpoint.events, event.type) and (event.id, endpoint.id) not in had
        ]
        refused = await _refused_by_filters(context, wanted)
        yield [
            MissingDelivery(new_id(), event.id, endpoint.id)
            for event, endpoint in wanted
            if (event.id, endpoint.id) not in refused
        ]
        if len(page) < _PAGE:
            return
        after = page[-1].id


@dataclass(frozen=True, slots=True)
class Made:
    """What came of a replay's items that were never made; those that are in none of these are not made."""

    deliveries: Sequence[NewDelivery]
    unevaluated: Sequence[str]
    """The items, by the ids of their deliveries, for which expressions are to be evaluated first."""


async def make_missing(
    tx: Transaction,
    context: Context,
    items: Sequence[WaitingItem],
    evaluations: LateEvaluations,
    *,
    replay_id: str,
    now: datetime,
    due: Mapping[str, datetime],
) -> Made:
    """Make the deliveries of a replay's items, held until they are `due`, by their ids.

    Not made are those whose event is gone, that exist already, and that their endpoint does not want any more.
    One whose transform fails is a dead letter at once.
    """
    wanted = await _still_wanted(tx, items)
    planned: list[NewDelivery] = []
    failed: list[Untransformed] = []
    unevaluated: list[str] = []
    for item, event, endpoint in wanted:
        pair = expressions_of(endpoint)
        result = Evaluated() if pair is None else evaluations.look_up(event.organization_id, event.id, pair)
        if result is None:
            unevaluated.append(item.delivery_id)
        elif result.matches:
            planned.append(_plan(item, event, endpoint, result, now))
            if result.error is not None:
                failed.append(Untransformed(item.delivery_id, result.error))
    existing = await events.count_further_deliveries(tx, Counter(one.event_id for one in planned))
    made = [one for one in planned if one.event_id in existing]
    await context.hot.accept([], made, now=now, tx=tx)
    await deliveries.join_replay(tx, {one.id: due[one.id] for one in made}, replay_id=replay_id)
    letters = await dead_letter_untransformed(tx, failed, now=now)
    after_commit(tx, lambda: count_drained(context, letters))
    await ordering.advance(tx, {one.endpoint_id for one in made if one.state == DeliveryState.QUEUED}, now=now)
    return Made(made, unevaluated)


async def _still_wanted(tx: Transaction, items: Sequence[WaitingItem]) -> list[tuple[WaitingItem, Event, Endpoint]]:
    """The items that their endpoints, which are locked, would get now, apart from their filters."""
    found = await endpoints.find_many(tx, {item.endpoint_id for item in items if item.endpoint_id}, lock=True)
    had = await events.find_deliveries(tx, {item.event_id for item in items if item.event_id})
    wanted = [
        (item, event_id, endpoint)
        for item in items
        if (event_id := item.event_id) is not None
        and (endpoint := found.get(item.endpoint_id or "")) is not None
        and endpoint.state == EndpointState.ACTIVE
        and (event_id, endpoint.id) not in had
    ]
    of_events = await events.find_many(tx, {event_id for _, event_id, _ in wanted})
    return [
        (item, event, endpoint)
        for item, event_id, endpoint in wanted
        if (event := of_events.get(event_id)) is not None and matches(endpoint.events, event.type)
    ]


def _plan(item: WaitingItem, event: Event, endpoint: Endpoint, result: Evaluated, now: datetime) -> NewDelivery:
    """The delivery of the event, which the endpoint's filter lets through."""
    state, sequence = (DeliveryState.QUEUED, 0) if endpoint.ordered else (DeliveryState.HELD, None)
    if result.error is not None:
        state, sequence = DeliveryState.DEAD, None
    return NewDelivery(
        item.delivery_id,
        event.id,
        endpoint.id,
        event.organization_id,
        now,
        state,
        data=result.data,
        sequence=sequence,
    )


def _id_range(chosen: DeadLetterFilter) -> tuple[str, str]:
    """Between which ids the filter's events lie, so that others are not read: ids begin with the time of a machine."""
    first = "" if chosen.since is None else event_id_at(chosen.since, plus=-_CLOCKS_DIFFER)
    if chosen.since_event_id is not None:
        first = max(first, floor_of(chosen.since_event_id))
    return first, "evt_g" if chosen.until is None else event_id_at(chosen.until, plus=_CLOCKS_DIFFER)


async def _active_endpoints(context: Context, chosen: DeadLetterFilter) -> list[Endpoint]:
    """The endpoints that the filter names and that are sent to; all of one organization."""
    async with context.database.read() as tx:
        if chosen.endpoint_id is None:
            found = await endpoints.of_organization(tx, chosen.organization_id or "")
        else:
            one = await endpoints.find(tx, chosen.endpoint_id)
            found = [] if one is None else [one]
    return [
        one
        for one in found
        if one.state == EndpointState.ACTIVE and chosen.organization_id in (None, one.organization_id)
    ]


async def _refused_by_filters(
    context: Context, wanted: Sequence[tuple[EventSummary, Endpoint]]
) -> set[tuple[str, str]]:
    """Which of the events do not match the filter of which endpoints, as `(event_id, endpoint_id)`."""
    filtered = [(event, endpoint, pair) for event, endpoint in wanted if (pair := filter_of(endpoint)) is not None]
    if not filtered:
        return set()
    pairs: dict[str, set[Expressions]] = {}
    for event, _, pair in filtered:
        pairs.setdefault(event.id, set()).add(pair)
    organization_id = filtered[0][1].organization_id
    results: Evaluations = {}
    ids = list(pairs)
    for first in range(0, len(ids), _EVALUATED_AT_ONCE):
        some = ids[first : first + _EVALUATED_AT_ONCE]
        async with context.database.read(owner=organization_id) as tx:
            of_events = await events.find_many(tx, some)
        jobs = [EvaluationJob(input_of(of_events[one]), list(pairs[one])) for one in some if one in of_events]
        results |= await evaluate(context, organization_id, jobs)
    return {
        (event.id, endpoint.id)
        for event, endpoint, pair in filtered
        if (result := results.get((event.id, pair))) is None or not result.matches
    }
