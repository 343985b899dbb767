"""The dead-letter store: deliveries that were given up, as they stood then."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, text, update
from sqlalchemy import select as core_select
from sqlmodel import col, select

from sendoff.ids import floor_of, row_id_at
from sendoff.policy.operational_events import OPERATORS
from sendoff.policy.states import DISCARD, GIVE_UP_WAITING, SEND_AGAIN, DeadLetterReason
from sendoff.store.engine.batch import execute, ids_parameter, rows_from, rows_parameter
from sendoff.store.engine.database import Transaction
from sendoff.store.engine.paging import ScannedPage, newest_first
from sendoff.store.engine.transitions import made_by
from sendoff.store.queries import operational_events
from sendoff.store.queries.installation.overview import prefer_indexes
from sendoff.store.tables import DeadLetter

if TYPE_CHECKING:
    from sendoff.store.queries.traffic.delivery_history import DeliveryFilter


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters are meant; None is any. `since` is inclusive, `until` exclusive, both of `died_at`."""

    organization_id: str | None = None
    endpoint_id: str | None = None
    event_type: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    state: str | None = None
    response_status: int | None = None
    since_event_id: str | None = None
    """Those of this event, and of all that were accepted after it."""
    status_class: str | None = None
    """`4xx`: the last answer had a status from 400 to 499."""
    min_attempts: int | None = None


SCANNED_AT_MOST = 50_000
"""Dead letters that one scan reads at most to find those that match: about fifteen milliseconds of the database."""

_CLOCK_DIFFERENCE = timedelta(minutes=1)  # between the time in an id and `died_at`


@dataclass(frozen=True, slots=True)
class Drain:
    """A delivery that is given up as it stands; `id` is that of its dead letter."""

    id: str
    delivery_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class InsertedLetter:
    """What a new dead letter is about."""

    delivery_id: str
    organization_id: str
    endpoint_id: str
    event_type: str
    reason: DeadLetterReason


async def insert_for(tx: Transaction, drained: Sequence[Drain], *, now: datetime) -> list[InsertedLetter]:
    """Insert the dead letters of deliveries that the transaction holds, as they stand, and their operational events."""
    inserted = await execute(
        tx,
        f"""
        INSERT INTO dead_letters (id, delivery_id, event_id, event_type, endpoint_id, endpoint_url, organization_id,
            reason, last_response_status, last_error, attempt_count, died_at, state)
        SELECT r.id, d.id, d.event_id, e.type, d.endpoint_id, p.url, d.organization_id,
            r.reason, d.last_response_status, d.last_error, d.attempt_count, :now, {made_by(GIVE_UP_WAITING)}
        FROM {rows_from(tx, "rows", {"id": "uuid", "delivery_id": "uuid", "reason": "text"})} AS r
        JOIN deliveries d ON d.id = r.delivery_id
        JOIN events e ON e.id = d.event_id
        JOIN endpoints p ON p.id = d.endpoint_id
        RETURNING delivery_id, organization_id, endpoint_id, event_type, reason
        """,
        rows=rows_parameter(drained),
        now=now,
    )
    letters = [
        InsertedLetter(
            str(row.delivery_id),
            str(row.organization_id),
            str(row.endpoint_id),
            row.event_type,
            DeadLetterReason(row.reason),
        )
        for row in inserted
    ]
    await operational_events.add_dead_lettered(tx, [one.id for one in drained], now=now)
    return letters


async def find(tx: Transaction, dead_letter_id: str, *, lock: bool = False) -> DeadLetter | None:
    return await tx.get(DeadLetter, dead_letter_id, with_for_update=lock or None)


async def find_many(tx: Transaction, ids: Sequence[str]) -> dict[str, DeadLetter]:
    """The existing dead letters among these, by id."""
    query = select(DeadLetter).where(col(DeadLetter.id).in_(ids))
    return {letter.id: letter for letter in (await tx.scalars(query)).all()}


async def scan_page(
    tx: Transaction, chosen: DeadLetterFilter, *, limit: int, before: str | None = None
) -> ScannedPage[DeadLetter]:
    """Dead letters, newest first, at most `limit`, older than the id `before`.

    At most SCANNED_AT_MOST are read to find those that match.
    """
    await prefer_indexes(tx)
    before = _newest_possible(chosen, before)
    scanned_to = await find_scan_end(tx, chosen, before=before)
    query = select(DeadLetter).where(*conditions(chosen), *_from(scanned_to))
    letters = (await tx.scalars(newest_first(query, col(DeadLetter.id), limit=limit, before=before))).all()
    return ScannedPage(letters, None if len(letters) == limit else scanned_to)


