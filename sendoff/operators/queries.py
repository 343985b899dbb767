"""Operators' queries across organizations: deliveries, dead letters, endpoints, the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sendoff.context import Context
from sendoff.dialects.base import EventData
from sendoff.dialects.registry import Dialects
from sendoff.errors import Invalid, NotFound
from sendoff.ids import is_uuid
from sendoff.operators.installation.statistics import Sums, sums_of_endpoint
from sendoff.policy.states import DeadLetterReason, DeliveryState, EndpointState
from sendoff.publishing.history import find_waits_for
from sendoff.store.engine.database import Transaction
from sendoff.store.engine.paging import SEARCH_SECONDS, ScannedPage, search
from sendoff.store.queries import audit, endpoints
from sendoff.store.queries.audit import AuditFilter
from sendoff.store.queries.installation.overview import count_open_of_endpoint
from sendoff.store.queries.traffic import dead_letters, delivery_history, events
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.queries.traffic.delivery_history import AttemptFilter, ListedAttempt
from sendoff.store.tables import Attempt, AuditEntry, DeadLetter, Delivery, Endpoint, Event, LastExchange


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """A delivery with every attempt, and what went over the wire at the last that failed.

    `request_body` is the exact body that every attempt carries.
    """

    delivery: Delivery
    event: Event
    endpoint_url: str
    endpoint_state: EndpointState
    """The endpoint's now: nothing can be sent again to one that is not active."""
    attempts: list[Attempt]
    last_exchange: LastExchange | None
    request_body: bytes
    waits_for: str | None = None
    """The delivery that holds it back, at the head of its endpoint's line; None unless it is queued behind one."""
    dead_because: DeadLetterReason | None = None
    """Why it was given up; None unless it was."""


@dataclass(frozen=True, slots=True)
class DeadLetterReport:
    """A dead letter with all that an operator needs to understand it."""

    letter: DeadLetter
    delivery: DeliveryReport


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """An endpoint with what waits for it, by state, and what happened at it in the last hour."""

    endpoint: Endpoint
    waiting: Mapping[DeliveryState, int]
    last_hour: Sums


async def get_delivery(context: Context, delivery_id: str, *, organization_id: str | None = None) -> DeliveryReport:
    """One delivery with its attempts, of any organization or of this one. Raises NotFound."""
    async with context.database.read() as tx:
        found = await find_delivery(tx, delivery_id, organization_id=organization_id)
        return await report_on(tx, context.dialects, found)


async def list_dead_letters(
    context: Context,
    chosen: DeadLetterFilter,
    *,
    limit: int,
    before: str | None = None,
    seconds: float = SEARCH_SECONDS,
) -> ScannedPage[DeadLetter]:
    """Dead letters, newest first, as far back as what is rare is found within that time; 0 for the first scan alone."""
    deadline = context.clock.monotonic() + seconds
    async with context.database.read() as tx:
        return await search(
            lambda most, start: dead_letters.scan_page(tx, chosen, limit=most, before=start),
            limit=limit,
            before=before,
            is_over=lambda: context.clock.monotonic() >= deadline,
        )


async def get_dead_letter(context: Context, dead_letter_id: str) -> DeadLetterReport:
    """One dead letter with the request, the response and every attempt. Raises NotFound."""
    async with context.database.read() as tx:
        letter = await find_dead_letter(tx, dead_letter_id)
        delivery = await find_delivery(tx, letter.delivery_id)
        return DeadLetterReport(letter, await report_on(tx, context.dialects, delivery))


async def list_all_endpoints(
    context: Context,
    *,
    organization_id: str | None,
    state: EndpointState | None,
    limit: int,
    before: str | None = None,
    url: str | None = None,
    failing: bool = False,
    most_failures_first: bool = False,
) -> list[Endpoint]:
    """Endpoints of all organizations, newest first or those that failed most often in a row first, in one page.

    Raises Invalid for a later page of those.
    """
    if most_failures_first and before is not None:
        raise Invalid("Endpoints by failures are one page; ask for more of them with `limit`.", field="cursor")
    async with context.database.read() as tx:
        return await endpoints.page(
            tx,
            limit=limit,
            before=before,
            organization_id=organization_id,
            state=state,
            url=url,
            failing=failing,
            most_failures_first=most_failures_first,
        )


