"""Delete files that no upload needs any more.

Those of uploads that were cancelled, failed or are past the retention, and those of a process that died between storing
a file and committing its row.
"""

from __future__ import annotations

from datetime import timedelta

from sendoff.context import Context
from sendoff.ids import is_uuid
from sendoff.store.queries import uploads
from sendoff.uploads.services import UploadServices

ORPHANED_AFTER = timedelta(days=1)
"""Longer than any request or processing takes: a younger file may be about to get its row."""


async def remove_orphan_files(context: Context) -> int:
    """Remove the files that no upload needs, and return how many there were. Reads all keys: for once a day."""
    removed = 0
    stored_after = context.clock.now() - timedelta(days=context.settings.upload_retention_days)
    storage = UploadServices.of(context).storage
    async for keys in storage.keys(older_than=context.clock.now() - ORPHANED_AFTER):
        owners = {key: _upload_of(key) for key in keys}
        ours = {key: owner for key, owner in owners.items() if owner is not None}
        async with context.database.read() as tx:
            kept = await uploads.with_files(tx, ours.values(), stored_after=stored_after)
        orphans = [key for key, owner in ours.items() if owner not in kept]
        await storage.delete(*orphans)
        removed += len(orphans)
    return removed


def _upload_of(key: str) -> str | None:
    """The upload's id in `<organization>/<upload>/<file>`; None for a file that isn't ours."""
    parts = key.split("/")
    return parts[1] if len(parts) == 3 and is_uuid(parts[0]) and is_uuid(parts[1]) else None