async def find_scan_end(tx: Transaction, chosen: DeadLetterFilter, *, before: str | None = None) -> str | None:
    """The last id that a search looks at; None if it may look at all, for nothing has to be passed over or few are.

    A search reads the rows that an index has together: those of an endpoint, an organization or a state.
    """
    if not _passes_over(chosen):
        return None
    query = core_select(col(DeadLetter.id))
    # Not said to be equal: a planner would read all in the order of ids then (`delivery_history._of_endpoint`).
    for column, value in (
        (col(DeadLetter.endpoint_id), chosen.endpoint_id),
        (col(DeadLetter.organization_id), chosen.organization_id),
        (col(DeadLetter.state), chosen.state),
    ):
        if value is not None:
            query = query.where(column >= value, column <= value).order_by(column.desc())
            break
    last = newest_first(query, col(DeadLetter.id), limit=1, before=before).offset(SCANNED_AT_MOST - 1)
    found: str | None = (await tx.scalars(last)).one_or_none()
    return found


def _passes_over(chosen: DeadLetterFilter) -> bool:
    """Whether rows that an index has together may not match."""
    indexed = (chosen.endpoint_id, chosen.organization_id, chosen.state)
    others = (
        chosen.event_type,
        chosen.reason,
        chosen.response_status,
        chosen.status_class,
        chosen.min_attempts,
        chosen.since,
        chosen.until,
        chosen.since_event_id,
    )
    return any(one is not None for one in others) or sum(one is not None for one in indexed) > 1


def _newest_possible(chosen: DeadLetterFilter, before: str | None) -> str | None:
    """Where a search begins: a dead letter's id tells when it was made, which is when the delivery died."""
    if chosen.until is None:
        return before
    possible = row_id_at(chosen.until, plus=_CLOCK_DIFFERENCE)
    return possible if before is None else min(before, possible)


def _from(scanned_to: str | None) -> list[Any]:
    return [] if scanned_to is None else [col(DeadLetter.id) >= scanned_to]


async def count_matching(tx: Transaction, chosen: DeadLetterFilter) -> tuple[int, set[str]]:
    """The number of deliveries that the filter matches, and their endpoints."""
    query = core_select(col(DeadLetter.endpoint_id), func.count(func.distinct(DeadLetter.delivery_id)))
    query = query.where(*conditions(chosen)).group_by(DeadLetter.endpoint_id)
    found = {str(endpoint_id): number for endpoint_id, number in (await tx.execute(query)).all()}
    return sum(found.values()), set(found)


@dataclass(frozen=True, slots=True)
class DeadOfEndpoint:
    """How many deliveries of an endpoint died."""

    endpoint_id: str
    endpoint_url: str
    organization_id: str
    count: int


async def count_by_endpoint(tx: Transaction, *, since: datetime, limit: int) -> list[DeadOfEndpoint]:
    """Of the newest `limit` dead letters since then, how many each endpoint has, the most first; none of alerts."""
    newest = (
        core_select(col(DeadLetter.endpoint_id), col(DeadLetter.endpoint_url), col(DeadLetter.organization_id))
        .where(col(DeadLetter.died_at) >= since, col(DeadLetter.organization_id) != OPERATORS)
        .order_by(col(DeadLetter.died_at).desc())
        .limit(limit)
        .subquery()
    )
    number = func.count().label("number")
    query = core_select(newest.c.endpoint_id, func.max(newest.c.endpoint_url), newest.c.organization_id, number)
    grouped = query.group_by(newest.c.endpoint_id, newest.c.organization_id).order_by(number.desc())
    return [DeadOfEndpoint(*row) for row in (await tx.execute(grouped)).all()]


async def count_chosen_by_endpoint(
    tx: Transaction, chosen: DeadLetterFilter, *, limit: int, scanned_to: str | None
) -> list[tuple[str, str, int]]:
    """Of the newest `limit` that the filter matches: each endpoint with its URL then and its number, most first.

    `scanned_to` is what `find_scan_end` gave: older ones are not looked at.
    """
    newest = (
        core_select(DeadLetter)
        .where(*conditions(chosen), *_from(scanned_to))
        .order_by(col(DeadLetter.id).desc())
        .limit(limit)
    )
    found = newest.subquery()
    number = func.count()
    query = (
        core_select(found.c.endpoint_id, func.max(found.c.endpoint_url), number)
        .group_by(found.c.endpoint_id)
        .order_by(number.desc())
    )
    return [(endpoint_id, url, count) for endpoint_id, url, count in (await tx.execute(query)).all()]


