"""Claims: deliveries taken under a lease, with all that it takes to send them. Each claim is a transaction of its own.

On PostgreSQL one statement does it. SQLite's UPDATE returns no columns of other tables, and a statement more costs no
round trip there.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sendoff.policy.states import DeliveryState
from sendoff.store.engine.batch import json_text, read_moment
from sendoff.store.engine.database import Database
from sendoff.store.engine.types import moment_text
from sendoff.store.queries.endpoints import Destination
from sendoff.store.queries.events import EventContent


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery as the claim left it: `in_flight` under our lease."""

    id: str
    event_id: str
    endpoint_id: str
    organization_id: str
    attempt_count: int
    replay_id: str | None
    blocked_since: datetime | None


@dataclass(frozen=True, slots=True)
class ClaimedRow:
    """A claimed delivery, its endpoint in whatever state, and its event."""

    delivery: ClaimedDelivery
    endpoint: Destination
    event: EventContent


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """What a claim brought, oldest first, and the endpoints for which it held some."""

    taken: list[ClaimedRow]
    held_endpoint_ids: set[str]


# The state is compared as an expression: as a column it would let the planner read one of the partial indexes from end
# to end, which while the table is small looks as good as looking up the ids.
_IS_DUE = """(d.state || '') IN ('pending', 'in_flight')
    AND (
        d.next_attempt_at <= {now}
        OR (d.state || '' = 'pending' AND d.attempt_count = 0 AND d.blocked_since IS NULL)
    )"""
_CLAIMED = """deliveries.id, deliveries.event_id, deliveries.endpoint_id, deliveries.organization_id,
    deliveries.state, deliveries.attempt_count, deliveries.replay_id, deliveries.blocked_since"""

_WITH_CONTENT = """
    SELECT t.id, t.event_id, t.endpoint_id, t.organization_id, t.state, t.attempt_count, t.replay_id, t.blocked_since,
        p.state, p.dialect, p.url, p.secret, p.previous_secret, p.previous_secret_until,
        CASE WHEN p.operator_rate_limit IS NULL OR p.rate_limit < p.operator_rate_limit
            THEN p.rate_limit ELSE p.operator_rate_limit END AS rate_limit,
        p.consecutive_failures, p.last_success_at,
        e.type, e.data, e.occurred_at, e.request_id
    FROM taken t
    LEFT JOIN endpoints p ON t.state = 'in_flight' AND p.id = t.endpoint_id
    LEFT JOIN events e ON t.state = 'in_flight' AND e.id = t.event_id
    WHERE {told}
    ORDER BY t.id
"""

_TAKE_DUE = f"""
    WITH due AS (
        SELECT d.id, d.endpoint_id FROM deliveries d
        WHERE d.id = ANY($1::uuid[]) AND {_IS_DUE.format(now="$6")}
        FOR UPDATE OF d SKIP LOCKED
    ), ranked AS (
        SELECT due.id, row_number() OVER (PARTITION BY due.endpoint_id ORDER BY due.id) - COALESCE(
            (SELECT r.room FROM unnest($2::uuid[], $3::int[]) AS r(endpoint_id, room)
             WHERE r.endpoint_id = due.endpoint_id), $4::int
        ) AS place_behind
        FROM due
    ), taken AS (
        UPDATE deliveries SET
            state = CASE WHEN place_behind <= 0 THEN 'in_flight' ELSE 'held' END,
            lease = CASE WHEN place_behind <= 0 THEN $5::uuid END,
            next_attempt_at = $7
        FROM ranked WHERE deliveries.id = ranked.id
        RETURNING {_CLAIMED}, place_behind
    )
    {_WITH_CONTENT.format(told="place_behind <= 1")}
"""

_TAKE_HELD = f"""
    WITH turn AS (
        SELECT turn_of_one.id
        FROM unnest($1::uuid[], $2::int[]) AS r(endpoint_id, room) CROSS JOIN LATERAL (
            SELECT d.id FROM deliveries d WHERE d.endpoint_id = r.endpoint_id AND d.state = 'held'
            ORDER BY d.id LIMIT r.room
            FOR UPDATE OF d SKIP LOCKED
        ) AS turn_of_one
    ), taken AS (
        UPDATE deliveries SET state = 'in_flight', lease = $3::uuid, next_attempt_at = $4
        FROM turn WHERE deliveries.id = turn.id
        RETURNING {_CLAIMED}
    )
    {_WITH_CONTENT.format(told="TRUE")}
"""


@dataclass(frozen=True, slots=True)
class Quotas:
    """How many deliveries of an endpoint a claim may take: what is `known` of some, and `otherwise` for all others."""

    known: Mapping[str, int]
    otherwise: int


ANY_ROOM = Quotas({}, otherwise=sys.maxsize)


_TAKE_DUE_IN_SQLITE = f"""
    UPDATE deliveries SET
        state = CASE WHEN fits THEN 'in_flight' ELSE 'held' END,
        lease = CASE WHEN fits THEN :lease END,
        next_attempt_at = :until
    FROM (
        SELECT d.id AS due_id, row_number() OVER (PARTITION BY d.endpoint_id ORDER BY d.id) <= COALESCE(
            (SELECT json_extract(r.value, '$[1]') FROM json_each(:rooms) AS r
             WHERE json_extract(r.value, '$[0]') = d.endpoint_id), :otherwise
        ) AS fits
        FROM deliveries AS d
        WHERE d.id IN (SELECT value FROM json_each(:ids)) AND {_IS_DUE.format(now=":now")}
    ) AS ranked WHERE deliveries.id = ranked.due_id
    RETURNING id, CASE state WHEN 'held' THEN endpoint_id END
"""

