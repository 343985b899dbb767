"""Acceptance: who hands in events and who gets them, then the events with their deliveries, for many requests at once.

Two round trips on PostgreSQL: one that reads, one that writes and commits.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson

from sendoff.store import accounts, deliveries, endpoints, events
from sendoff.store.accounts import KnownKey
from sendoff.store.database import Database
from sendoff.store.deliveries import NewDelivery
from sendoff.store.direct import columns_of
from sendoff.store.endpoints import Subscriber
from sendoff.store.events import NewEventRow


@dataclass(frozen=True, slots=True)
class Sender:
    """A known API key, and the active endpoints of its organization."""

    key: KnownKey
    subscribers: Sequence[Subscriber]


_FIND = """
    SELECT k.key_hash, k.id, k.prefix, k.organization_id, k.user_id, k.scopes, k.expires_at, k.revoked_at,
        o.suspended_at,
        ARRAY(SELECT ARRAY[p.id::text, p.events::text] FROM endpoints p
              WHERE p.organization_id = k.organization_id AND p.state = 'active')
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
    SELECT r.*, $8, 'pending', 0, $8 FROM unnest($9::uuid[], $10::text[], $11::uuid[], $12::uuid[]) AS r
"""


_EVENT_COLUMNS = ("id", "organization_id", "type", "data", "occurred_at", "request_id", "delivery_count")
_DELIVERY_COLUMNS = ("id", "event_id", "endpoint_id", "organization_id")


async def find_senders(database: Database, key_hashes: Collection[str]) -> dict[str, Sender]:
    """What there is to know of the API keys with those SHA-256 hashes, by hash; revoked and expired ones as well."""
    if database.direct is not None:
        rows = await database.direct.fetch(_FIND, list(key_hashes))
        return {row[0]: _sender(*row[1:]) for row in rows}
    async with database.read() as tx:
        keys = await accounts.find_keys_by_hash(tx, key_hashes)
        subscribers = await endpoints.find_subscribers(tx, {key.organization_id for key in keys.values()})
    return {key_hash: Sender(key, subscribers[key.organization_id]) for key_hash, key in keys.items()}


async def add(
    database: Database, new_events: Sequence[NewEventRow], new_deliveries: Sequence[NewDelivery], *, now: datetime
) -> None:
    """Commit events, and deliveries of theirs that are due at once; all of them are created `now`."""
    if database.direct is not None:
        event_columns = columns_of(new_events, _EVENT_COLUMNS)
        await database.direct.fetch(_ADD, *event_columns, now, *columns_of(new_deliveries, _DELIVERY_COLUMNS))
        return
    async with database.write() as tx:
        await events.insert_many(tx, new_events)
        if new_deliveries:
            await deliveries.insert_many(tx, new_deliveries)


def _sender(
    key_id: object,
    prefix: str,
    organization_id: object,
    user_id: object,
    scopes: str,
    expires_at: datetime | None,
    revoked_at: datetime | None,
    suspended_at: datetime | None,
    subscribers: list[list[str]],
) -> Sender:
    key = KnownKey(
        id=str(key_id),
        prefix=prefix,
        organization_id=str(organization_id),
        user_id=str(user_id),
        scopes=orjson.loads(scopes),
        expires_at=expires_at,
        revoked_at=revoked_at,
        is_suspended=suspended_at is not None,
    )
    return Sender(key, [Subscriber(endpoint_id, orjson.loads(wanted)) for endpoint_id, wanted in subscribers])