async def list_attempts(context: Context, chosen: AttemptFilter, *, limit: int) -> list[ListedAttempt]:
    """Attempts that were started since a time, the newest `limit`, oldest first."""
    async with context.database.read() as tx:
        return await delivery_history.newest_attempts(tx, chosen, limit=limit)


async def get_endpoint(context: Context, endpoint_id: str) -> Endpoint:
    """An endpoint of any organization, deleted ones as well. Raises NotFound."""
    async with context.database.read() as tx:
        found = await endpoints.find(tx, endpoint_id) if is_uuid(endpoint_id) else None
    if found is None:
        raise NotFound("There is no such endpoint.")
    return found


async def report_on_endpoint(context: Context, endpoint_id: str) -> EndpointReport:
    """An endpoint with what waits for it and what happened at it in the last hour. Raises NotFound."""
    found = await get_endpoint(context, endpoint_id)
    waiting = await count_waiting(context, endpoint_id)
    return EndpointReport(found, waiting, await sums_of_endpoint(context, endpoint_id, within=timedelta(hours=1)))


async def count_waiting(context: Context, endpoint_id: str) -> Mapping[DeliveryState, int]:
    """An endpoint's deliveries that have not ended, by state; at most COUNTED_OF_ENDPOINT, and as many queued."""
    async with context.database.read() as tx:
        return await count_open_of_endpoint(tx, endpoint_id)


async def list_audit(
    context: Context, chosen: AuditFilter, *, limit: int, before: str | None = None
) -> list[AuditEntry]:
    """Audit entries, newest first."""
    async with context.database.read() as tx:
        return await audit.page(tx, chosen, limit=limit, before=before)


async def report_on(tx: Transaction, dialects: Dialects, delivery: Delivery) -> DeliveryReport:
    event = await events.find(tx, delivery.event_id)
    endpoint = await endpoints.find(tx, delivery.endpoint_id)
    if event is None or endpoint is None:
        raise NotFound("The event of this delivery is past its retention.")
    event_data = EventData(
        event_id=event.id,
        type=event.type,
        organization_id=event.organization_id,
        occurred_at=event.occurred_at,
        data=(event.data if delivery.data is None else delivery.data).encode(),
    )
    return DeliveryReport(
        delivery=delivery,
        event=event,
        endpoint_url=endpoint.url,
        endpoint_state=EndpointState(endpoint.state),
        attempts=await delivery_history.attempts_of(tx, delivery.id),
        last_exchange=await delivery_history.last_exchange_of(tx, delivery.id),
        request_body=dialects.get(endpoint.dialect).body(event_data),
        waits_for=(await find_waits_for(tx, [delivery])).get(delivery.id),
        dead_because=await _find_reason(tx, delivery),
    )


async def _find_reason(tx: Transaction, delivery: Delivery) -> DeadLetterReason | None:
    if delivery.state != DeliveryState.DEAD:
        return None
    letter = (await dead_letters.newest_of(tx, [delivery.id])).get(delivery.id)
    return DeadLetterReason(letter.reason) if letter else None


async def find_delivery(tx: Transaction, delivery_id: str, *, organization_id: str | None = None) -> Delivery:
    """A delivery of any organization, or of this one. Raises NotFound."""
    found = await delivery_history.find(tx, delivery_id) if is_uuid(delivery_id) else None
    if found is None or organization_id not in (None, found.organization_id):
        raise NotFound("There is no such delivery.")
    return found


async def find_dead_letter(tx: Transaction, dead_letter_id: str, *, lock: bool = False) -> DeadLetter:
    found = await dead_letters.find(tx, dead_letter_id, lock=lock) if is_uuid(dead_letter_id) else None
    if found is None:
        raise NotFound("There is no such dead letter.")
    return found
