"""Delivery history: an organization's event with its deliveries, and lists of deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sendoff.context import Context
from sendoff.errors import NotFound
from sendoff.ids import is_event_id
from sendoff.policy.states import DeliveryState
from sendoff.store.engine.database import Transaction
from sendoff.store.engine.paging import SEARCH_SECONDS, ScannedPage, search
from sendoff.store.queries import endpoints
from sendoff.store.queries.traffic import delivery_history, events, ordering
from sendoff.store.queries.traffic.delivery_history import DeliveryFilter
from sendoff.store.tables import Delivery, Endpoint, Event


@dataclass(frozen=True, slots=True)
class ListedDelivery:
    """A delivery with its event's type, and the id of the request that published the event."""

    delivery: Delivery
    event_type: str
    request_id: str | None
    waits_for: str | None = None
    """The delivery that holds it back, at the head of its endpoint's line; None unless it is queued behind one."""
    endpoint_url: str | None = None


async def get_event(
    context: Context, organization_id: str, event_id: str
) -> tuple[Event, list[Delivery], Sequence[str]]:
    """An event of the organization with its deliveries and its tags. Raises NotFound."""
    async with context.database.read() as tx:
        event = await events.find(tx, event_id) if is_event_id(event_id) else None
        if event is None or event.organization_id != organization_id:
            raise NotFound("There is no such event.")
        tags = (await events.tags_of(tx, [event_id])).get(event_id, [])
        return event, await delivery_history.of_event(tx, event_id), tags


async def list_deliveries(
    context: Context,
    chosen: DeliveryFilter,
    *,
    limit: int,
    before: str | None = None,
    seconds: float = SEARCH_SECONDS,
) -> ScannedPage[ListedDelivery]:
    """Deliveries, newest first, as far back as what is rare is found within that time; 0 for the first scan alone."""
    deadline = context.clock.monotonic() + seconds
    async with context.database.read(owner=chosen.organization_id) as tx:
        page = await search(
            lambda most, start: delivery_history.scan_page(tx, chosen, limit=most, before=start),
            limit=limit,
            before=before,
            is_over=lambda: context.clock.monotonic() >= deadline,
        )
        return ScannedPage(await _with_context(tx, page.rows), page.scanned_to)


async def _with_context(tx: Transaction, page: Sequence[tuple[Delivery, str, str | None]]) -> list[ListedDelivery]:
    waits_for = await find_waits_for(tx, [delivery for delivery, *_ in page])
    found = await endpoints.find_many(tx, {delivery.endpoint_id for delivery, *_ in page})
    return [ListedDelivery(*row, waits_for.get(row[0].id), _url_of(found.get(row[0].endpoint_id))) for row in page]


async def find_waits_for(tx: Transaction, deliveries: Sequence[Delivery]) -> dict[str, str]:
    """Which delivery holds back each of those that are queued, by the id of the one that waits."""
    queued = [delivery for delivery in deliveries if delivery.state == DeliveryState.QUEUED]
    heads = await ordering.find_heads(tx, {delivery.endpoint_id for delivery in queued})
    found = {delivery.id: heads.get(delivery.endpoint_id, delivery.id) for delivery in queued}
    return {waiting: head for waiting, head in found.items() if head != waiting}


def _url_of(endpoint: Endpoint | None) -> str | None:
    return endpoint.url if endpoint else None
