"""What operators look at and do, across organizations: deliveries, dead letters, endpoints, the audit log."""

from __future__ import annotations

from dataclasses import dataclass

from sendoff.audit import Actor, write_audit
from sendoff.context import Context
from sendoff.delivery.dead_letters import drain_endpoint
from sendoff.dialects.base import EventData
from sendoff.dialects.registry import Dialects
from sendoff.endpoints.state import check_rate_limit, note, shown
from sendoff.errors import Conflict, NotFound
from sendoff.ids import is_event_id, is_uuid
from sendoff.policy.states import DeadLetterState, DeliveryState, EndpointState
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import audit, dead_letters, deliveries, delivery_history, endpoints, events
from sendoff.store.queries.audit import AuditFilter
from sendoff.store.queries.dead_letters import DeadLetterFilter
from sendoff.store.queries.delivery_history import DeliveryFilter
from sendoff.store.tables import (
    Attempt,
    AuditEntry,
    DeadLetter,
    Delivery,
    Endpoint,
    Event,
    LastExchange,
)


@dataclass(frozen=True, slots=True)
class ListedDelivery:
    """A delivery with its event's type, and the id of the request that published the event."""

    delivery: Delivery
    event_type: str
    request_id: str | None


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """A delivery with every attempt, and what went over the wire at the last that failed.

    `request_body` is the exact body that every attempt carries.
    """

    delivery: Delivery
    event: Event
    endpoint_url: str
    attempts: list[Attempt]
    last_exchange: LastExchange | None
    request_body: bytes


@dataclass(frozen=True, slots=True)
class DeadLetterReport:
    """A dead letter with all that an operator needs to understand it."""

    letter: DeadLetter
    delivery: DeliveryReport


async def get_event(context: Context, organization_id: str, event_id: str) -> tuple[Event, list[Delivery]]:
    """An event of the organization with its deliveries. Raises NotFound."""
    async with context.database.read() as tx:
        event = await events.find(tx, event_id) if is_event_id(event_id) else None
        if event is None or event.organization_id != organization_id:
            raise NotFound("There is no such event.")
        return event, await delivery_history.of_event(tx, event_id)


async def list_deliveries(
    context: Context, chosen: DeliveryFilter, *, limit: int, before: str | None = None
) -> list[ListedDelivery]:
    """Deliveries, newest first."""
    async with context.database.read() as tx:
        page = await delivery_history.page(tx, chosen, limit=limit, before=before)
    return [ListedDelivery(*row) for row in page]


async def get_delivery(context: Context, delivery_id: str) -> DeliveryReport:
    """One delivery with its attempts. Raises NotFound."""
    async with context.database.read() as tx:
        return await _report(tx, context.dialects, await _find_delivery(tx, delivery_id))


async def retry_delivery(context: Context, actor: Actor, delivery_id: str) -> DeliveryReport:
    """Attempt a delivery now, in the place of its next automatic attempt; if it fails, the schedule goes on.

    A dead one is taken up again. Raises NotFound; Conflict when it is delivered, is being sent at this moment, or
    its endpoint is not active.
    """
    now = context.clock.now()
    async with context.database.write() as tx:
        delivery = await _find_delivery(tx, delivery_id)
        await _check_retry(tx, delivery)
        if delivery.state == DeliveryState.DEAD:
            started = bool(await deliveries.reopen(tx, [delivery.id], replay_id=None, now=now))
            await dead_letters.mark_replayed(tx, [delivery.id], now=now)
        else:
            started = await deliveries.hurry(tx, delivery.id, now=now)
        if not started:
            raise Conflict("This delivery is being sent at this moment.")
        write_audit(
            tx,
            actor,
            "delivery.retry",
            target=("delivery", delivery.id),
            now=now,
            organization_id=delivery.organization_id,
            before={"state": str(delivery.state), "attempt_count": delivery.attempt_count},
        )
        await tx.refresh(delivery)
        report = await _report(tx, context.dialects, delivery)
    context.bell.ring_deliveries([delivery_id])
    return report


async def list_dead_letters(
    context: Context, chosen: DeadLetterFilter, *, limit: int, before: str | None = None
) -> list[DeadLetter]:
    """Dead letters, newest first."""
    async with context.database.read() as tx:
        return await dead_letters.page(tx, chosen, limit=limit, before=before)


async def get_dead_letter(context: Context, dead_letter_id: str) -> DeadLetterReport:
    """One dead letter with the request, the response and every attempt. Raises NotFound."""
    async with context.database.read() as tx:
        letter = await _find_dead_letter(tx, dead_letter_id)
        delivery = await _find_delivery(tx, letter.delivery_id)
        return DeadLetterReport(letter, await _report(tx, context.dialects, delivery))


