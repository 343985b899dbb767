"""Idempotency-Key: the same write asked for twice is done once (Dialbird contract, "Idempotency").

A key belongs to an organization and lives for 24 hours. A short write reserves and completes it in its own transaction;
a long one (an upload) reserves it first, so that a second request meanwhile is told to wait.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from sendoff.errors import IdempotencyInProgress, IdempotencyKeyReused, Invalid
from sendoff.store import idempotency
from sendoff.store.database import Transaction
from sendoff.store.tables import IdempotencyRecord

LIFETIME = timedelta(hours=24)
LONGEST_KEY = 255

ABANDONED_AFTER = timedelta(minutes=15)
"""A reservation that was never completed is void after this: the process that made it died."""


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """One write with a key: `fingerprint` tells whether a repetition asks for the same thing."""

    organization_id: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The first answer, byte for byte."""

    status: int
    body: bytes


def fingerprint(*parts: bytes) -> str:
    """The SHA-256 over the parts of a request that make it the same request, such as method, path and body."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def check_key(key: str) -> str:
    """The key of a header. Raises Invalid for one that is empty, longer than 255 characters or not printable."""
    if not key or len(key) > LONGEST_KEY or not key.isprintable():
        raise Invalid(f"Idempotency-Key takes 1 to {LONGEST_KEY} printable characters.", field="Idempotency-Key")
    return key


async def reserve(tx: Transaction, request: IdempotentRequest, *, now: datetime) -> StoredResponse | None:
    """None when this request is the first with its key; otherwise the first's answer.

    Raises IdempotencyKeyReused when the key came with another request, IdempotencyInProgress while the first runs.
    """
    while not await idempotency.insert_if_new(tx, _record(request, now)):
        found = await idempotency.find(tx, request.organization_id, request.key)
        if found is None:  # removed between the two statements
            continue
        if _is_void(found, now):
            await idempotency.remove(tx, request.organization_id, request.key)
            tx.expunge(found)
            continue
        if found.request_hash != request.fingerprint:
            raise IdempotencyKeyReused
        if found.response_status is None or found.response_body is None:
            raise IdempotencyInProgress
        return StoredResponse(found.response_status, found.response_body)
    return None


async def complete(tx: Transaction, request: IdempotentRequest, response: StoredResponse) -> None:
    """Keep the answer of a reserved request, in the transaction that does its work."""
    await idempotency.complete(tx, request.organization_id, request.key, status=response.status, body=response.body)


async def abandon(tx: Transaction, request: IdempotentRequest) -> None:
    """Free the key of a reserved request that was refused."""
    await idempotency.remove(tx, request.organization_id, request.key)


def _record(request: IdempotentRequest, now: datetime) -> IdempotencyRecord:
    return IdempotencyRecord(
        organization_id=request.organization_id,
        key=request.key,
        request_hash=request.fingerprint,
        created_at=now,
    )


def _is_void(record: IdempotencyRecord, now: datetime) -> bool:
    lifetime = ABANDONED_AFTER if record.response_status is None else LIFETIME
    return record.created_at <= now - lifetime
