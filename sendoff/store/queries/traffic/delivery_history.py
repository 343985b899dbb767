"""Deliveries and their attempts as people look at them: one, or a page, with what happened to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, FromClause, func, inspect, text, true
from sqlalchemy import select as core_select
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from sendoff.ids import row_id_at
from sendoff.policy.states import DeliveryState
from sendoff.store.engine.batch import ids_parameter, is_sqlite, rows_from
from sendoff.store.engine.database import Transaction
from sendoff.store.engine.paging import ScannedPage, newest_first
from sendoff.store.queries.installation.overview import prefer_indexes
from sendoff.store.queries.traffic.dead_letters import within_bounds
from sendoff.store.tables import Attempt, Delivery, Endpoint, Event, LastExchange

NEWEST_ROWS = 10_000
"""Rows of attempts, the last ones that were inserted, that SQLite looks at for the newest attempts."""

SCANNED_AT_MOST = 20_000
"""Deliveries that one scan reads at most to find those that match: tens of milliseconds of the database."""

SCATTERED_AT_MOST = 500
"""The same for a scan of an endpoint, and on PostgreSQL of an organization with few. Each of its deliveries may be in
another page of the table, and so may each of their events: a cold disk took 0.4 to 3 s for 500 and 6 to 19 s for 2,000.
More makes a search overrun its time, fewer makes it read less within its time where all is in memory."""

CLOCKS_DIFFER_BY = timedelta(minutes=2)
"""How far the time in an id may be from `created_at`: the one is by the machine's clock, the other by the database's.
Where they differ by more, a filter by time reads everything newer; a longer time reads more in any case."""

_SMALLEST_SHARE = 25
"""Of each endpoint, when an organization has many. Fewer makes a scan of an organization with one busy endpoint among
500 end after so few; more reads up to 500 times as many when all are alike."""

OK = "ok"
"""The outcome of an attempt that delivered."""

Query = TypeVar("Query", bound=Any)

_LOOKED_AT = 100  # deliveries of an endpoint, so that the query costs the same at any size of the table


async def find(tx: Transaction, delivery_id: str) -> Delivery | None:
    return await tx.get(Delivery, delivery_id)


async def find_many(tx: Transaction, ids: Sequence[str]) -> list[Delivery]:
    query = select(Delivery).where(
        text(f"id IN (SELECT r.id FROM {rows_from(tx, 'ids', {'id': 'uuid'})} AS r)").bindparams(ids=ids_parameter(ids))
    )
    return list((await tx.scalars(query)).all())


async def of_event(tx: Transaction, event_id: str) -> list[Delivery]:
    """The deliveries of an event, in the order they were made."""
    query = select(Delivery).where(col(Delivery.event_id) == event_id).order_by(col(Delivery.id))
    return list((await tx.scalars(query)).all())


async def attempts_of(tx: Transaction, delivery_id: str) -> list[Attempt]:
    """Every attempt of a delivery, first to last."""
    query = select(Attempt).where(col(Attempt.delivery_id) == delivery_id).order_by(col(Attempt.number))
    return list((await tx.scalars(query)).all())


async def last_failure_of(tx: Transaction, endpoint_id: str) -> Delivery | None:
    """The delivery of the endpoint whose attempt failed last, among the newest `_LOOKED_AT`; None without one."""
    newest = (
        core_select(col(Delivery.id))
        .where(col(Delivery.endpoint_id) == endpoint_id)
        .order_by(col(Delivery.id).desc())
        .limit(_LOOKED_AT)
        .subquery()
    )
    query = select(Delivery).join(newest, newest.c.id == Delivery.id).where(col(Delivery.last_error).is_not(None))
    return (await tx.scalars(query.order_by(col(Delivery.last_attempt_at).desc()).limit(1))).first()


@dataclass(frozen=True, slots=True)
class AttemptFilter:
    """Which attempts are shown; None is any."""

    since: datetime
    organization_id: str | None = None
    endpoint_id: str | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class ListedAttempt:
    """An attempt with the delivery that it belongs to."""

    attempt: Attempt
    event_id: str
    event_type: str
    endpoint_id: str
    endpoint_url: str
    organization_id: str


async def newest_attempts(tx: Transaction, chosen: AttemptFilter, *, limit: int) -> list[ListedAttempt]:
    """Attempts that were started since then, the newest `limit`, oldest first.

    PostgreSQL knows from a small index which blocks are that young; on SQLite the last rows are the newest. Those of
    anybody are chosen before their deliveries are looked up, of which there may be a thousand times as many.
    """
    young = select(Attempt).where(col(Attempt.started_at) >= chosen.since)
    if is_sqlite(tx):
        young = young.where(text(f"attempts.rowid > (SELECT coalesce(max(rowid), 0) - {NEWEST_ROWS} FROM attempts)"))
    if chosen.failed:
        young = young.where(col(Attempt.outcome) != OK)
    if chosen.organization_id is None and chosen.endpoint_id is None:
        young = young.order_by(col(Attempt.started_at).desc(), col(Attempt.delivery_id).desc()).limit(limit)
    attempt = aliased(Attempt, young.subquery())
    of_delivery = (col(Delivery.event_id), col(Event.type), col(Delivery.endpoint_id), col(Endpoint.url))
    query = (
        core_select(attempt, *of_delivery, col(Delivery.organization_id))
        .join(Delivery, col(Delivery.id) == col(attempt.delivery_id))
        .join(Event, col(Event.id) == col(Delivery.event_id))
        .join(Endpoint, col(Endpoint.id) == col(Delivery.endpoint_id))
    )
    if chosen.organization_id is not None:
        query = query.where(col(Delivery.organization_id) == chosen.organization_id)
    if chosen.endpoint_id is not None:
        query = query.where(col(Delivery.endpoint_id) == chosen.endpoint_id)
    query = query.order_by(col(attempt.started_at).desc(), col(attempt.delivery_id).desc()).limit(limit)
    return [ListedAttempt(*row) for row in reversed((await tx.execute(query)).all())]


async def last_exchange_of(tx: Transaction, delivery_id: str) -> LastExchange | None:
    """The request and response of the delivery's last failed attempt."""
    return await tx.get(LastExchange, delivery_id)


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries a list shows; None is any."""

    organization_id: str | None = None
    endpoint_id: str | None = None
    event_id: str | None = None
    event_type: str | None = None
    states: tuple[DeliveryState, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None
    request_id: str | None = None
    replay_id: str | None = None
    response_status: int | None = None
    status_class: str | None = None
    """`4xx`: the last answer had a status from 400 to 499."""
    min_attempts: int | None = None


async def scan_page(
    tx: Transaction, chosen: DeliveryFilter, *, limit: int, before: str | None = None
) -> ScannedPage[tuple[Delivery, str, str | None]]:
    """Deliveries with their event's type and request id, newest first, at most `limit`, older than the id `before`.

    Cost grows with the page size and not with the history: for what may be rare, such as a status that few got, at most
    SCANNED_AT_MOST deliveries are read, or SCATTERED_AT_MOST.
    """
    await prefer_indexes(tx)
    within = await _find_id_bounds(tx, chosen)
    scanned_to = await _find_scan_end(tx, chosen, within, before=before)
    if scanned_to is not None:
        within.append(col(Delivery.id) >= scanned_to)
    event, is_its = _event_of_delivery(tx)
    query = select(Delivery, event.c.type, event.c.request_id).join(event, is_its).where(*within)
    if chosen.endpoint_id is not None:
        query = _of_endpoint(query, chosen.endpoint_id).where(*_conditions(chosen, event))
    elif chosen.organization_id is None or chosen.event_id is not None or is_sqlite(tx):
        query = query.where(*_conditions(chosen, event))
    else:
        newest = _newest_of_each_endpoint(tx, chosen, within, limit=limit, before=before)
        query = query.where(col(Delivery.id).in_(newest))
    query = newest_first(query, col(Delivery.id), limit=limit, before=before)
    rows = [tuple(row) for row in (await tx.execute(query)).all()]
    return ScannedPage(rows, None if len(rows) == limit else scanned_to)


def _event_of_delivery(tx: Transaction) -> tuple[FromClause, ColumnElement[bool]]:
    """What has the type and the request of a delivery's event, and the condition to join it.

    On PostgreSQL it is looked up for each delivery. In a plain join a planner would begin with the events for a type or
    a request that it takes for rare, and read all that there ever were: neither has an index.
    """
    event = inspect(Event).local_table
    is_its = event.c.id == col(Delivery.event_id)
    if is_sqlite(tx):  # it knows no LATERAL, and joins in the order of the deliveries
        return event, is_its
    looked_up = core_select(event.c.type, event.c.request_id).where(is_its).offset(0)
    return looked_up.correlate(Delivery).lateral(), true()


def _of_endpoint(query: Query, endpoint_id: Any) -> Query:
    """Those of one endpoint, in the order of the indexes by endpoint.

    Were it said that the column is equal to the id, a planner would take the order by endpoint for nothing, and could
    prefer to read all deliveries from the newest on, until it has come across enough of the endpoint's.
    """
    column = col(Delivery.endpoint_id)
    chosen: Query = query.where(column >= endpoint_id, column <= endpoint_id).order_by(column.desc())
    return chosen


async def _find_scan_end(
    tx: Transaction, chosen: DeliveryFilter, within: Sequence[Any], *, before: str | None = None
) -> str | None:
    """The last id that a search looks at, so that it reads no more than it may; None for no bound.

    Of an organization, each endpoint has its share of the deliveries.
    """
    rare = (chosen.event_type, chosen.request_id, chosen.replay_id, chosen.response_status, chosen.status_class)
    times = (chosen.min_attempts, chosen.since, chosen.until)
    if chosen.event_id is not None or all(one is None for one in (*rare, *times)):
        return None
    query, share = core_select(col(Delivery.id)).where(*within), SCANNED_AT_MOST
    if chosen.endpoint_id is not None:
        query, share = _of_endpoint(query, chosen.endpoint_id), SCATTERED_AT_MOST
    elif chosen.organization_id is not None and not is_sqlite(tx):
        ours = core_select(func.count()).where(col(Endpoint.organization_id) == chosen.organization_id)
        share = max(SCATTERED_AT_MOST // max((await tx.execute(ours)).scalar_one(), 1), _SMALLEST_SHARE)
        of_one = newest_first(_of_endpoint(query, col(Endpoint.id)), col(Delivery.id), limit=1, before=before)
        last = of_one.offset(share - 1).correlate(Endpoint).lateral()
        query = core_select(last.c.id).select_from(Endpoint).join(last, true())
        query = query.where(col(Endpoint.organization_id) == chosen.organization_id)
        return (await tx.scalars(query.order_by(last.c.id.desc()).limit(1))).one_or_none()
    last_one = newest_first(query, col(Delivery.id), limit=1, before=before).offset(share - 1)
    return (await tx.scalars(last_one)).one_or_none()


async def _find_id_bounds(tx: Transaction, chosen: DeliveryFilter) -> list[Any]:
    """The filter's bounds of time as bounds of ids, which begin with a time and have an index; `created_at` has none.

    Before a bound is used, the delivery next to it is looked at: with clocks that differ, its rows could be of the time
    that is asked for.
    """
    key, moment = col(Delivery.id), col(Delivery.created_at)
    found: list[Any] = []
    if chosen.since is not None:
        first = key >= row_id_at(chosen.since, plus=-CLOCKS_DIFFER_BY)
        last_before = core_select(moment).where(~first).order_by(key.desc()).limit(1)
        created_at = (await tx.scalars(last_before)).one_or_none()
        if created_at is None or created_at < chosen.since:
            found.append(first)
    if chosen.until is not None:
        last = key < row_id_at(chosen.until, plus=CLOCKS_DIFFER_BY)
        first_after = core_select(moment).where(~last).order_by(key).limit(1)
        created_at = (await tx.scalars(first_after)).one_or_none()
        if created_at is None or created_at >= chosen.until:
            found.append(last)
    return found


def _newest_of_each_endpoint(
    tx: Transaction, chosen: DeliveryFilter, within: Sequence[Any], *, limit: int, before: str | None
) -> Any:
    """The ids of what may be on an organization's page: there is an index by endpoint, and none by organization.

    One more index would cost every delivery something. SQLite knows no LATERAL, and has no history of that size.
    """
    event, is_its = _event_of_delivery(tx)
    query = core_select(col(Delivery.id)).where(*within, *_conditions(replace(chosen, organization_id=None), event))
    if chosen.event_type is not None or chosen.request_id is not None:
        query = query.join(event, is_its)
    query = newest_first(_of_endpoint(query, col(Endpoint.id)), col(Delivery.id), limit=limit, before=before)
    of_one = query.correlate(Endpoint).lateral()
    of_all = core_select(of_one.c.id).select_from(Endpoint).join(of_one, true())
    of_ours = of_all.where(col(Endpoint.organization_id) == chosen.organization_id)
    return of_ours.order_by(of_one.c.id.desc()).limit(limit)


def _conditions(chosen: DeliveryFilter, event: FromClause) -> list[Any]:
    """The filter as conditions on the tables, but for the endpoint."""
    exact = {
        col(Delivery.organization_id): chosen.organization_id,
        col(Delivery.event_id): chosen.event_id,
        event.c.type: chosen.event_type,
        event.c.request_id: chosen.request_id,
        col(Delivery.replay_id): chosen.replay_id,
        col(Delivery.last_response_status): chosen.response_status,
    }
    found: list[Any] = [column == value for column, value in exact.items() if value is not None]
    if chosen.states is not None:
        found.append(_in_states(chosen.states))
    return found + within_bounds(
        chosen, status=Delivery.last_response_status, attempts=Delivery.attempt_count, moment=Delivery.created_at
    )


def _in_states(states: Sequence[DeliveryState]) -> Any:
    """Written out: neither database looks for a parameter in its partial indexes."""
    names = [f"'{DeliveryState(state)}'" for state in states]
    return text(f"deliveries.state = {names[0]}" if len(names) == 1 else f"deliveries.state IN ({', '.join(names)})")
