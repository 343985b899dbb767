"""Delete files that no upload needs any more.

Those of uploads that were cancelled, failed or are past the retention, and those of a process that died between storing
a file and committing its row; and the temporary folders of processes that were killed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

from sendoff.context import Context
from sendoff.errors import Unavailable
from sendoff.ids import is_uuid
from sendoff.store.queries import uploads
from sendoff.uploads.files.tempfiles import remove_abandoned
from sendoff.uploads.services import UploadServices

ORPHANED_AFTER = timedelta(days=1)
"""Longer than any request or processing takes: a younger file may be about to get its row."""


AT_ONCE = 500
"""Uploads of which one transaction records that their files are deleted. On SQLite all other writers wait for it."""


async def remove_orphan_files(context: Context) -> int:
    """Remove the files that no upload needs, and return how many there were. Reads all keys: for once a day."""
    removed = 0
    with suppress(Unavailable):  # there is no temporary folder, and so none of ours in it
        await asyncio.to_thread(remove_abandoned)
    await _forget_old_files(context)
    storage = UploadServices.of(context).storage
    async for keys in storage.keys(older_than=context.clock.now() - ORPHANED_AFTER):
        owners = {key: _upload_of(key) for key in keys}
        ours = {key: owner for key, owner in owners.items() if owner is not None}
        async with context.database.read() as tx:
            kept = await uploads.with_files(tx, ours.values())
        orphans = [key for key, owner in ours.items() if owner not in kept]
        await storage.delete(*orphans)
        removed += len(orphans)
    return removed


async def _forget_old_files(context: Context) -> None:
    """Record first that they are deleted: a process that dies in between leaves files that no upload needs."""
    until = context.clock.now() - timedelta(days=context.settings.upload_retention_days)
    while True:
        async with context.database.write() as tx:
            forgotten = await uploads.forget_old_files(tx, until=until, limit=AT_ONCE)
        if not forgotten:
            return
        await asyncio.sleep(0)


def _upload_of(key: str) -> str | None:
    """The upload's id in `<organization>/<upload>/<file>`; None for a file that isn't ours."""
    parts = key.split("/")
    return parts[1] if len(parts) == 3 and is_uuid(parts[0]) and is_uuid(parts[1]) else None
