"""Why an event was sent to an endpoint, or not: one verdict for each endpoint of the event's organization."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sendoff.clock import iso
from sendoff.errors import NotFound
from sendoff.ids import is_event_id
from sendoff.policy.endpoints.expressions import Evaluated, Expressions
from sendoff.policy.endpoints.matching import matches
from sendoff.policy.operational_events import OPERATORS
from sendoff.policy.states import DeadLetterReason, DeliveryState, EndpointState
from sendoff.publishing.evaluation import evaluate_event, filter_of, input_of
from sendoff.publishing.history import find_waits_for
from sendoff.store.queries import audit, endpoints
from sendoff.store.queries.traffic import dead_letters, delivery_history, events

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sendoff.context import Context
    from sendoff.store.tables import AuditEntry, DeadLetter, Delivery, Endpoint, Event


class Verdict(StrEnum):
    """The result of an event for one endpoint (contracts/sendoff.md §5)."""

    DELIVERED = "delivered"
    WAITING = "waiting"
    IN_FLIGHT = "in_flight"
    DEAD = "dead"
    FILTERED = "filtered"
    """The endpoint's filter refused the event's data."""
    NOT_SUBSCRIBED = "not_subscribed"
    CREATED_LATER = "created_later"
    WAS_DISABLED = "was_disabled"
    WAS_DELETED = "was_deleted"


@dataclass(frozen=True, slots=True)
class EndpointExplanation:
    """The verdict for one endpoint. `because` is a sentence for people; `delivery` is None if none was made or kept."""

    endpoint_id: str
    url: str
    verdict: Verdict
    delivery: Delivery | None
    because: str
    state: EndpointState
    """The endpoint's now: nothing can be sent again to one that is not active."""
    waits_for: str | None = None
    """The delivery that holds it back, at the head of its endpoint's line."""


@dataclass(frozen=True, slots=True)
class EventExplanation:
    """An event with the verdict for each endpoint of its organization: those that got it first, then newest first."""

    event: Event
    endpoints: Sequence[EndpointExplanation]
    tags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Then:
    """An endpoint's settings when the event was accepted."""

    state: EndpointState
    events: Sequence[str]
    filter: str | None
    changed_since: bool
    """Whether its subscription or its filter was changed after the event."""


async def explain_event(context: Context, event_id: str) -> EventExplanation:
    """Explain an event of any organization. Deleted endpoints are included while their rows are kept.

    Settings of the past are read from the audit log: the oldest change after the event holds the value before it.
    Raises NotFound for an unknown event or one that is past its retention.
    """
    async with context.database.read() as tx:
        event = await events.find(tx, event_id) if is_event_id(event_id) else None
        if event is None:
            raise NotFound("Unknown event, or its retention has ended.")
        tags = (await events.tags_of(tx, [event.id])).get(event.id, ())
        made = {delivery.endpoint_id: delivery for delivery in await delivery_history.of_event(tx, event.id)}
        dead = [one.id for one in made.values() if one.state == DeliveryState.DEAD]
        letters = await dead_letters.newest_of(tx, dead)
        waits_for = await find_waits_for(tx, list(made.values()))
        found = await endpoints.of_organization(tx, event.organization_id, deleted=True)
        changed = [one.id for one in found if one.id not in made and one.updated_at > event.created_at]
        changes = await audit.changes_since(tx, event.organization_id, changed, since=event.created_at)
    of_endpoint: dict[str, list[AuditEntry]] = {}
    for entry in changes:
        of_endpoint.setdefault(entry.target_id, []).append(entry)
    then = {one.id: _settings_then(one, of_endpoint.get(one.id, ())) for one in found if one.id not in made}
    results = await _evaluate_filters(context, event, then.values())
    explained: list[EndpointExplanation] = []
    for endpoint in found:
        delivery = made.get(endpoint.id)
        if delivery is not None:
            verdict, because = explain_delivery(delivery, letters.get(delivery.id))
        else:
            settings = then[endpoint.id]
            pair = filter_of(settings)
            filtered = None if pair is None else results[pair]
            verdict, because = explain_absence(event, endpoint, settings, filtered)
        head = waits_for.get(delivery.id) if delivery else None
        state = EndpointState(endpoint.state)
        explained.append(EndpointExplanation(endpoint.id, endpoint.url, verdict, delivery, because, state, head))
    return EventExplanation(event, sorted(explained, key=lambda one: one.delivery is None), tags)


async def _evaluate_filters(
    context: Context, event: Event, settings: Iterable[_Then]
) -> Mapping[Expressions, Evaluated]:
    """What each of the filters says of the event."""
    pairs = list(dict.fromkeys([pair for one in settings if (pair := filter_of(one)) is not None]))
    return await evaluate_event(context, event.organization_id, input_of(event), pairs)