async def discard_dead_letter(context: Context, actor: Actor, dead_letter_id: str) -> DeadLetter:
    """Take it off the open list; it is kept for the record. Raises NotFound, Conflict unless it is open."""
    async with context.database.write() as tx:
        letter = await _find_dead_letter(tx, dead_letter_id, lock=True)
        if letter.state != DeadLetterState.OPEN:
            raise Conflict(f"This dead letter was {letter.state} before; there is nothing left to discard.")
        before = {"state": str(letter.state)}
        letter.state = DeadLetterState.DISCARDED
        write_audit(
            tx,
            actor,
            "dead_letter.discard",
            target=("dead_letter", letter.id),
            now=context.clock.now(),
            organization_id=letter.organization_id,
            before=before,
            after={"state": str(letter.state)},
        )
    return letter


async def list_all_endpoints(
    context: Context,
    *,
    organization_id: str | None,
    state: EndpointState | None,
    limit: int,
    before: str | None = None,
) -> list[Endpoint]:
    """Endpoints of all organizations, newest first."""
    async with context.database.read() as tx:
        return await endpoints.page(tx, limit=limit, before=before, organization_id=organization_id, state=state)


async def switch_endpoint(context: Context, actor: Actor, endpoint_id: str, *, on: bool) -> Endpoint:
    """Enable an endpoint, forgetting its failures, or disable it. Raises NotFound, Conflict when it is gone."""
    async with context.database.write() as tx:
        endpoint = await _find_endpoint(tx, endpoint_id)
        if endpoint.state == EndpointState.GONE:
            raise Conflict("This endpoint answered 410 Gone, which is for good.")
        before = {"state": str(endpoint.state)}
        now = context.clock.now()
        endpoint.state = EndpointState.ACTIVE if on else EndpointState.DISABLED
        endpoint.disabled_at = None if on else now
        endpoint.consecutive_failures = 0 if on else endpoint.consecutive_failures
        endpoint.drain_due = not on
        endpoint.updated_at = now
        done = "endpoint.enable" if on else "endpoint.disable"
        note(tx, actor, done, endpoint, before=before, after={"state": str(endpoint.state)})
    if not on:
        await drain_endpoint(context, endpoint.id)
    return endpoint


async def limit_endpoint(context: Context, actor: Actor, endpoint_id: str, *, rate_limit: int | None) -> Endpoint:
    """Send at most so many deliveries a second to an endpoint; None ends the limit. Raises NotFound, Invalid."""
    check_rate_limit(rate_limit)
    async with context.database.write() as tx:
        endpoint = await _find_endpoint(tx, endpoint_id)
        before = shown(endpoint)
        endpoint.rate_limit = rate_limit
        endpoint.updated_at = context.clock.now()
        note(tx, actor, "endpoint.update", endpoint, before=before, after=shown(endpoint))
    return endpoint


async def list_audit(
    context: Context, chosen: AuditFilter, *, limit: int, before: str | None = None
) -> list[AuditEntry]:
    """Audit entries, newest first."""
    async with context.database.read() as tx:
        return await audit.page(tx, chosen, limit=limit, before=before)


async def _check_retry(tx: Transaction, delivery: Delivery) -> None:
    if delivery.state == DeliveryState.DELIVERED:
        raise Conflict("This delivery was delivered; to send it again, replay it by its id.")
    endpoint = await endpoints.find(tx, delivery.endpoint_id)
    if endpoint is None or endpoint.state != EndpointState.ACTIVE:
        raise Conflict("The delivery's endpoint is not active; enable it first.")


async def _report(tx: Transaction, dialects: Dialects, delivery: Delivery) -> DeliveryReport:
    event = await events.find(tx, delivery.event_id)
    endpoint = await endpoints.find(tx, delivery.endpoint_id)
    if event is None or endpoint is None:
        raise NotFound("The event of this delivery is past its retention.")
    occurrence = EventData(
        event_id=event.id,
        type=event.type,
        organization_id=event.organization_id,
        occurred_at=event.occurred_at,
        data=event.data.encode(),
    )
    return DeliveryReport(
        delivery=delivery,
        event=event,
        endpoint_url=endpoint.url,
        attempts=await delivery_history.attempts_of(tx, delivery.id),
        last_exchange=await delivery_history.last_exchange_of(tx, delivery.id),
        request_body=dialects.get(endpoint.dialect).body(occurrence),
    )


async def _find_endpoint(tx: Transaction, endpoint_id: str) -> Endpoint:
    """Locked until the transaction ends."""
    found = await endpoints.find(tx, endpoint_id, lock=True) if is_uuid(endpoint_id) else None
    if found is None or found.state == EndpointState.DELETED:
        raise NotFound("There is no such endpoint.")
    return found


async def _find_delivery(tx: Transaction, delivery_id: str) -> Delivery:
    found = await delivery_history.find(tx, delivery_id) if is_uuid(delivery_id) else None
    if found is None:
        raise NotFound("There is no such delivery.")
    return found


async def _find_dead_letter(tx: Transaction, dead_letter_id: str, *, lock: bool = False) -> DeadLetter:
    found = await dead_letters.find(tx, dead_letter_id, lock=lock) if is_uuid(dead_letter_id) else None
    if found is None:
        raise NotFound("There is no such dead letter.")
    return found
