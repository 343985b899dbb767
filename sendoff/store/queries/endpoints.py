"""Endpoints: registered URLs, who subscribed to what, and how they fare."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from sqlalchemy import func, update
from sqlmodel import col, select

from sendoff.policy.delivery.retry import RetrySchedule
from sendoff.policy.operational_events import OPERATORS
from sendoff.policy.states import EndpointState, Trigger
from sendoff.store.engine.database import Transaction
from sendoff.store.engine.paging import newest_first
from sendoff.store.tables import Endpoint


class Subscriber(msgspec.Struct, frozen=True):
    """An active endpoint that subscribes to some of the types that are published."""

    id: str
    events: list[str]
    """Those of the given names and patterns that it subscribes to."""
    has_held: bool
    """Whether it has held live deliveries; new deliveries queue behind them, and before those that replays feed."""
    filter: str | None = None
    transform: str | None = None
    ordered: bool = False
    """Whether its deliveries go out one at a time."""


IS_ACTIVE = "{endpoint}.state || '' = 'active'"
"""SQL for whether an endpoint is active. The state is compared as an expression: as a column it would let the planner
read all active endpoints of the installation by their index, which looks as good as looking up the organization's
until the table has statistics."""

LAST_LIVE_HELD = """(
    SELECT d.id FROM deliveries d
    WHERE d.endpoint_id = {endpoint}.id AND d.state = 'held' AND (d.replay_id IS NOT NULL) < TRUE
    ORDER BY d.endpoint_id DESC, (d.replay_id IS NOT NULL) DESC, d.id DESC LIMIT 1
)"""
"""SQL for the live delivery held for an endpoint that is claimed last; NULL for none. Looking for any would read the
index from its other end, past all that was held once. PostgreSQL would rewrite `= FALSE` to `replay_id IS NULL`, for
which that index does not serve."""


WITH_DELIVERIES_IN = """RECURSIVE found(endpoint_id) AS (
    SELECT * FROM (
        SELECT endpoint_id FROM deliveries WHERE state = '{state}' ORDER BY endpoint_id LIMIT 1
    ) AS first_endpoint
    UNION ALL
    SELECT (
        SELECT d.endpoint_id FROM deliveries d WHERE d.state = '{state}' AND d.endpoint_id > found.endpoint_id
        ORDER BY d.endpoint_id LIMIT 1
    ) FROM found WHERE found.endpoint_id IS NOT NULL
)"""
"""SQL, after WITH, for the endpoints that have deliveries in a state with an index by endpoint; its last row is NULL.
It costs one index probe for each endpoint, however many deliveries wait."""


@dataclass(slots=True)
class Destination:
    """An endpoint as sending sees it; the fields are those of the table."""

    id: str
    organization_id: str
    state: str
    dialect: str
    url: str
    secret: bytes = field(repr=False)
    previous_secret: bytes | None = field(repr=False)
    previous_secret_until: datetime | None
    rate_limit: int | None
    consecutive_failures: int
    last_success_at: datetime | None
    unhealthy_since: datetime | None = None
    ordered: bool = False
    retry_schedule: RetrySchedule | None = None
    timeout_seconds: int | None = None
    max_in_flight: int | None = None
    headers: bytes | None = field(default=None, repr=False)
    auth: bytes | None = field(default=None, repr=False)


async def find(tx: Transaction, endpoint_id: str, *, lock: bool = False) -> Endpoint | None:
    """An endpoint in any state, or None; `lock` locks the row until the transaction ends."""
    return await tx.get(Endpoint, endpoint_id, with_for_update=lock or None)


async def find_unless_locked(tx: Transaction, endpoint_id: str) -> Endpoint | None:
    """An endpoint in any state, locked until the transaction ends; None also if another transaction has it locked."""
    return await tx.get(Endpoint, endpoint_id, with_for_update={"skip_locked": True})


async def find_many(tx: Transaction, ids: Iterable[str], *, lock: bool = False) -> dict[str, Endpoint]:
    """The existing endpoints among these, by id. Rows are locked in id order, which prevents deadlocks."""
    query = select(Endpoint).where(col(Endpoint.id).in_(set(ids))).order_by(col(Endpoint.id))
    if lock:
        query = query.with_for_update()
    return {endpoint.id: endpoint for endpoint in (await tx.scalars(query)).all()}


async def of_organization(tx: Transaction, organization_id: str, *, deleted: bool = False) -> list[Endpoint]:
    """The organization's endpoints, newest first; with `deleted`, also those whose rows are kept after deletion."""
    query = select(Endpoint).where(col(Endpoint.organization_id) == organization_id)
    if not deleted:
        query = query.where(col(Endpoint.state) != EndpointState.DELETED)
    query = query.order_by(col(Endpoint.id).desc())
    return list((await tx.scalars(query)).all())


