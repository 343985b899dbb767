"""Answers to writes with an Idempotency-Key, kept for 24 hours."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import bindparam, delete, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import col, select

from sendoff.store.engine.batch import execute
from sendoff.store.engine.database import Transaction
from sendoff.store.tables import IdempotencyRecord, Organization


async def insert_if_new(tx: Transaction, record: IdempotencyRecord) -> bool:
    """Insert the record unless its key is taken; a concurrent insert of the same key is waited for."""
    insert = sqlite.insert if tx.get_bind().dialect.name == "sqlite" else postgresql.insert
    statement = insert(IdempotencyRecord).values(record.model_dump()).on_conflict_do_nothing()
    result = await tx.execute(statement.returning(col(IdempotencyRecord.key)))
    return result.first() is not None


async def insert_new(tx: Transaction, records: Sequence[IdempotencyRecord]) -> set[str]:
    """Insert those of one organization's records whose keys are not taken, and return these keys.

    They come ordered by key: two transactions with the same keys then wait for each other in one direction alone.
    """
    insert = sqlite.insert if tx.get_bind().dialect.name == "sqlite" else postgresql.insert
    values = [record.model_dump() for record in records]
    statement = insert(IdempotencyRecord).values(values).on_conflict_do_nothing()
    return set((await tx.execute(statement.returning(col(IdempotencyRecord.key)))).scalars())


async def find_each(tx: Transaction, organization_id: str, keys: Collection[str]) -> Sequence[IdempotencyRecord]:
    """The organization's records with these keys."""
    query = select(IdempotencyRecord).where(
        col(IdempotencyRecord.organization_id) == organization_id, col(IdempotencyRecord.key).in_(keys)
    )
    return (await tx.scalars(query)).all()


async def find(tx: Transaction, organization_id: str, key: str) -> IdempotencyRecord | None:
    query = select(IdempotencyRecord).where(
        col(IdempotencyRecord.organization_id) == organization_id, col(IdempotencyRecord.key) == key
    )
    return (await tx.scalars(query)).one_or_none()


async def find_by_key(tx: Transaction, key: str, *, organization_id: str | None, limit: int) -> list[IdempotencyRecord]:
    """The records with that key, of one organization or of any. The index is by organization: each is looked up."""
    query = (
        select(IdempotencyRecord)
        .join(Organization, col(Organization.id) == col(IdempotencyRecord.organization_id))
        .where(col(IdempotencyRecord.key) == key)
        .limit(limit)
    )
    if organization_id is not None:
        query = query.where(col(Organization.id) == organization_id)
    return list((await tx.scalars(query)).all())


async def complete(tx: Transaction, organization_id: str, key: str, *, status: int, body: bytes) -> None:
    """Keep the answer that every repetition gets."""
    await tx.execute(
        update(IdempotencyRecord)
        .where(col(IdempotencyRecord.organization_id) == organization_id, col(IdempotencyRecord.key) == key)
        .values(response_status=status, response_body=body)
    )


async def complete_each(tx: Transaction, organization_id: str, bodies: Mapping[str, bytes], *, status: int) -> None:
    """Keep the answer to each of the keys."""
    statement = (
        update(IdempotencyRecord)
        .where(
            col(IdempotencyRecord.organization_id) == organization_id, col(IdempotencyRecord.key) == bindparam("of_key")
        )
        .values(response_status=status, response_body=bindparam("sealed"))
    )
    connection = await tx.connection()
    await connection.execute(statement, [{"of_key": key, "sealed": body} for key, body in bodies.items()])


async def remove(tx: Transaction, organization_id: str, key: str) -> None:
    """Delete a key whose write failed."""
    await tx.execute(
        delete(IdempotencyRecord).where(
            col(IdempotencyRecord.organization_id) == organization_id, col(IdempotencyRecord.key) == key
        )
    )


async def remove_old(tx: Transaction, *, until: datetime, limit: int) -> int:
    """Remove records from before `until`, at most `limit`, and return their number."""
    result = await execute(
        tx,
        """
        DELETE FROM idempotency_records WHERE (organization_id, key) IN (
            SELECT r.organization_id, r.key FROM idempotency_records r WHERE r.created_at < :until
            ORDER BY r.created_at LIMIT :limit
        )
        """,
        until=until,
        limit=limit,
    )
    return result.rowcount
