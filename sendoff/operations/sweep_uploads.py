"""What is left over of uploads: those that nobody processes, and files that belong to none."""

from __future__ import annotations

from datetime import timedelta

from sendoff.ids import is_uuid
from sendoff.operations.runtime import Runtime
from sendoff.store import uploads

_RINGS_AT_ONCE = 100

ORPHANED_AFTER = timedelta(days=1)
"""Longer than any request or processing takes: a younger file may be about to get its row."""


async def sweep_uploads(runtime: Runtime) -> int:
    """Ring for uploads that are due, because nobody rang or their worker died; how many."""
    async with runtime.database.read() as tx:
        due = await uploads.find_due(tx, now=runtime.clock.now(), limit=_RINGS_AT_ONCE)
    runtime.bell.ring_uploads(due)
    return len(due)


async def remove_orphans(runtime: Runtime) -> int:
    """Remove files without an upload, left by a process that died between storing and committing; how many."""
    removed = 0
    storage = runtime.uploads.storage
    async for keys in storage.keys(older_than=runtime.clock.now() - ORPHANED_AFTER):
        owners = {key: _upload_of(key) for key in keys}
        ours = {key: owner for key, owner in owners.items() if owner is not None}
        async with runtime.database.read() as tx:
            existing = await uploads.existing(tx, ours.values())
        orphans = [key for key, owner in ours.items() if owner not in existing]
        await storage.delete(*orphans)
        removed += len(orphans)
    return removed


def _upload_of(key: str) -> str | None:
    """The upload's id in `<organization>/<upload>/<file>`; None for a file that isn't ours."""
    parts = key.split("/")
    return parts[1] if len(parts) == 3 and is_uuid(parts[0]) and is_uuid(parts[1]) else None
