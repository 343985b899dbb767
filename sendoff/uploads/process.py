"""Process an upload: claim it, write both result files, and commit the outcome together with its event.

The claim is a lease in SQL that is renewed while the work goes on: no two workers process an upload at once, and one
whose worker died is taken over when its lease runs out. Doing it again writes the same files under the same keys, and
only the holder of the lease can finish, so there is one outcome and one event.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import structlog
from structlog.contextvars import bound_contextvars

from sendoff.context import Context
from sendoff.errors import Invalid, NotFound, SendoffError
from sendoff.ids import new_id
from sendoff.policy.states import UploadStatus
from sendoff.store.queries import uploads
from sendoff.store.tables import Upload
from sendoff.turns import Turns
from sendoff.uploads.files.downloads import FileKind
from sendoff.uploads.files.filenames import result_name
from sendoff.uploads.files.tasks import WriteResults
from sendoff.uploads.files.tempfiles import save, temporary_folder
from sendoff.uploads.finish import complete_upload, fail_upload, lease_token_of, result_key
from sendoff.uploads.quota import require_space
from sendoff.uploads.services import UploadServices

AT_ONCE = 3
"""Uploads of one organization that a worker processes at once: as many as the sandbox reads of one. With as many as a
worker takes jobs, one organization's large files would keep it from everybody else's."""

MOST_ATTEMPTS = 6
"""Attempts at one upload, those included whose worker died. After the last one the upload is `failed`."""

RENEWALS_PER_LEASE = 5
"""How often a lease is renewed within its time. With fewer, one slow renewal loses the upload to another worker."""

LONGEST_PROCESSING_SECONDS = 3_000.0
"""Less than a job may take: an attempt that runs into this ends as a failed attempt and counts."""

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 2.0, 300.0

_log = structlog.get_logger(__name__)


class _LeaseLostError(Exception):
    """Another worker has taken the upload over, or it was finished."""


async def process_in_turn(context: Context, upload_id: str) -> None:
    """Process the upload unless this worker is at AT_ONCE of its organization; then have the next one processed.

    Nothing waits here: what is passed over is enqueued when one of its organization's is done, or by the sweeper.
    """
    async with context.database.read() as tx:
        upload = await uploads.find(tx, upload_id)
    turns = context.service(_new_turns)
    if upload is None or turns.count(upload.organization_id) >= AT_ONCE:
        return
    async with turns.taken(upload.organization_id):
        await process_upload(context, upload_id)
    async with context.database.read() as tx:
        following = await uploads.next_due(tx, upload.organization_id, now=context.clock.now())
    if following is not None:
        context.queue.enqueue_uploads([following])


def _new_turns(_context: Context) -> Turns:
    return Turns(AT_ONCE)


async def process_upload(context: Context, upload_id: str) -> UploadStatus | None:
    """Process the upload if it is due: `completed` or `failed`, `ready_for_processing` if it is postponed, or None.

    None means that it wasn't ours to process: unknown, cancelled, finished or under another worker's lease.
    A file that cannot be read fails the upload at once; anything else is tried again, up to six times in all.
    When cancelled, the upload is due again at once and the attempt does not count.
    """
    upload = await _claim(context, upload_id)
    if upload is None:
        return None
    with bound_contextvars(request_id=upload.request_id):
        return await _process_or_release(context, upload)


async def _process_or_release(context: Context, upload: Upload) -> UploadStatus | None:
    try:
        return await _process(context, upload)
    except _LeaseLostError:
        _log.info("upload_lease_lost", upload_id=upload.id)
        return None
    except asyncio.CancelledError:
        await asyncio.shield(_release(context, upload, wait_seconds=0, attempts=upload.processing_attempts - 1))
        raise


async def _claim(context: Context, upload_id: str) -> Upload | None:
    now = context.clock.now()
    async with context.database.write() as tx:
        return await uploads.claim(tx, upload_id, lease_token=new_id(), now=now, until=now + _lease_time(context))


async def _process(context: Context, upload: Upload) -> UploadStatus | None:
    if upload.processing_attempts > MOST_ATTEMPTS:  # the workers that tried it did not live to say what happened
        return await fail_upload(context, upload, "The upload could not be processed.")
    try:
        async with asyncio.timeout(LONGEST_PROCESSING_SECONDS):
            result_bytes = await _write_files(context, upload)
        return await complete_upload(context, upload, result_bytes=result_bytes)
    except NotFound:
        return await fail_upload(context, upload, "The uploaded file is no longer in the storage.")
    except Invalid as error:
        return await fail_upload(context, upload, error.message)
    except (SendoffError, OSError) as error:
        _log.warning(
            "upload_retry_scheduled", upload_id=upload.id, attempt=upload.processing_attempts, error=str(error)
        )
        if upload.processing_attempts >= MOST_ATTEMPTS:
            return await fail_upload(context, upload, "The upload could not be processed.")
        wait = min(_FIRST_WAIT_SECONDS * 2**upload.processing_attempts, _LONGEST_WAIT_SECONDS)
        await _release(context, upload, wait_seconds=wait, attempts=upload.processing_attempts)
        return UploadStatus.READY_FOR_PROCESSING


async def _write_files(context: Context, upload: Upload) -> int:
    """Do the work, renewing the lease meanwhile, and return the bytes of the results.

    Raises _LeaseLostError, with the work stopped, when the lease is lost.
    """
    progress = _Progress()
    work = asyncio.create_task(_read_and_store(context, upload, progress))
    try:
        while not (await asyncio.wait({work}, timeout=_lease_time(context).total_seconds() / RENEWALS_PER_LEASE))[0]:
            await _renew(context, upload, progress.rows)
        return await work
    finally:
        work.cancel()
        await asyncio.wait({work})


class _Progress:
    """How many rows were read."""

    rows = 0

    def __call__(self, rows: int) -> None:
        self.rows = rows


async def _read_and_store(context: Context, upload: Upload, progress: _Progress) -> int:
    storage = UploadServices.of(context).storage
    async with temporary_folder() as folder:
        source, processed, filtered = folder / "original", folder / "processed", folder / "filtered"
        await save(await storage.read(upload.storage_path), source)
        await UploadServices.of(context).file_worker.run(
            _task(upload, source, processed, filtered), organization_id=upload.organization_id, progress=progress
        )
        result_bytes = processed.stat().st_size + filtered.stat().st_size
        await require_space(context, result_bytes)
        for kind, path in ((FileKind.PROCESSED, processed), (FileKind.PROCESSED_FILTERED, filtered)):
            name = result_name(upload.original_filename, kind)
            await storage.put(result_key(upload, kind), path, download_name=name)
    return result_bytes


def _task(upload: Upload, source: Path, processed: Path, filtered: Path) -> WriteResults:
    return WriteResults(
        source=str(source),
        phone_column=upload.phone_column,
        processed=str(processed),
        filtered=str(filtered),
        valid_rows=upload.valid_row_count,
        skip_line_types=upload.skip_mobile_lookup,
    )


async def _renew(context: Context, upload: Upload, rows: int) -> None:
    try:
        async with context.database.write() as tx:
            until = context.clock.now() + _lease_time(context)
            kept = await uploads.renew(
                tx, upload.id, lease_token=lease_token_of(upload), until=until, processed_rows=rows
            )
    except SendoffError as error:  # the lease has a few renewals' time left; finishing it is refused if it is lost
        _log.warning("upload_lease_not_renewed", upload_id=upload.id, error=str(error))
        return
    if not kept:
        raise _LeaseLostError


async def _release(context: Context, upload: Upload, *, wait_seconds: float, attempts: int) -> None:
    now = context.clock.now()
    async with context.database.write() as tx:
        await uploads.release(
            tx,
            upload.id,
            lease_token=lease_token_of(upload),
            now=now,
            due_at=now + timedelta(seconds=wait_seconds),
            attempts=attempts,
        )


def _lease_time(context: Context) -> timedelta:
    return timedelta(seconds=context.settings.lease_seconds)
