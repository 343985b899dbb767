"""What customers do with uploads they have: look at them, cancel one, download its files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta

from sendoff.context import Context
from sendoff.errors import Invalid, NotFound
from sendoff.idempotency import IdempotentRequest, StoredResponse, complete, reserve
from sendoff.ids import is_uuid
from sendoff.policy.states import UploadStatus
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import accounts, uploads
from sendoff.store.tables import Upload
from sendoff.uploads.files.downloads import FileKind, Link, StoredFile
from sendoff.uploads.files.filenames import result_name
from sendoff.uploads.finish import delete_files
from sendoff.uploads.services import UploadServices


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file to hand out."""

    name: str
    size: int
    pieces: AsyncIterator[bytes]


class BadLink(NotFound):
    """This download link is not valid."""


class ExpiredLink(NotFound):
    """This download link has expired; ask for a new one."""


async def find_upload(context: Context, organization_id: str, upload_id: str) -> Upload:
    """The organization's upload. Raises NotFound, for another organization's as well."""
    async with context.database.read() as tx:
        upload = await uploads.find(tx, upload_id, organization_id=organization_id) if is_uuid(upload_id) else None
    if upload is None:
        raise NotFound
    return upload


async def list_uploads(context: Context, organization_id: str, *, limit: int, before: str | None) -> list[Upload]:
    """At most `limit` of the organization's uploads, newest first, older than the id `before`."""
    async with context.database.read() as tx:
        return await uploads.page(tx, organization_id, limit=limit, before=before)


async def cancel_upload(
    context: Context,
    organization_id: str,
    upload_id: str,
    *,
    answer: Callable[[Upload], StoredResponse],
    idempotent: IdempotentRequest | None = None,
) -> StoredResponse:
    """Cancel an upload that no worker has started and give its credits back, in one transaction.

    Returns what `answer` makes of it; with `idempotent` a repetition gets the first answer instead, decided in the same
    transaction. Raises NotFound, and Invalid once it was started, finished or cancelled.
    """
    current = await find_upload(context, organization_id, upload_id)
    async with context.database.write() as tx:
        stored = await reserve(tx, context, idempotent) if idempotent else None
        if stored is not None:
            return stored
        response = answer(await _cancel(tx, context, current))
        if idempotent is not None:
            await complete(tx, context, idempotent, response)
    await delete_files(context, current)
    return response


async def _cancel(tx: Transaction, context: Context, upload: Upload) -> Upload:
    now = context.clock.now()
    cancelled = await uploads.cancel(tx, upload.id, organization_id=upload.organization_id, now=now)
    if cancelled is None:
        status = await uploads.status(tx, upload.id)  # it may have changed since it was found
        raise Invalid(f"Only an upload that has not started can be cancelled; this one is {status}.")
    await accounts.refund_credits(tx, cancelled.organization_id, cancelled.credits_refunded)
    return cancelled


async def delete_upload_files(context: Context, organization_id: str, upload_id: str) -> None:
    """Delete the files of a finished upload, which frees its part of the quota; links to them end.

    Deleting them again does nothing. Raises NotFound, and Invalid for an upload that is not finished.
    """
    upload = await find_upload(context, organization_id, upload_id)
    if upload.status in (UploadStatus.READY_FOR_PROCESSING, UploadStatus.PROCESSING):
        raise Invalid("The files of an upload can be deleted once it is finished; cancel one that has not started.")
    async with context.database.write() as tx:
        await uploads.forget_files(tx, upload.id)
    await delete_files(context, upload)


async def link_to_file(context: Context, organization_id: str, upload_id: str, kind: str) -> Link:
    """A link to one of the upload's files, for `DOWNLOAD_LINK_SECONDS`.

    Raises NotFound for a file that there is not (yet), or an upload of another organization.
    """
    upload = await find_upload(context, organization_id, upload_id)
    file = stored_file(upload, kind)
    lifetime = timedelta(seconds=context.settings.download_link_seconds)
    return await UploadServices.of(context).downloads.link(file, now=context.clock.now(), lifetime=lifetime)


async def open_linked_file(context: Context, upload_id: str, kind: str, *, expires: int, signature: str) -> OpenedFile:
    """The file behind a link that `link_to_file` made for storage in a folder.

    Raises BadLink if it wasn't us who made it, ExpiredLink, and NotFound if the file is gone.
    """
    if not UploadServices.of(context).signer.is_genuine(upload_id, kind, expires, signature):
        raise BadLink
    if expires <= context.clock.now().timestamp():
        raise ExpiredLink
    async with context.database.read() as tx:
        upload = await uploads.find(tx, upload_id)
    if upload is None:
        raise NotFound
    file = stored_file(upload, kind)
    storage = UploadServices.of(context).storage
    size = await storage.size(file.key)
    return OpenedFile(result_name(upload.original_filename, kind), size, await storage.read(file.key))


def stored_file(upload: Upload, kind: str) -> StoredFile:
    """Where the upload keeps that file. Raises NotFound for one that there is not (yet)."""
    keys = {
        FileKind.ORIGINAL: upload.storage_path,
        FileKind.PROCESSED: upload.processed_storage_path,
        FileKind.PROCESSED_FILTERED: upload.processed_filtered_storage_path,
    }
    if kind not in keys:
        raise NotFound(f"There is no file {kind!r}; there are: {', '.join(FileKind)}.")
    key = keys[FileKind(kind)]
    if key is None or upload.status in (UploadStatus.CANCELLED, UploadStatus.FAILED):
        raise NotFound(f"This upload has no {kind} file: its status is {UploadStatus(upload.status)}.")
    if not upload.stored_bytes:
        raise NotFound("The files of this upload have been deleted.")
    return StoredFile(upload.id, FileKind(kind), key)
