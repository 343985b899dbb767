"""Idempotency-Key: the same write asked for twice is done once (Dialbird contract, "Idempotency").

A key belongs to an organization and lives for 24 hours. Publishing and uploads reserve and complete it in the
transaction that does their work, so that a process that dies leaves both or neither; the others reserve it first, so
that a concurrent request with the same key gets an error that asks it to wait. A refused write frees its key.
Answers hold secrets that are shown once, so they are sealed at rest.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import structlog

from sendoff.context import Context
from sendoff.errors import IdempotencyInProgress, IdempotencyKeyReused, Invalid, Unavailable
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import idempotency
from sendoff.store.queries.idempotency import RecordKey
from sendoff.store.tables import IdempotencyRecord

LIFETIME = timedelta(hours=24)
LONGEST_KEY = 255
"""Characters of an `Idempotency-Key`, as the column holds them."""

ABANDONED_AFTER = timedelta(minutes=5)
"""A reservation that was never completed is void after this, longer than any such write takes: its process died."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """One write with a key: repetitions of the same request have the same `fingerprint`."""

    organization_id: str
    key: str
    fingerprint: str

    @property
    def binding(self) -> str:
        """The context that its encrypted answer is bound to."""
        return answer_binding(self.organization_id, self.key)


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The first answer, byte for byte; `replayed` when it is given once more."""

    status: int
    body: bytes
    replayed: bool = False


def answer_binding(organization_id: str, key: str) -> str:
    """The context that the encrypted answer to a request with that key is bound to."""
    return f"idempotency_records {organization_id} {key}"


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


async def once(
    context: Context, request: IdempotentRequest | None, work: Callable[[], Awaitable[StoredResponse]]
) -> StoredResponse:
    """The answer of `work`, or that of an earlier request with the key. Without a request, `work` just runs.

    Raises IdempotencyKeyReused, IdempotencyInProgress, and what `work` raises, after which the key is free again.
    """
    if request is None:
        return await work()
    async with context.database.write() as tx:
        stored = await reserve(tx, context, request)
    if stored is not None:
        return stored
    try:
        response = await work()
    except BaseException:
        await _free(context, request)
        raise
    # The work is committed: a client that disconnects now must not cause the next request to repeat it.
    await asyncio.shield(_complete_after(context, request, response))
    return response


@contextmanager
def under_way(context: Context, request: IdempotentRequest | None) -> Iterator[None]:
    """Around long work whose key is reserved in its last transaction: this process does it once at a time.

    Another process does it as well, and finds the answer when it comes to commit; nothing is left of one that dies.
    Raises IdempotencyKeyReused, and IdempotencyInProgress while the first runs.
    """
    if request is None:
        yield
        return
    running = context.under_way.get((request.organization_id, request.key))
    if running is not None:
        raise IdempotencyInProgress if running == request.fingerprint else IdempotencyKeyReused
    context.under_way[request.organization_id, request.key] = request.fingerprint
    try:
        yield
    finally:
        del context.under_way[request.organization_id, request.key]


async def reserve(tx: Transaction, context: Context, request: IdempotentRequest) -> StoredResponse | None:
    """None when this request is the first with its key; otherwise the first's answer.

    Raises IdempotencyKeyReused when the key came with another request, IdempotencyInProgress while the first runs.
    """
    now = context.clock.now()
    while not await idempotency.insert_if_new(tx, _record(request, now)):
        found = await idempotency.find(tx, request.organization_id, request.key)
        if found is None:  # removed between the two statements
            continue
        if _is_void(found, now):
            await idempotency.remove(tx, request.organization_id, request.key)
            tx.expunge(found)
            continue
        return _answer_again(context, request, found)
    return None


async def reserve_each(
    tx: Transaction, context: Context, requests: Collection[IdempotentRequest]
) -> dict[str, StoredResponse]:
    """The first answers of those keys that had one; the others are reserved. All are of one organization.

    Raises as `reserve` does.
    """
    asked = list(requests)
    repeated: dict[RecordKey, IdempotentRequest] = {}
    for request, found in zip(asked, await reserve_all(tx, context, asked), strict=True):
        match found:
            case Reservation.REUSED:
                raise IdempotencyKeyReused
            case Reservation.IN_PROGRESS:
                raise IdempotencyInProgress
            case Reservation.REPEATED:
                repeated[request.organization_id, request.key] = request
    records = await idempotency.find_all(tx, repeated)
    return {request.key: _answer_again(context, request, records[key]) for key, request in repeated.items()}


