"""Accept an upload: validate it, store its file, and commit row, charge and `upload.created` together.

Until that commit nothing is kept: a refusal, a failure or a cancelled request leaves neither file nor row nor charge,
and no Idempotency-Key that anybody would have to wait for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sendoff.context import Context
from sendoff.errors import InsufficientCredits, NoSubscription, NotFound, Unavailable
from sendoff.idempotency import (
    IdempotentRequest,
    StoredResponse,
    complete,
    find_answer,
    reserve,
    under_way,
)
from sendoff.ids import new_id
from sendoff.policy.states import CREATE_UPLOAD
from sendoff.publishing.publish import AcceptedEvent, enqueue_accepted
from sendoff.store.queries import accounts, uploads
from sendoff.store.tables import Upload
from sendoff.uploads.check import FEWEST_CONTACTS, CheckedUpload, CsvSubmission, JsonSubmission, check_upload
from sendoff.uploads.events import CREATED, add_upload_event
from sendoff.uploads.files.downloads import FileKind
from sendoff.uploads.files.filenames import result_name
from sendoff.uploads.quota import check_quota, expected_bytes, require_space
from sendoff.uploads.services import UploadServices


@dataclass(frozen=True, slots=True)
class UploadOwner:
    """Who uploads."""

    organization_id: str
    user_id: str
    api_key_id: str | None
    source: str = "api"
    request_id: str | None = None


async def require_subscription(context: Context, organization_id: str) -> None:
    """Raise NoSubscription unless the organization has an active one."""
    await _credits(context, organization_id)


async def require_credits(context: Context, organization_id: str) -> None:
    """Raise NoSubscription, or InsufficientCredits if not even the smallest upload could be paid."""
    if await _credits(context, organization_id) < FEWEST_CONTACTS:
        raise InsufficientCredits


Reading = Callable[[Coroutine[Any, Any, CheckedUpload]], Awaitable[CheckedUpload]]


async def _read(work: Coroutine[Any, Any, CheckedUpload]) -> CheckedUpload:
    return await work


async def create_upload(
    context: Context,
    owner: UploadOwner,
    submission: CsvSubmission | JsonSubmission,
    *,
    answer: Callable[[Upload], StoredResponse],
    idempotent: IdempotentRequest | None = None,
    reading: Reading = _read,
) -> StoredResponse:
    """Charge one credit for each row with a valid number, and have the upload processed.

    Returns what `answer` makes of it; with `idempotent` a repetition gets the first answer instead, whichever process
    it comes to. One that comes to this process while the first still runs raises IdempotencyInProgress.
    `reading` runs the work that reads the file, and may end it; transactions always run to their end.

    Raises NoSubscription, Invalid (the file, the column, the body), TooLarge (entries), TooFewContacts,
    InsufficientCredits, Conflict (the quota) and Unavailable, in that order.
    """
    with under_way(context, idempotent):
        stored = await _stored(context, idempotent)
        if stored is not None:
            return stored
        if await _credits(context, owner.organization_id) < FEWEST_CONTACTS:  # the price of the smallest
            return await _stored_or_insufficient(context, idempotent)
        await _require_quota(context, owner.organization_id, 0)
        file_worker = UploadServices.of(context).file_worker
        checked = await reading(check_upload(file_worker, submission, organization_id=owner.organization_id))
        if await _credits(context, owner.organization_id) < checked.valid:
            return await _stored_or_insufficient(context, idempotent)
        await _require_quota(context, owner.organization_id, expected_bytes(checked))
        return await _keep(context, _row(context, owner, checked), checked, answer, idempotent)


async def _stored(context: Context, idempotent: IdempotentRequest | None) -> StoredResponse | None:
    if idempotent is None:
        return None
    async with context.database.read() as tx:
        return await find_answer(tx, context, idempotent)


async def _stored_or_insufficient(context: Context, idempotent: IdempotentRequest | None) -> StoredResponse:
    """The answer to the first request of this key, which may have spent the credits. Raises InsufficientCredits."""
    stored = await _stored(context, idempotent)
    if stored is None:
        raise InsufficientCredits
    return stored


async def _credits(context: Context, organization_id: str) -> int:
    async with context.database.read() as tx:
        organization = await accounts.find_organization(tx, organization_id)
    if organization is None:
        raise NotFound
    if organization.credits is None:
        raise NoSubscription
    return organization.credits


async def _require_quota(context: Context, organization_id: str, size: int) -> None:
    async with context.database.read() as tx:
        await check_quota(tx, context, organization_id, size)
    await require_space(context, size)


def _row(context: Context, owner: UploadOwner, checked: CheckedUpload) -> Upload:
    upload_id, now = new_id(), context.clock.now()
    return Upload(
        id=upload_id,
        user_id=owner.user_id,
        organization_id=owner.organization_id,
        original_filename=checked.filename,
        storage_path=f"{owner.organization_id}/{upload_id}/original.csv",
        file_size_bytes=checked.size,
        status=CREATE_UPLOAD.target(None),
        valid_row_count=checked.valid,
        invalid_row_count=checked.invalid,
        credits_required=checked.valid,
        credits_charged=checked.valid,
        source=owner.source,
        api_key_id=owner.api_key_id,
        skip_mobile_lookup=checked.skip_mobile_lookup,
        created_at=now,
        updated_at=now,
        phone_column=checked.phone_column,
        request_id=owner.request_id,
        stored_bytes=expected_bytes(checked),
    )


async def _keep(
    context: Context,
    upload: Upload,
    checked: CheckedUpload,
    answer: Callable[[Upload], StoredResponse],
    idempotent: IdempotentRequest | None,
) -> StoredResponse:
    """Store the file, commit the rest; if either fails, or another process was first, the file goes again."""
    storage = UploadServices.of(context).storage
    try:
        await storage.put(
            upload.storage_path, checked.path, download_name=result_name(upload.original_filename, FileKind.ORIGINAL)
        )
        response, accepted = await _commit(context, upload, answer, idempotent)
    except BaseException:
        await _take_back(context, upload)
        raise
    if response.replayed:
        await _take_back(context, upload)
        return response
    enqueue_accepted(context, accepted)
    context.queue.enqueue_uploads([upload.id])
    return response


async def _take_back(context: Context, upload: Upload) -> None:
    """Remove the file, unless the commit may have succeeded although it reported an error.

    A file that stays without a row is removed by remove_orphan_files.
    """
    with suppress(Unavailable):
        async with context.database.read() as tx:
            committed = await uploads.find(tx, upload.id)
        if committed is None:
            await UploadServices.of(context).storage.delete(upload.storage_path)


async def _commit(
    context: Context,
    upload: Upload,
    answer: Callable[[Upload], StoredResponse],
    idempotent: IdempotentRequest | None,
) -> tuple[StoredResponse, list[AcceptedEvent]]:
    total_rows = upload.valid_row_count + upload.invalid_row_count
    async with context.database.write() as tx:
        stored = await reserve(tx, context, idempotent) if idempotent else None
        if stored is not None:
            return stored, []
        if not await accounts.charge_credits(tx, upload.organization_id, upload.credits_charged):
            raise InsufficientCredits  # spent by another upload since it was looked up
        # The charge holds the organization's row: another upload's bytes are counted or wait for this transaction.
        await check_quota(tx, context, upload.organization_id, upload.stored_bytes)
        await uploads.insert(tx, upload)
        accepted = await add_upload_event(tx, context, upload, CREATED, total_rows=total_rows)
        response = answer(upload)
        if idempotent is not None:
            await complete(tx, context, idempotent, response)
    return response, accepted