_TAKE_HELD_IN_SQLITE = """
    UPDATE deliveries SET state = 'in_flight', lease = :lease, next_attempt_at = :until
    WHERE id IN (
        SELECT id FROM deliveries WHERE endpoint_id = :endpoint_id AND state = 'held' ORDER BY id LIMIT :room
    )
    RETURNING id, NULL
"""

_CONTENT_IN_SQLITE = f"""
    WITH taken AS (SELECT * FROM deliveries WHERE id IN (SELECT value FROM json_each(:ids)))
    {_WITH_CONTENT.format(told="TRUE")}
"""


async def claim_due(
    database: Database, ids: Sequence[str], *, rooms: Quotas, lease: str, now: datetime, until: datetime
) -> ClaimResult:
    """Take those of `ids` that are due, under `lease` until `until`, oldest first; the others are not ours or done.

    What was never tried is due whatever its time says: it was written by a clock that may be ahead of this one.
    What an endpoint has no room for is not taken but held for its turn; the oldest are taken first.
    """
    otherwise = min(rooms.otherwise, len(ids))
    if database.direct is not None:
        known = (list(rooms.known), list(rooms.known.values()))
        return _read_rows(await database.direct.fetch(_TAKE_DUE, list(ids), *known, otherwise, lease, now, until))
    parameters = {
        "ids": json_text(list(ids)),
        "rooms": json_text(list(rooms.known.items())),
        "otherwise": otherwise,
        "lease": lease,
        "now": moment_text(now),
        "until": moment_text(until),
    }
    return await database.embedded.write(partial(_take_in_sqlite, parameters=[parameters], update=_TAKE_DUE_IN_SQLITE))


async def claim_held_rows(database: Database, rooms: Mapping[str, int], *, lease: str, until: datetime) -> ClaimResult:
    """Take the oldest held deliveries of some endpoints, of each at most as many as `rooms` says, oldest first."""
    if database.direct is not None:
        rows = await database.direct.fetch(_TAKE_HELD, list(rooms), list(rooms.values()), lease, until)
        return _read_rows(rows)
    each = [
        {"endpoint_id": endpoint_id, "room": room, "lease": lease, "until": moment_text(until)}
        for endpoint_id, room in rooms.items()
    ]
    return await database.embedded.write(partial(_take_in_sqlite, parameters=each, update=_TAKE_HELD_IN_SQLITE))


def _take_in_sqlite(
    connection: sqlite3.Connection, *, parameters: Sequence[Mapping[str, Any]], update: str
) -> ClaimResult:
    taken = [row for each in parameters for row in connection.execute(update, each).fetchall()]
    held = {holder: delivery_id for delivery_id, holder in taken if holder is not None}
    told = [*held.values(), *(delivery_id for delivery_id, holder in taken if holder is None)]
    return _read_rows(connection.execute(_CONTENT_IN_SQLITE, {"ids": json_text(told)}).fetchall() if told else ())


def _read_rows(rows: Iterable[Any]) -> ClaimResult:
    takings = ClaimResult([], set())
    destinations: dict[str, Destination] = {}
    for row in rows:
        (key, event_id, endpoint, organization, state, attempt_count, replay, blocked_since, *rest) = row
        endpoint_id, organization_id = str(endpoint), str(organization)
        if state == DeliveryState.HELD:
            takings.held_endpoint_ids.add(endpoint_id)
            continue
        delivery = ClaimedDelivery(
            id=str(key),
            event_id=event_id,
            endpoint_id=endpoint_id,
            organization_id=organization_id,
            attempt_count=attempt_count,
            replay_id=None if replay is None else str(replay),
            blocked_since=read_moment(blocked_since),
        )
        if endpoint_id not in destinations:
            destinations[endpoint_id] = _destination(endpoint_id, organization_id, *rest[:9])
        event = _event(event_id, organization_id, *rest[9:])
        takings.taken.append(ClaimedRow(delivery, destinations[endpoint_id], event))
    return takings


def _destination(
    endpoint_id: str,
    organization_id: str,
    state: str,
    dialect: str,
    url: str,
    secret: bytes,
    previous_secret: bytes | None,
    previous_secret_until: datetime | str | None,
    rate_limit: int | None,
    consecutive_failures: int,
    last_success_at: datetime | str | None,
) -> Destination:
    return Destination(
        id=endpoint_id,
        organization_id=organization_id,
        state=state,
        dialect=dialect,
        url=url,
        secret=secret,
        previous_secret=previous_secret,
        previous_secret_until=read_moment(previous_secret_until),
        rate_limit=rate_limit,
        consecutive_failures=consecutive_failures,
        last_success_at=read_moment(last_success_at),
    )


def _event(
    event_id: str, organization_id: str, event_type: str, data: str, occurred_at: datetime | str, request_id: str | None
) -> EventContent:
    return EventContent(event_id, organization_id, event_type, data, read_moment(occurred_at), request_id)
