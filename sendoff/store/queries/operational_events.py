"""Operational events between the transaction in which something happened and their publication (`tables/alerts.py`).

An event is written only if an active alert endpoint subscribes to its type, so that without one nothing is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete
from sqlmodel import col, select

from sendoff.policy.endpoints.matching import patterns_of
from sendoff.policy.operational_events import OPERATORS, OperationalEventType
from sendoff.policy.states import EndpointState
from sendoff.store.engine.batch import execute, ids_parameter, is_sqlite, json_text, rows_from
from sendoff.store.engine.database import Transaction
from sendoff.store.queries.endpoints import IS_ACTIVE
from sendoff.store.tables import AlertGroup, Endpoint, OperationalEvent


@dataclass(frozen=True, slots=True)
class NewOperationalEvent:
    """Something that the transaction does to an endpoint, or with a replay."""

    type: OperationalEventType
    occurred_at: datetime
    organization_id: str | None
    endpoint_id: str | None = None
    subject_id: str | None = None
    facts: dict[str, Any] | None = None


_COLUMNS = {"type": "text", "organization_id": "uuid", "endpoint_id": "uuid", "subject_id": "uuid"}


def is_wanted(event_type: OperationalEventType, *, sqlite: bool) -> str:
    """SQL for whether an active alert endpoint subscribes to the type."""
    elements = "json_each(a.events)" if sqlite else "json_array_elements_text(a.events)"
    patterns = ", ".join(f"'{pattern}'" for pattern in patterns_of(event_type))
    return f"""EXISTS (
        SELECT 1 FROM endpoints a, {elements} AS named
        WHERE a.organization_id = '{OPERATORS}' AND {IS_ACTIVE.format(endpoint="a")} AND named.value IN ({patterns})
    )"""


async def add(tx: Transaction, new: NewOperationalEvent) -> None:
    """Note what the transaction does, unless it is done to an alert endpoint or nobody subscribes to it."""
    if new.organization_id == OPERATORS:
        return
    await execute(
        tx,
        f"""
        INSERT INTO operational_events (type, organization_id, endpoint_id, subject_id, facts, occurred_at)
        SELECT r.type, r.organization_id, r.endpoint_id, r.subject_id, {_as_json(tx, ":facts")}, :now
        FROM {rows_from(tx, "rows", _COLUMNS)} AS r WHERE {is_wanted(new.type, sqlite=is_sqlite(tx))}
        """,
        rows=json_text([{name: getattr(new, name) for name in _COLUMNS}]),
        facts=None if new.facts is None else json_text(new.facts),
        now=new.occurred_at,
    )


async def add_dead_lettered(tx: Transaction, dead_letter_ids: Iterable[str], *, now: datetime) -> None:
    """Note the dead letters that the transaction has inserted."""
    type_ = OperationalEventType.DELIVERY_DEAD_LETTERED
    await execute(
        tx,
        f"""
        INSERT INTO operational_events (type, organization_id, endpoint_id, subject_id, occurred_at)
        SELECT '{type_}', l.organization_id, l.endpoint_id, l.id, :now
        FROM {rows_from(tx, "ids", {"id": "uuid"})} AS r JOIN dead_letters l ON l.id = r.id
        WHERE l.organization_id <> '{OPERATORS}' AND {is_wanted(type_, sqlite=is_sqlite(tx))}
        """,
        ids=ids_parameter(dead_letter_ids),
        now=now,
    )


async def oldest(tx: Transaction, *, limit: int) -> list[OperationalEvent]:
    """The operational events that were written first."""
    query = select(OperationalEvent).order_by(col(OperationalEvent.id)).limit(limit)
    return list((await tx.scalars(query)).all())


async def remove(tx: Transaction, published: Sequence[OperationalEvent]) -> None:
    """Remove events that this transaction publishes."""
    ids = [event.id for event in published]
    await tx.execute(
        delete(OperationalEvent).where(col(OperationalEvent.id).in_(ids)).execution_options(synchronize_session=False)
    )


async def alert_endpoints(tx: Transaction) -> list[Endpoint]:
    """The active alert endpoints, oldest first."""
    query = select(Endpoint).where(
        col(Endpoint.organization_id) == OPERATORS, col(Endpoint.state) == EndpointState.ACTIVE
    )
    return list((await tx.scalars(query.order_by(col(Endpoint.id)))).all())


async def groups(tx: Transaction) -> dict[tuple[str, str], AlertGroup]:
    """What waits to be sent together, by alert endpoint and event type."""
    return {(group.endpoint_id, group.type): group for group in (await tx.scalars(select(AlertGroup))).all()}


def _as_json(tx: Transaction, parameter: str) -> str:
    return parameter if is_sqlite(tx) else f"CAST({parameter} AS json)"
