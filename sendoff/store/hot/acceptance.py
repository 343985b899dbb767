"""Accepting: who hands in events and who gets them, then events with deliveries, for many requests at once.
Two visits to the database: one that reads, one that writes and commits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import orjson

from sendoff.store.engine.batch import json_text, read_json, read_moment
from sendoff.store.engine.database import Database
from sendoff.store.engine.postgres_driver import columns_of
from sendoff.store.engine.types import moment_text
from sendoff.store.queries.accounts import KnownKey
from sendoff.store.queries.deliveries import NewDelivery
from sendoff.store.queries.endpoints import NEWEST_HELD, Subscriber
from sendoff.store.queries.events import NewEventRow


@dataclass(frozen=True, slots=True)
class Sender:
    """A known API key, and the active endpoints of its organization that subscribe to any of the published types."""

    key: KnownKey
    subscribers: Sequence[Subscriber]


_FIND = f"""
    SELECT k.key_hash, k.id, k.prefix, k.organization_id, k.user_id, k.scopes, k.expires_at, k.revoked_at,
        o.suspended_at,
        ARRAY(SELECT ARRAY[p.id::text, p.matched::text, {NEWEST_HELD.format(endpoint="p")}::text] FROM (
            SELECT e.id, (
                SELECT json_agg(named) FROM json_array_elements_text(e.events) AS named WHERE named = ANY($2::text[])
            ) AS matched
            FROM endpoints e WHERE e.organization_id = k.organization_id AND e.state = 'active'
        ) AS p WHERE p.matched IS NOT NULL)
    FROM api_keys k JOIN organizations o ON o.id = k.organization_id
    WHERE k.key_hash = ANY($1::text[])
"""

_ADD = """
    WITH accepted AS (
        INSERT INTO events (id, organization_id, type, data, occurred_at, request_id, delivery_count, created_at)
        SELECT r.*, $8 FROM unnest(
            $1::text[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::int[]
        ) AS r
    )
    INSERT INTO deliveries
        (id, event_id, endpoint_id, organization_id, created_at, state, attempt_count, next_attempt_at)
    SELECT r.id, r.event_id, r.endpoint_id, r.organization_id, $8, r.state, 0, $8
    FROM unnest($9::uuid[], $10::text[], $11::uuid[], $12::uuid[], $13::text[])
        AS r(id, event_id, endpoint_id, organization_id, state)
"""


_FIND_IN_SQLITE = f"""
    SELECT k.key_hash, k.id, k.prefix, k.organization_id, k.user_id, k.scopes, k.expires_at, k.revoked_at,
        o.suspended_at,
        (SELECT json_group_array(json_array(p.id, json(p.matched), {NEWEST_HELD.format(endpoint="p")})) FROM (
            SELECT e.id, (
                SELECT json_group_array(named.value) FROM json_each(e.events) AS named
                WHERE named.value IN (SELECT value FROM json_each(:types))
            ) AS matched
            FROM endpoints e WHERE e.organization_id = k.organization_id AND e.state = 'active'
        ) AS p WHERE p.matched <> '[]')
    FROM api_keys k JOIN organizations o ON o.id = k.organization_id
    WHERE k.key_hash IN (SELECT value FROM json_each(:hashes))
"""

_ADD_EVENT_IN_SQLITE = """
    INSERT INTO events (id, organization_id, type, data, occurred_at, request_id, delivery_count, created_at)
    VALUES (:id, :organization_id, :type, :data, :occurred_at, :request_id, :delivery_count, :created_at)
"""

_ADD_DELIVERY_IN_SQLITE = """
    INSERT INTO deliveries
        (id, event_id, endpoint_id, organization_id, created_at, state, attempt_count, next_attempt_at)
    VALUES (:id, :event_id, :endpoint_id, :organization_id, :created_at, :state, 0, :created_at)
"""

_EVENT_COLUMNS = ("id", "organization_id", "type", "data", "occurred_at", "request_id", "delivery_count")
_DELIVERY_COLUMNS = ("id", "event_id", "endpoint_id", "organization_id", "state")


async def find_senders(database: Database, key_hashes: Collection[str], types: Collection[str]) -> dict[str, Sender]:
    """The API keys with those SHA-256 hashes, by hash, revoked and expired ones as well, and who subscribes to `types`.

    The database compares the lists of types: what comes back does not grow with the types that an endpoint names.
    """
    if database.direct is not None:
        rows = await database.direct.fetch(_FIND, list(key_hashes), list(types))
        return {row[0]: _sender(*row[1:-1], subscribers=row[-1]) for row in rows}
    hashes = {"hashes": json_text(list(key_hashes)), "types": json_text(list(types))}
    rows = await database.embedded.read(lambda connection: connection.execute(_FIND_IN_SQLITE, hashes).fetchall())
    return {row[0]: _sender(*row[1:-1], subscribers=orjson.loads(row[-1])) for row in rows}


async def add(
    database: Database, new_events: Sequence[NewEventRow], new_deliveries: Sequence[NewDelivery], *, now: datetime
) -> None:
    """Commit events and their deliveries; all of them are created `now`."""
    if database.direct is not None:
        event_columns = columns_of(new_events, _EVENT_COLUMNS)
        await database.direct.fetch(_ADD, *event_columns, now, *columns_of(new_deliveries, _DELIVERY_COLUMNS))
        return
    await database.embedded.write(
        partial(_add_in_sqlite, new_events=new_events, new_deliveries=new_deliveries, now=now)
    )


def _add_in_sqlite(
    connection: sqlite3.Connection,
    *,
    new_events: Sequence[NewEventRow],
    new_deliveries: Sequence[NewDelivery],
    now: datetime,
) -> None:
    created_at = moment_text(now)
    for event in new_events:
        row = {name: getattr(event, name) for name in _EVENT_COLUMNS}
        row.update(occurred_at=moment_text(event.occurred_at), created_at=created_at)
        connection.execute(_ADD_EVENT_IN_SQLITE, row)
    for delivery in new_deliveries:
        row = {name: getattr(delivery, name) for name in _DELIVERY_COLUMNS}
        connection.execute(_ADD_DELIVERY_IN_SQLITE, row | {"created_at": created_at})


def _sender(
    key_id: object,
    prefix: str,
    organization_id: object,
    user_id: object,
    scopes: str,
    expires_at: datetime | str | None,
    revoked_at: datetime | str | None,
    suspended_at: datetime | str | None,
    *,
    subscribers: Sequence[tuple[str, str, str | None]],
) -> Sender:
    key = KnownKey(
        id=str(key_id),
        prefix=prefix,
        organization_id=str(organization_id),
        user_id=str(user_id),
        scopes=orjson.loads(scopes),
        expires_at=read_moment(expires_at),
        revoked_at=read_moment(revoked_at),
        is_suspended=suspended_at is not None,
    )
    return Sender(
        key, [Subscriber(endpoint, read_json(events), held is not None) for endpoint, events, held in subscribers]
    )
