"""Uploads: inserted, listed, claimed under a lease, finished."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, or_, update
from sqlmodel import col, select

from sendoff.policy.states import CANCEL_UPLOAD, CLAIM_UPLOAD, FINISH_UPLOAD, RELEASE_UPLOAD, UploadStatus
from sendoff.store.engine.database import Transaction
from sendoff.store.engine.paging import newest_first
from sendoff.store.tables import Upload

_OPEN = CLAIM_UPLOAD.sources


async def insert(tx: Transaction, upload: Upload) -> None:
    """Insert a new upload."""
    tx.add(upload)
    await tx.flush()


async def find(tx: Transaction, upload_id: str, *, organization_id: str | None = None) -> Upload | None:
    """An upload; None as well if it is not of that organization, when one is given."""
    upload = await tx.get(Upload, upload_id)
    if upload is not None and organization_id not in (None, upload.organization_id):
        return None
    return upload


async def status(tx: Transaction, upload_id: str) -> str:
    """The status of an upload that there is."""
    return (await tx.scalars(select(Upload.status).where(col(Upload.id) == upload_id))).one()


async def with_files(tx: Transaction, ids: Iterable[str]) -> set[str]:
    """Which of the ids are uploads that keep their files."""
    query = select(Upload.id).where(col(Upload.id).in_(set(ids)), col(Upload.stored_bytes) > 0)
    return set((await tx.scalars(query)).all())


async def stored_bytes(tx: Transaction, organization_id: str) -> int:
    """What the files of the organization's uploads take."""
    total = func.coalesce(func.sum(col(Upload.stored_bytes)), 0)
    query = select(total).where(col(Upload.organization_id) == organization_id, col(Upload.stored_bytes) > 0)
    return int((await tx.scalars(query)).one())


async def forget_files(tx: Transaction, upload_id: str) -> bool:
    """Record that the files of a completed upload are deleted; False if it has none or is not completed."""
    conditions = [col(Upload.status) == UploadStatus.COMPLETED, col(Upload.stored_bytes) > 0]
    return await _change(tx, upload_id, conditions, {"stored_bytes": 0}) is not None


async def forget_old_files(tx: Transaction, *, until: datetime, limit: int) -> int:
    """Record that the files of uploads that were completed before `until` are deleted; how many uploads it were."""
    old = (
        select(Upload.id)
        .where(
            col(Upload.status) == UploadStatus.COMPLETED,
            col(Upload.stored_bytes) > 0,
            col(Upload.updated_at) < until,
        )
        .limit(limit)
    )
    found = (await tx.scalars(old)).all()
    if found:
        await tx.execute(
            update(Upload)
            .where(col(Upload.id).in_(found))
            .values(stored_bytes=0)
            .execution_options(synchronize_session=False)
        )
    return len(found)


async def page(tx: Transaction, organization_id: str, *, limit: int, before: str | None) -> list[Upload]:
    """The organization's uploads, newest first, older than the id `before`."""
    query = select(Upload).where(col(Upload.organization_id) == organization_id)
    return list((await tx.scalars(newest_first(query, col(Upload.id), limit=limit, before=before))).all())


async def find_due(tx: Transaction, *, now: datetime, limit: int) -> list[str]:
    """Ids of uploads that wait for processing, or whose processing worker let its lease run out.

    The oldest of each organization come first, then the second of each, and so on.
    """
    place = func.row_number().over(partition_by=col(Upload.organization_id), order_by=col(Upload.id))
    due = select(Upload.id, place.label("place")).where(*_due(now)).subquery()
    return list((await tx.scalars(select(due.c.id).order_by(due.c.place, due.c.id).limit(limit))).all())


async def next_due(tx: Transaction, organization_id: str, *, now: datetime) -> str | None:
    """The id of the organization's oldest upload among those that `find_due` finds."""
    query = select(Upload.id).where(col(Upload.organization_id) == organization_id, *_due(now))
    return (await tx.scalars(query.order_by(col(Upload.id)).limit(1))).first()


async def repair_future_times(tx: Transaction, *, until: datetime) -> None:
    """Let no lease end, and nothing wait, later than `until`."""
    late = [col(Upload.status).in_(_OPEN), col(Upload.leased_until) > until]
    await tx.execute(update(Upload).where(*late).values(leased_until=until))


async def claim(tx: Transaction, upload_id: str, *, lease_token: str, now: datetime, until: datetime) -> Upload | None:
    """Take a due upload under `lease_token`, counting an attempt; None if it isn't due or another worker has it."""
    changes = {
        "status": CLAIM_UPLOAD.targets[0],
        "lease_token": lease_token,
        "leased_until": until,
        "processing_attempts": col(Upload.processing_attempts) + 1,
        "processed_rows": 0,
        "updated_at": now,
    }
    return await _change(tx, upload_id, _due(now), changes)


async def renew(tx: Transaction, upload_id: str, *, lease_token: str, until: datetime, processed_rows: int) -> bool:
    """Keep the lease and say how far the processing is; False if it isn't ours any more."""
    changes = {"leased_until": until, "processed_rows": processed_rows}
    return await _change(tx, upload_id, _held_by(lease_token), changes) is not None


async def release(
    tx: Transaction, upload_id: str, *, lease_token: str, now: datetime, due_at: datetime, attempts: int
) -> bool:
    """Release the claim; the upload is due again at `due_at`, with `attempts` attempts on record."""
    changes = {
        "status": RELEASE_UPLOAD.targets[0],
        "lease_token": None,
        "leased_until": due_at,
        "processing_attempts": attempts,
        "processed_rows": 0,
        "updated_at": now,
    }
    return await _change(tx, upload_id, _held_by(lease_token), changes) is not None


async def finish(
    tx: Transaction, upload_id: str, *, lease_token: str, status: UploadStatus, now: datetime, **results: Any
) -> Upload | None:
    """End the processing in `status` with the columns `results`; None, and nothing done, if the lease is lost."""
    FINISH_UPLOAD.check(UploadStatus.PROCESSING, status)
    changes = {"status": status, "lease_token": None, "leased_until": None, "updated_at": now, **results}
    return await _change(tx, upload_id, _held_by(lease_token), changes)


async def cancel(tx: Transaction, upload_id: str, *, organization_id: str, now: datetime) -> Upload | None:
    """Cancel an upload that has not started and mark its charge as refunded; None if it has started."""
    conditions = [
        col(Upload.organization_id) == organization_id,
        col(Upload.status).in_(CANCEL_UPLOAD.sources),
    ]
    changes = {
        "status": CANCEL_UPLOAD.targets[0],
        "credits_refunded": col(Upload.credits_charged),
        "leased_until": None,
        "stored_bytes": 0,
        "updated_at": now,
    }
    return await _change(tx, upload_id, conditions, changes)


def _due(now: datetime) -> list[ColumnElement[bool]]:
    waiting = or_(col(Upload.leased_until).is_(None), col(Upload.leased_until) <= now)
    return [col(Upload.status).in_(_OPEN), waiting]


def _held_by(lease_token: str) -> list[ColumnElement[bool]]:
    return [col(Upload.status) == UploadStatus.PROCESSING, col(Upload.lease_token) == lease_token]


async def _change(
    tx: Transaction, upload_id: str, conditions: list[ColumnElement[bool]], changes: dict[str, Any]
) -> Upload | None:
    statement = update(Upload).where(col(Upload.id) == upload_id, *conditions).values(**changes).returning(Upload)
    result = await tx.execute(statement, execution_options={"populate_existing": True, "synchronize_session": False})
    return result.scalar_one_or_none()