async def discard(tx: Transaction, chosen: DeadLetterFilter) -> int:
    """Take the open dead letters that the filter matches off the list, and return their number."""
    result: Any = await tx.execute(
        update(DeadLetter)
        .where(*conditions(chosen), col(DeadLetter.state).in_(DISCARD.sources))
        .values(state=DISCARD.targets[0])
        .execution_options(synchronize_session=False)
    )
    return int(result.rowcount)


async def find_discarded(tx: Transaction, delivery_ids: Iterable[str]) -> list[str]:
    """The dead deliveries among these whose newest dead letter was discarded, in order."""
    result = await execute(
        tx,
        f"""
        SELECT d.id FROM deliveries d JOIN {rows_from(tx, "ids", {"id": "uuid"})} AS r ON r.id = d.id
        WHERE d.state = 'dead'
            AND EXISTS (SELECT 1 FROM dead_letters l WHERE l.delivery_id = d.id AND l.state = 'discarded')
            AND NOT EXISTS (SELECT 1 FROM dead_letters l WHERE l.delivery_id = d.id AND l.state = 'open')
        ORDER BY d.id
        """,
        ids=ids_parameter(delivery_ids),
    )
    return [str(row.id) for row in result]


async def find_untransformed(tx: Transaction, delivery_ids: Iterable[str]) -> list[str]:
    """The deliveries among these whose newest dead letter says that their transform failed, in order."""
    result = await execute(
        tx,
        f"""
        SELECT l.delivery_id FROM dead_letters l
        JOIN {rows_from(tx, "ids", {"id": "uuid"})} AS r ON r.id = l.delivery_id
        WHERE l.reason = '{DeadLetterReason.TRANSFORM_FAILED}'
            AND NOT EXISTS (SELECT 1 FROM dead_letters n WHERE n.delivery_id = l.delivery_id AND n.id > l.id)
        ORDER BY l.delivery_id
        """,
        ids=ids_parameter(delivery_ids),
    )
    return [str(row.delivery_id) for row in result]


async def mark_replayed(tx: Transaction, delivery_ids: Sequence[str], *, now: datetime) -> None:
    """Take the open dead letters of these deliveries off the list: they are being sent again."""
    chosen = text(f"delivery_id IN (SELECT r.id FROM {rows_from(tx, 'ids', {'id': 'uuid'})} AS r)")
    await tx.execute(
        update(DeadLetter)
        .where(chosen.bindparams(ids=ids_parameter(delivery_ids)), col(DeadLetter.state).in_(SEND_AGAIN.sources))
        .values(state=SEND_AGAIN.targets[0], replayed_at=now)
        .execution_options(synchronize_session=False)
    )


def conditions(chosen: DeadLetterFilter) -> list[Any]:
    """The filter as conditions on the table."""
    exact = {
        DeadLetter.organization_id: chosen.organization_id,
        DeadLetter.endpoint_id: chosen.endpoint_id,
        DeadLetter.event_type: chosen.event_type,
        DeadLetter.reason: chosen.reason,
        DeadLetter.state: chosen.state,
        DeadLetter.last_response_status: chosen.response_status,
    }
    found: list[Any] = [col(column) == value for column, value in exact.items() if value is not None]
    found += within_bounds(
        chosen, status=DeadLetter.last_response_status, attempts=DeadLetter.attempt_count, moment=DeadLetter.died_at
    )
    if chosen.since_event_id is not None:
        found.append(col(DeadLetter.event_id) >= floor_of(chosen.since_event_id))
    return found


def within_bounds(chosen: DeadLetterFilter | DeliveryFilter, *, status: Any, attempts: Any, moment: Any) -> list[Any]:
    """The filter's bounds as conditions on these columns."""
    found: list[Any] = []
    if chosen.status_class is not None:
        found.append(col(status).between(*statuses_of(chosen.status_class)))
    if chosen.min_attempts is not None:
        found.append(col(attempts) >= chosen.min_attempts)
    if chosen.since is not None:
        found.append(col(moment) >= chosen.since)
    if chosen.until is not None:
        found.append(col(moment) < chosen.until)
    return found


def statuses_of(status_class: str) -> tuple[int, int]:
    """The lowest and the highest status of a class such as `4xx`."""
    lowest = int(status_class[0]) * 100
    return lowest, lowest + 99


async def newest_of(tx: Transaction, delivery_ids: Sequence[str]) -> dict[str, DeadLetter]:
    """The newest dead letter of each of the deliveries, by the delivery's id."""
    if not delivery_ids:
        return {}
    query = select(DeadLetter).where(col(DeadLetter.delivery_id).in_(delivery_ids)).order_by(col(DeadLetter.id))
    return {letter.delivery_id: letter for letter in (await tx.scalars(query)).all()}
