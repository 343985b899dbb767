"""Events of all organizations: lists by what is known of an event, and one with its deliveries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from sendoff.errors import Invalid, NotFound
from sendoff.idempotency import answer_binding
from sendoff.ids import event_time, is_event_id
from sendoff.store.queries import endpoints, idempotency
from sendoff.store.queries.installation.overview import prefer_indexes
from sendoff.store.queries.traffic import delivery_history, event_lists, events
from sendoff.store.queries.traffic.event_lists import EventFilter
from sendoff.store.vault import CannotOpenSecret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sendoff.context import Context
    from sendoff.store.engine.database import Transaction
    from sendoff.store.tables import Delivery, Event, IdempotencyRecord

_MOST_RECORDS = 20


@dataclass(frozen=True, slots=True)
class ListedEvents:
    """Events, newest first, with the tags of those that have any.

    `scanned` is set if the search ended at its bound, after this many events: it goes on before `last_id`.
    """

    events: Sequence[Event]
    tags: Mapping[str, Sequence[str]]
    scanned: int | None
    last_id: str | None

    @property
    def scanned_back_to(self) -> datetime | None:
        """When the last event that was read was accepted; None if the search did not end at its bound."""
        return None if self.last_id is None else event_time(self.last_id)


@dataclass(frozen=True, slots=True)
class EventReport:
    """An event with its tags and deliveries; `urls` are those of the endpoints, by id."""

    event: Event
    tags: Sequence[str]
    deliveries: Sequence[Delivery]
    urls: Mapping[str, str]


async def list_events(
    context: Context,
    chosen: EventFilter,
    *,
    limit: int,
    before: str | None = None,
    idempotency_key: str | None = None,
) -> ListedEvents:
    """Events of any organization, newest first.

    An idempotency key is known for 24 hours. Raises Invalid for text in `data` without an organization.
    """
    if chosen.q is not None and chosen.organization_id is None:
        raise Invalid(
            "`q` is looked for in the events of one organization; add `organization_id`.", field="organization_id"
        )
    async with context.database.read() as tx:
        if idempotency_key is not None:
            chosen = replace(chosen, ids=await _find_ids(tx, context, idempotency_key, chosen.organization_id))
        if chosen.request_id is not None and before is None:
            page = await event_lists.page_of_request(tx, chosen, limit=limit)
        else:
            page = await event_lists.page(tx, chosen, limit=limit, before=before)
        tags = await events.tags_of(tx, [event.id for event in page.events])
    return ListedEvents(page.events, tags, page.scanned, page.last_id)


async def get_event_report(context: Context, event_id: str) -> EventReport:
    """An event of any organization. Raises NotFound."""
    async with context.database.read() as tx:
        event = await events.find(tx, event_id) if is_event_id(event_id) else None
        if event is None:
            raise NotFound("There is no such event, or its retention has ended.")
        made = await delivery_history.of_event(tx, event_id)
        reached = await endpoints.find_many(tx, {delivery.endpoint_id for delivery in made})
        tags = (await events.tags_of(tx, [event_id])).get(event_id, [])
    return EventReport(event, tags, made, {key: endpoint.url for key, endpoint in reached.items()})


async def _find_ids(tx: Transaction, context: Context, key: str, organization_id: str | None) -> tuple[str, ...]:
    """The ids of events that were accepted with this Idempotency-Key, from the answers that are kept."""
    await prefer_indexes(tx)
    records = await idempotency.find_by_key(tx, key, organization_id=organization_id, limit=_MOST_RECORDS)
    return tuple(found for record in records for found in _ids_in(context, record))


def _ids_in(context: Context, record: IdempotencyRecord) -> list[str]:
    """The ids of the events in a kept answer; none if it is one of another write, or cannot be opened."""
    if record.response_body is None:
        return []
    try:
        answer: Any = orjson.loads(
            context.vault.open(
                record.response_body, bound_to=answer_binding(record.organization_id, record.key), keep=False
            )
        )
    except (CannotOpenSecret, orjson.JSONDecodeError):
        return []
    accepted = answer.get("events", [answer]) if isinstance(answer, dict) else []
    ids = [one.get("id") for one in accepted if isinstance(one, dict)] if isinstance(accepted, list) else []
    return [one for one in ids if isinstance(one, str) and is_event_id(one)]
