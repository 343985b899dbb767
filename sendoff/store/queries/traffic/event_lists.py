"""Events as operators look for them. There is an index by id, which is an order in time, and one by tag.

Whatever else is asked for is compared while events are read from the newest on, SCANNED_AT_MOST at a time: an index for
each question would cost every event something.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func
from sqlmodel import col, select

from sendoff.ids import event_id_at, requested_at
from sendoff.store.engine.batch import is_sqlite
from sendoff.store.engine.paging import newest_first
from sendoff.store.queries.installation.overview import prefer_indexes
from sendoff.store.tables import Event, EventTag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sendoff.store.engine.database import Transaction

SCANNED_AT_MOST = 50_000
"""Events that one page reads at most to find what is asked for: some hundred milliseconds if their data is read."""

_CLOCK_DIFFERENCE = timedelta(minutes=1)  # between the time in an event's id and `created_at`, of two hosts

_BEFORE_REQUEST, _AFTER_REQUEST = timedelta(minutes=1), timedelta(minutes=15)  # an upload's events come later


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a list shows; None is any. `since` is inclusive, `until` exclusive, both of `created_at`."""

    organization_id: str | None = None
    event_type: str | None = None
    request_id: str | None = None
    tag: str | None = None
    q: str | None = None
    """Text that `data` contains, as it was sent; case counts."""
    ids: tuple[str, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_selective(self) -> bool:
        """Whether rows may have to be passed over."""
        return not (self.organization_id is self.event_type is self.request_id is self.q is None)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, newest first. `scanned` is set if the search ended at its bound: it goes on before `last_id`."""

    events: Sequence[Event]
    scanned: int | None = None
    last_id: str | None = None


async def page(
    tx: Transaction, chosen: EventFilter, *, limit: int, before: str | None = None, scans: int | None = None
) -> EventPage:
    """Events, newest first, at most `limit`, older than the id `before`; `scans` of them are read at most."""
    await prefer_indexes(tx)
    query, position = select(Event).where(*_conditions(tx, chosen)), col(Event.id)
    if chosen.tag is not None:
        position = col(EventTag.event_id)
        query = query.join(EventTag, position == col(Event.id)).where(col(EventTag.tag) == chosen.tag)
        if chosen.organization_id is not None:
            query = query.where(col(EventTag.organization_id) == chosen.organization_id)
    elif chosen.ids is not None:
        query = query.where(position.in_(chosen.ids))
    elif chosen.is_selective:
        return await _scan(tx, query, chosen, limit=limit, before=before, scans=scans or SCANNED_AT_MOST)
    return EventPage((await tx.scalars(newest_first(query, position, limit=limit, before=before))).all())


async def page_of_request(tx: Transaction, chosen: EventFilter, *, limit: int) -> EventPage:
    """The first page of the events of `request_id`: around its time, if it was made here, which needs no search."""
    seconds = requested_at(chosen.request_id or "")
    if seconds is not None:
        moment = datetime.fromtimestamp(seconds, UTC)
        since, until = moment - _BEFORE_REQUEST, moment + _AFTER_REQUEST
        since, until = max(since, chosen.since or since), min(until, chosen.until or until)
        found = await page(tx, replace(chosen, since=since, until=until), limit=limit)
        if found.events:
            return found
    return await page(tx, chosen, limit=limit)


async def _scan(
    tx: Transaction, query: Any, chosen: EventFilter, *, limit: int, before: str | None, scans: int
) -> EventPage:
    last = select(Event.id).where(*_range(chosen))
    last = newest_first(last, col(Event.id), limit=1, before=before).offset(scans - 1)
    last_id = (await tx.scalars(last)).one_or_none()
    if last_id is not None:
        query = query.where(col(Event.id) >= last_id)
    found = (await tx.scalars(newest_first(query, col(Event.id), limit=limit, before=before))).all()
    if last_id is None or len(found) == limit:
        return EventPage(found)
    return EventPage(found, scans, last_id)


def _conditions(tx: Transaction, chosen: EventFilter) -> list[Any]:
    exact = {
        Event.organization_id: chosen.organization_id,
        Event.type: chosen.event_type,
        Event.request_id: chosen.request_id,
    }
    found = [col(column) == value for column, value in exact.items() if value is not None]
    if chosen.q is not None:
        position = func.instr if is_sqlite(tx) else func.strpos
        found.append(position(col(Event.data), chosen.q) > 0)
    if chosen.since is not None:
        found.append(col(Event.created_at) >= chosen.since)
    if chosen.until is not None:
        found.append(col(Event.created_at) < chosen.until)
    return [*_range(chosen), *found]


def _range(chosen: EventFilter) -> list[Any]:
    """The ids that events of the range can have."""
    found: list[Any] = []
    if chosen.since is not None:
        found.append(col(Event.id) >= event_id_at(chosen.since, plus=-_CLOCK_DIFFERENCE))
    if chosen.until is not None:
        found.append(col(Event.id) < event_id_at(chosen.until, plus=_CLOCK_DIFFERENCE))
    return found
