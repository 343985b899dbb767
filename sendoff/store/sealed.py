"""All that the vault has sealed, wherever it is kept: counted by key, and found in batches to be sealed anew."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import func, update
from sqlmodel import col, select

from sendoff.store.database import Transaction
from sendoff.store.tables import Endpoint
from sendoff.store.vault import KEY_ID_PLACE

_COLUMNS = ("secret", "previous_secret")


@dataclass(frozen=True, slots=True)
class Sealed:
    """One sealed secret: the column of an endpoint, which is what it is bound to."""

    endpoint_id: str
    column: str
    sealed: bytes


async def count_by_key(tx: Transaction) -> Counter[str]:
    """How many secrets are sealed under which key, by the key's id in hexadecimal."""
    counted: Counter[str] = Counter()
    for name in _COLUMNS:
        column = col(getattr(Endpoint, name))
        key_id = func.substr(column, *KEY_ID_PLACE)
        query = select(key_id, func.count()).where(column.is_not(None)).group_by(key_id)
        counted.update({bytes(found).hex(): number for found, number in (await tx.execute(query)).all()})
    return counted


async def batch(tx: Transaction, *, after: str | None, limit: int) -> list[Sealed]:
    """The secrets of the next `limit` endpoints whose ids come after `after`, in the order of ids."""
    query = select(Endpoint.id, Endpoint.secret, Endpoint.previous_secret).order_by(col(Endpoint.id)).limit(limit)
    if after is not None:
        query = query.where(col(Endpoint.id) > after)
    return [
        Sealed(endpoint_id, name, sealed)
        for endpoint_id, *secrets in (await tx.execute(query)).all()
        for name, sealed in zip(_COLUMNS, secrets, strict=True)
        if sealed is not None
    ]


async def replace(tx: Transaction, found: Sealed, resealed: bytes) -> bool:
    """Put `resealed` in its place; False when another secret stands there by now."""
    column = getattr(Endpoint, found.column)
    statement = (
        update(Endpoint)
        .where(col(Endpoint.id) == found.endpoint_id, col(column) == found.sealed)
        .values({found.column: resealed})
        .returning(col(Endpoint.id))
    )
    return (await tx.execute(statement)).scalar_one_or_none() is not None