def explain_delivery(delivery: Delivery, letter: DeadLetter | None) -> tuple[Verdict, str]:
    """The verdict on a delivery that was made. Pure."""
    tried = _attempts(delivery)
    match DeliveryState(delivery.state):
        case DeliveryState.DELIVERED:
            at = f" at {iso(delivery.delivered_at)}" if delivery.delivered_at else ""
            return Verdict.DELIVERED, f"The receiver acknowledged it{at}, after {tried}."
        case DeliveryState.IN_FLIGHT:
            return Verdict.IN_FLIGHT, (
                f"A worker has claimed it and is sending it, or will within its lease; before, there were {tried}."
            )
        case DeliveryState.HELD:
            return Verdict.WAITING, (
                "Its endpoint had no capacity (requests under way, rate, its host's limit, or an answer still "
                f"awaited); it goes when some is free, {tried}."
            )
        case DeliveryState.QUEUED:
            because = f"Its endpoint is ordered; deliveries that were accepted before it go first, {tried}."
            return Verdict.WAITING, because
        case DeliveryState.PENDING:
            return Verdict.WAITING, _because_pending(delivery, tried)
        case DeliveryState.DEAD:
            return Verdict.DEAD, _because_dead(delivery, letter, tried)


def explain_absence(
    event: Event, endpoint: Endpoint, then: _Then, filtered: Evaluated | None = None
) -> tuple[Verdict, str]:
    """The verdict on an endpoint without a delivery of the event, given its settings at that moment. Pure.

    `filtered` is what its filter at that moment says of the event.
    """
    if endpoint.created_at > event.created_at:
        return Verdict.CREATED_LATER, f"The endpoint was created at {iso(endpoint.created_at)}, after the event."
    if then.state is EndpointState.DELETED:
        return Verdict.WAS_DELETED, "The endpoint had been deleted before the event was accepted."
    if then.state is not EndpointState.ACTIVE:
        return Verdict.WAS_DISABLED, f"The endpoint was {then.state} when the event was accepted."
    if not matches(then.events, event.type):
        now = " It was changed since." if then.changed_since else ""
        subscribed = ", ".join(then.events[:10]) + (", …" if len(then.events) > 10 else "")
        return Verdict.NOT_SUBSCRIBED, f"The endpoint was subscribed to {subscribed}, not to {event.type}.{now}"
    if filtered is not None and not filtered.matches:
        result = "is false for it" if filtered.error is None else f"failed: {filtered.error}"
        return Verdict.FILTERED, f"The endpoint's filter {result}: {then.filter}"
    return _explain_unkept(event)


def _explain_unkept(event: Event) -> tuple[Verdict, str]:
    if event.organization_id == OPERATORS:
        because = "It gets no events of that organization, or got this event together with others."
        return Verdict.FILTERED, because
    return Verdict.DELIVERED, "Its delivery was completed and is past its retention, so it is not kept any more."


def _settings_then(endpoint: Endpoint, changes: Iterable[AuditEntry]) -> _Then:
    state, subscribed, changed = EndpointState(endpoint.state), list(endpoint.events), False
    condition = endpoint.filter
    for entry in sorted(changes, key=lambda one: one.id, reverse=True):  # back in time, so that the oldest counts
        before = entry.before or {}
        state = EndpointState(before.get("state", state))
        changed = changed or ("events" in before and before["events"] != subscribed)
        subscribed = before.get("events", subscribed)
        changed = changed or ("filter" in before and before["filter"] != condition)
        condition = before.get("filter", condition)
    return _Then(state, subscribed, condition, changed)


def _because_pending(delivery: Delivery, tried: str) -> str:
    due = f"The next attempt is due at {iso(delivery.due_at)}" if delivery.due_at else "It is due"
    return f"{due}, after {tried}{_last_error(delivery)}."


def _because_dead(delivery: Delivery, letter: DeadLetter | None, tried: str) -> str:
    if letter is None:
        return f"Dead-lettered after {tried}{_last_error(delivery)}. Replay it to send it again."
    reason = DeadLetterReason(letter.reason)
    return f"Dead-lettered (`{reason}`) after {tried}{_last_error(delivery)}. {reason.meaning} {reason.remedy}"


def _attempts(delivery: Delivery) -> str:
    return {0: "no attempt yet", 1: "1 attempt"}.get(delivery.attempt_count, f"{delivery.attempt_count} attempts")


def _last_error(delivery: Delivery) -> str:
    if delivery.last_response_status is not None:
        return f"; the receiver answered {delivery.last_response_status}"
    return f"; the last failed: {delivery.last_error.rstrip('.')}" if delivery.last_error else ""
