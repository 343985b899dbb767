"""All columns that hold vault-encrypted values: counted by key, and read in batches to be encrypted again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, literal, tuple_, update
from sqlmodel import SQLModel, col, select

from sendoff.store.engine.database import Transaction
from sendoff.store.tables import Endpoint, IdempotencyRecord
from sendoff.store.vault import KEY_ID_PLACE


@dataclass(frozen=True, slots=True)
class EncryptedColumns:
    """A table with encrypted columns."""

    model: type[SQLModel]
    key: tuple[str, ...]
    columns: tuple[str, ...]

    def column(self, name: str) -> Any:
        return col(getattr(self.model, name))

    @property
    def key_columns(self) -> list[Any]:
        return [self.column(name) for name in self.key]


ENDPOINTS = EncryptedColumns(Endpoint, ("id",), ("secret", "previous_secret", "headers", "auth"))
ANSWERS = EncryptedColumns(IdempotencyRecord, ("organization_id", "key"), ("response_body",))
ENCRYPTED_COLUMNS = (ENDPOINTS, ANSWERS)


@dataclass(frozen=True, slots=True)
class Sealed:
    """One sealed value: `column` of the row with the primary key `key`."""

    key: tuple[str, ...]
    column: str
    sealed: bytes


async def count_by_key(tx: Transaction) -> Counter[str]:
    """The number of values encrypted with each key, by the key's id in hexadecimal."""
    counted: Counter[str] = Counter()
    for table in ENCRYPTED_COLUMNS:
        for column in map(table.column, table.columns):
            key_id = func.substr(column, *KEY_ID_PLACE)
            query = select(key_id, func.count()).where(column.is_not(None)).group_by(key_id)
            counted.update({bytes(found).hex(): number for found, number in (await tx.execute(query)).all()})
    return counted


async def batch(tx: Transaction, table: EncryptedColumns, *, after: Sequence[str] | None, limit: int) -> list[Sealed]:
    """The encrypted values of the next `limit` rows after the key `after`, ordered by key."""
    columns = [table.column(name) for name in table.columns]
    query = select(*table.key_columns, *columns).order_by(*table.key_columns).limit(limit)
    if after is not None:
        bounds = [literal(value, column.type) for value, column in zip(after, table.key_columns, strict=True)]
        query = query.where(tuple_(*table.key_columns) > tuple_(*bounds))
    width = len(table.key)
    return [
        Sealed(tuple(row[:width]), name, sealed)
        for row in (await tx.execute(query)).all()
        for name, sealed in zip(table.columns, row[width:], strict=True)
        if sealed is not None
    ]


async def replace(tx: Transaction, table: EncryptedColumns, found: Sealed, resealed: bytes) -> bool:
    """Replace the value by `resealed`. Returns False if the value has changed since it was read."""
    same_row = [column == value for column, value in zip(table.key_columns, found.key, strict=True)]
    statement = (
        update(table.model)
        .where(*same_row, table.column(found.column) == found.sealed)
        .values({found.column: resealed})
        .returning(table.key_columns[0])
    )
    return (await tx.execute(statement)).scalar_one_or_none() is not None
