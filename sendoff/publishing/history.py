"""Delivery history: an organization's event with its deliveries, and lists of deliveries."""

from __future__ import annotations

from dataclasses import dataclass

from sendoff.context import Context
from sendoff.errors import NotFound
from sendoff.ids import is_event_id
from sendoff.store.queries import delivery_history, events
from sendoff.store.queries.delivery_history import DeliveryFilter
from sendoff.store.tables import Delivery, Event


@dataclass(frozen=True, slots=True)
class ListedDelivery:
    """A delivery with its event's type, and the id of the request that published the event."""

    delivery: Delivery
    event_type: str
    request_id: str | None


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
