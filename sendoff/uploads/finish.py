"""The two ends of processing: the upload's state, the refund and the event in one transaction."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from sendoff.context import Context
from sendoff.errors import Unavailable
from sendoff.policy.states import UploadStatus
from sendoff.publishing.publish import enqueue_accepted
from sendoff.store.queries import accounts, uploads
from sendoff.store.tables import Upload
from sendoff.uploads.events import COMPLETED, FAILED, add_upload_event
from sendoff.uploads.files.downloads import FileKind, StoredFile
from sendoff.uploads.services import UploadServices

EVENT_LINKS_LAST = timedelta(days=1)
"""Longer than the 15 hours in which a delivery is retried, for its body, links included, is the same each time."""


def result_key(upload: Upload, kind: FileKind) -> str:
    """Where a result file is stored; the same at every attempt."""
    return f"{upload.organization_id}/{upload.id}/{kind}.csv"


def stored_keys(upload: Upload) -> list[str]:
    """Where its files are stored, as far as there are any."""
    return [upload.storage_path, *(result_key(upload, kind) for kind in FileKind if kind != FileKind.ORIGINAL)]


async def complete_upload(context: Context, upload: Upload, *, result_bytes: int) -> UploadStatus | None:
    """Both files are stored, and take `result_bytes`: say so, with `upload.completed`.

    None if the lease was lost meanwhile.
    """
    results = {
        "processed_storage_path": result_key(upload, FileKind.PROCESSED),
        "processed_filtered_storage_path": result_key(upload, FileKind.PROCESSED_FILTERED),
        "processed_rows": upload.valid_row_count + upload.invalid_row_count,
        "stored_bytes": upload.file_size_bytes + result_bytes,
    }
    downloads = {
        "processed": await _event_link(context, upload, FileKind.PROCESSED),
        "processed_filtered": await _event_link(context, upload, FileKind.PROCESSED_FILTERED),
    }
    return await _finish(context, upload, UploadStatus.COMPLETED, results, COMPLETED, downloads=downloads)


async def fail_upload(context: Context, upload: Upload, error_message: str) -> UploadStatus | None:
    """It cannot be processed: give all credits back, say so with `upload.failed`, and delete its files.

    None if the lease was lost.
    """
    results = {"error_message": error_message, "credits_refunded": upload.credits_charged, "stored_bytes": 0}
    status = await _finish(context, upload, UploadStatus.FAILED, results, FAILED, error_message=error_message)
    if status is not None:
        await delete_files(context, upload)
    return status


async def delete_files(context: Context, upload: Upload) -> None:
    """Delete what is stored of an upload.

    While the storage cannot be reached nothing is done: remove_orphan_files deletes them later.
    """
    with suppress(Unavailable):
        await UploadServices.of(context).storage.delete(*stored_keys(upload))


async def _finish(
    context: Context,
    upload: Upload,
    status: UploadStatus,
    results: dict[str, Any],
    event_type: str,
    **data: Any,
) -> UploadStatus | None:
    async with context.database.write() as tx:
        finished = await uploads.finish(
            tx, upload.id, lease_token=lease_token_of(upload), status=status, now=context.clock.now(), **results
        )
        if finished is None:
            return None
        if finished.credits_refunded:
            await accounts.refund_credits(tx, finished.organization_id, finished.credits_refunded)
        accepted = await add_upload_event(tx, context, finished, event_type, **data)
    enqueue_accepted(context, accepted)
    return status


async def _event_link(context: Context, upload: Upload, kind: FileKind) -> str:
    file = StoredFile(upload.id, kind, result_key(upload, kind))
    link = await UploadServices.of(context).downloads.link(file, now=context.clock.now(), lifetime=EVENT_LINKS_LAST)
    return link.url


def lease_token_of(upload: Upload) -> str:
    """The token of the lease that a claimed upload is held under."""
    if upload.lease_token is None:
        raise ValueError("this upload was not claimed")
    return upload.lease_token