async def find_with_url(tx: Transaction, organization_id: str, url: str) -> str | None:
    """The id of the organization's newest endpoint with this URL that is not deleted; None for none."""
    query = select(Endpoint.id).where(
        col(Endpoint.organization_id) == organization_id,
        col(Endpoint.url) == url,
        col(Endpoint.state) != EndpointState.DELETED,
    )
    return (await tx.scalars(query.order_by(col(Endpoint.id).desc()).limit(1))).first()


async def count_of_organization(tx: Transaction, organization_id: str) -> int:
    """The number of the organization's endpoints that are not deleted."""
    query = select(func.count()).where(
        col(Endpoint.organization_id) == organization_id, col(Endpoint.state) != EndpointState.DELETED
    )
    return (await tx.scalars(query)).one()


async def page(
    tx: Transaction,
    *,
    limit: int,
    before: str | None = None,
    organization_id: str | None = None,
    state: EndpointState | None = None,
    deleted: bool = True,
    url: str | None = None,
    failing: bool = False,
    most_failures_first: bool = False,
) -> list[Endpoint]:
    """Endpoints of all organizations, newest first, at most `limit`, older than the id `before`.

    Alert endpoints only if their organization is named; deleted ones not without `deleted`. `url`: only those whose URL
    contains it, `failing`: only those whose last attempt failed.
    """
    query = select(Endpoint)
    if organization_id is not None:
        query = query.where(col(Endpoint.organization_id) == organization_id)
    else:
        query = query.where(col(Endpoint.organization_id) != OPERATORS)
    if not deleted:
        query = query.where(col(Endpoint.state) != EndpointState.DELETED)
    if state is not None:
        query = query.where(col(Endpoint.state) == state)
    if url is not None:
        query = query.where(col(Endpoint.url).icontains(url, autoescape=True))
    if failing:
        query = query.where(col(Endpoint.consecutive_failures) > 0)
    if most_failures_first:
        query = query.order_by(col(Endpoint.consecutive_failures).desc())
    query = newest_first(query, col(Endpoint.id), limit=limit, before=before)
    return list((await tx.scalars(query)).all())


async def with_url_like(tx: Transaction, text: str, *, limit: int) -> list[Endpoint]:
    """Endpoints whose URL contains the text, newest first, those that are not deleted first. Reads all endpoints."""
    query = select(Endpoint).where(col(Endpoint.url).icontains(text, autoescape=True))
    query = query.order_by(col(Endpoint.state) == EndpointState.DELETED, col(Endpoint.id).desc()).limit(limit)
    return list((await tx.scalars(query)).all())


async def described_like(tx: Transaction, text: str, *, limit: int) -> list[Endpoint]:
    """Endpoints whose URL or description contains the text, newest first, without deleted ones. Reads all endpoints."""
    query = select(Endpoint).where(
        col(Endpoint.url).icontains(text, autoescape=True) | col(Endpoint.description).icontains(text, autoescape=True),
        col(Endpoint.state) != EndpointState.DELETED,
    )
    return list((await tx.scalars(query.order_by(col(Endpoint.id).desc()).limit(limit))).all())


def move(endpoint: Endpoint, trigger: Trigger) -> None:
    """Change the state of an endpoint that the transaction holds: every change but the registration is made here.

    Unless it is active afterwards, what waits for it is drained. Raises ValueError where the trigger has no arrow.
    """
    endpoint.state = trigger.target(endpoint.state)
    endpoint.drain_due = endpoint.state != EndpointState.ACTIVE


async def find_drain_due(tx: Transaction, *, limit: int) -> list[str]:
    """Ids of endpoints that stopped being active and whose open deliveries may still wait."""
    query = select(Endpoint.id).where(col(Endpoint.drain_due).is_(True)).limit(limit)
    return list((await tx.scalars(query)).all())


async def mark_drained(tx: Transaction, endpoint_id: str) -> None:
    """None of the endpoint's deliveries waits any more."""
    await tx.execute(update(Endpoint).where(col(Endpoint.id) == endpoint_id).values(drain_due=False))


async def forget_ended_secrets(tx: Transaction, *, now: datetime, limit: int) -> None:
    """Remove secrets from before a rotation whose overlap has ended."""
    ended = (
        select(Endpoint.id)
        .where(col(Endpoint.previous_secret_until) <= now)
        .order_by(col(Endpoint.id))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = (await tx.scalars(ended)).all()
    if ids:
        forgotten = {"previous_secret": None, "previous_secret_until": None}
        await tx.execute(update(Endpoint).where(col(Endpoint.id).in_(ids)).values(forgotten))