class Reservation(StrEnum):
    """What the key of one of several requests is."""

    NEW = "new"
    """Reserved for this request, the first with its key."""
    REPEATED = "repeated"
    """An earlier request was the same."""
    REUSED = "reused"
    """An earlier request with the key was another one."""
    IN_PROGRESS = "in_progress"


async def reserve_all(tx: Transaction, context: Context, requests: Sequence[IdempotentRequest]) -> list[Reservation]:
    """Reserve keys, of which none comes twice, in one statement; what it found for each, in their order."""
    now = context.clock.now()
    inserted = await idempotency.insert_new(tx, [_record(request, now) for request in requests])
    known = [request for request in requests if (request.organization_id, request.key) not in inserted]
    found = await idempotency.find_all(tx, [(one.organization_id, one.key) for one in known])
    void = [key for key, record in found.items() if _is_void(record, now)]
    again = [request for request in known if (request.organization_id, request.key) in void]
    if again:
        await idempotency.remove_all(tx, void)
        inserted |= await idempotency.insert_new(tx, [_record(request, now) for request in again])
    return [_reservation(request, inserted, found) for request in requests]


def _reservation(
    request: IdempotentRequest, inserted: Collection[RecordKey], found: Mapping[RecordKey, IdempotencyRecord]
) -> Reservation:
    key = request.organization_id, request.key
    if key in inserted:
        return Reservation.NEW
    record = found.get(key)
    if record is None:  # removed between the two statements
        return Reservation.IN_PROGRESS
    if record.request_hash != request.fingerprint:
        return Reservation.REUSED
    return Reservation.IN_PROGRESS if record.response_status is None else Reservation.REPEATED


async def find_answer(tx: Transaction, context: Context, request: IdempotentRequest) -> StoredResponse | None:
    """The answer that the key was given, if it was; nothing is reserved. Raises as `reserve` does."""
    found = await idempotency.find(tx, request.organization_id, request.key)
    if found is None or _is_void(found, context.clock.now()):
        return None
    return _answer_again(context, request, found)


async def complete(tx: Transaction, context: Context, request: IdempotentRequest, response: StoredResponse) -> None:
    """Keep the answer of a reserved request, in the transaction that does its work."""
    body = context.vault.seal(response.body.decode(), bound_to=request.binding)
    await idempotency.complete(tx, request.organization_id, request.key, status=response.status, body=body)


async def complete_each(
    tx: Transaction, context: Context, answers: Mapping[IdempotentRequest, bytes], *, status: int
) -> None:
    """Keep the answers of reserved requests, in the transaction that does their work."""
    sealed = {
        (one.organization_id, one.key): context.vault.seal(body.decode(), bound_to=one.binding)
        for one, body in answers.items()
    }
    await idempotency.complete_all(tx, sealed, status=status)


async def _free(context: Context, request: IdempotentRequest) -> None:
    with suppress(Unavailable):  # it is void after a while
        async with context.database.write() as tx:
            await idempotency.remove(tx, request.organization_id, request.key)


async def _complete_after(context: Context, request: IdempotentRequest, response: StoredResponse) -> None:
    """Store the response of committed work. A failure here must not make that work look failed to the caller."""
    try:
        async with context.database.write() as tx:
            await complete(tx, context, request, response)
    except Unavailable as error:
        _log.warning("idempotency_not_completed", error=error.message)


def _answer_again(context: Context, request: IdempotentRequest, found: IdempotencyRecord) -> StoredResponse:
    if found.request_hash != request.fingerprint:
        raise IdempotencyKeyReused
    if found.response_status is None or found.response_body is None:
        raise IdempotencyInProgress
    body = context.vault.open(found.response_body, bound_to=request.binding, keep=False)
    return StoredResponse(found.response_status, body.encode(), replayed=True)


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
