"""Rows of the tables that an export holds, in an order in which each comes after what it refers to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import LargeBinary
from sqlmodel import SQLModel, col, select

from sendoff.policy.states import EndpointState
from sendoff.store.encrypted_columns import ENDPOINTS
from sendoff.store.engine.database import Transaction
from sendoff.store.engine.types import UtcDateTime
from sendoff.store.tables import ApiKey, Endpoint, EventType, Membership, Organization, User

Row = SQLModel
"""A row of one of the tables."""

ROWS_AT_ONCE = 500
"""Rows that are read at a time; more take memory, fewer take statements."""

TABLES: Mapping[str, type[SQLModel]] = {
    "event_type": EventType,
    "organization": Organization,
    "user": User,
    "membership": Membership,
    "key": ApiKey,
    "endpoint": Endpoint,
}
"""The kinds of an export's records, in its order."""

SEALED: Sequence[str] = ENDPOINTS.columns
"""The columns of endpoints that hold secrets, each bound to the endpoint's id."""

OF_OPERATION = frozenset(
    {
        "last_success_at",
        "last_failure_at",
        "consecutive_failures",
        "first_failure_at",
        "unhealthy_since",
        "last_sequence",
        "drain_due",
    }
)
"""Columns of endpoints that say how deliveries fare, which begins again in another installation."""


async def rows_of(tx: Transaction, kind: str, organization_ids: Sequence[str] | None) -> AsyncIterator[SQLModel]:
    """All rows of a kind by their key, or those of the organizations; event types, and users, are everybody's."""
    model = TABLES[kind]
    keys = [col(getattr(model, column.name)) for column in model.__table__.primary_key]  # type: ignore[attr-defined]
    query = select(model).order_by(*keys)
    if organization_ids is not None and kind != "event_type":
        query = query.where(_of_organizations(model, organization_ids))
    if model is Endpoint:
        query = query.where(col(Endpoint.state) != EndpointState.DELETED)
    done = 0
    while found := (await tx.scalars(query.offset(done).limit(ROWS_AT_ONCE))).all():
        done += len(found)
        for row in found:
            yield row


async def find_existing(tx: Transaction, row: SQLModel) -> SQLModel | None:
    """The row that is there already with this key, or this e-mail address."""
    if isinstance(row, User):
        return (await tx.scalars(select(User).where(col(User.email) == row.email))).first()
    model = type(row)
    key = [getattr(row, column.name) for column in model.__table__.primary_key]  # type: ignore[attr-defined]
    return await tx.get(model, tuple(key) if len(key) > 1 else key[0])


def binary_columns(kind: str) -> set[str]:
    return _columns_of_type(kind, LargeBinary)


def time_columns(kind: str) -> set[str]:
    return _columns_of_type(kind, UtcDateTime)


def make_row(kind: str, fields: Mapping[str, Any]) -> SQLModel:
    """A new row. Raises KeyError, TypeError or ValueError for fields that the table does not have, or lacks."""
    model = TABLES[kind]
    columns = {column.name: column for column in model.__table__.columns}  # type: ignore[attr-defined]
    unknown = sorted(fields.keys() - columns.keys())
    if unknown:
        raise ValueError(f"there is no `{unknown[0]}`; it may come from a newer version")
    required = [name for name, one in columns.items() if not one.nullable and one.default is None]
    missing = [name for name in required if name not in fields and name not in OF_OPERATION]
    defaults = {name for name, one in model.model_fields.items() if not one.is_required()}
    lacking = [name for name in missing if name not in defaults]
    if lacking:
        raise ValueError(f"`{lacking[0]}` is missing")
    return model(**fields)


def _columns_of_type(kind: str, wanted: type) -> set[str]:
    table = TABLES[kind].__table__  # type: ignore[attr-defined]
    return {column.name for column in table.columns if isinstance(column.type, wanted)}


def _of_organizations(model: type[SQLModel], ids: Sequence[str]) -> Any:
    if model is Organization:
        return col(Organization.id).in_(ids)
    if model is User:
        return col(User.id).in_(select(Membership.user_id).where(col(Membership.organization_id).in_(ids)))
    return col(model.organization_id).in_(ids)  # type: ignore[attr-defined]


def parse_time(text: str) -> datetime:
    """Raises ValueError unless the text is a time with its zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment
