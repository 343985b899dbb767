"""Answers to writes with an Idempotency-Key, kept for 24 hours."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import bindparam, delete, tuple_, update
from sqlmodel import col, select

from sendoff.store.engine.batch import execute, insert_or_ignore, rows_from, rows_parameter
from sendoff.store.engine.database import Transaction
from sendoff.store.engine.types import Identifier
from sendoff.store.tables import IdempotencyRecord, Organization

RecordKey = tuple[str, str]
"""Of a record: its organization and its key."""

_KEY = {"organization_id": "uuid", "key": "text"}


async def insert_if_new(tx: Transaction, record: IdempotencyRecord) -> bool:
    """Insert the record unless its key is taken; a concurrent insert of the same key is waited for."""
    statement = insert_or_ignore(tx, IdempotencyRecord).values(record.model_dump())
    result = await tx.execute(statement.returning(col(IdempotencyRecord.key)))
    return result.first() is not None


async def insert_new(tx: Transaction, records: Sequence[IdempotencyRecord]) -> set[RecordKey]:
    """Insert the records whose keys are free, and return those; concurrent inserts of the same keys are waited for."""
    source = rows_from(tx, "rows", {**_KEY, "request_hash": "text", "created_at": "timestamptz"})
    result = await execute(
        tx,
        f"""
        INSERT INTO idempotency_records (organization_id, key, request_hash, created_at)
        SELECT organization_id, key, request_hash, created_at FROM {source} AS new
        WHERE true ORDER BY organization_id, key  -- in one order, or two transactions wait for each other
        ON CONFLICT DO NOTHING RETURNING organization_id, key
        """,
        rows=rows_parameter(
            {name: getattr(record, name) for name in ("organization_id", "key", "request_hash", "created_at")}
            for record in records
        ),
    )
    return {(str(row.organization_id), row.key) for row in result}


async def find_all(tx: Transaction, keys: Collection[RecordKey]) -> dict[RecordKey, IdempotencyRecord]:
    """The records that exist with those organizations and keys."""
    if not keys:
        return {}
    chosen = tuple_(col(IdempotencyRecord.organization_id), col(IdempotencyRecord.key)).in_(keys)
    found = await tx.scalars(select(IdempotencyRecord).where(chosen))
    return {(record.organization_id, record.key): record for record in found}


async def complete_all(tx: Transaction, bodies: Mapping[RecordKey, bytes], *, status: int) -> None:
    """Keep the answer to each of the keys."""
    if not bodies:
        return
    statement = (
        update(IdempotencyRecord)
        .where(
            col(IdempotencyRecord.organization_id) == bindparam("of_organization", type_=Identifier),
            col(IdempotencyRecord.key) == bindparam("of_key"),
        )
        .values(response_status=status, response_body=bindparam("sealed"))
    )
    connection = await tx.connection()
    await connection.execute(
        statement,
        [
            {"of_organization": organization_id, "of_key": key, "sealed": body}
            for (organization_id, key), body in bodies.items()
        ],
    )


async def remove_all(tx: Transaction, keys: Collection[RecordKey]) -> None:
    """Delete the records with those organizations and keys."""
    chosen = tuple_(col(IdempotencyRecord.organization_id), col(IdempotencyRecord.key)).in_(keys)
    await tx.execute(delete(IdempotencyRecord).where(chosen), execution_options={"synchronize_session": False})


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
