"""Files under way: an upload that is being received, results that are being written. In the system's temporary folder
(`TMPDIR`), one folder each, removed at the end; those of a process that was killed are removed a day later.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

from sendoff.errors import TooLarge

_PREFIX = "sendoff-upload-"
_ABANDONED_AFTER = timedelta(days=1)
_WRITE_BYTES = 1024 * 1024


@asynccontextmanager
async def spool_folder() -> AsyncIterator[Path]:
    """A folder of one's own, readable by nobody else."""
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=_PREFIX))
    try:
        yield folder
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


async def save(pieces: AsyncIterable[bytes], target: Path, *, limit: int | None = None) -> int:
    """Writes the stream to a file, off the event loop; its size. Raises TooLarge as soon as it is beyond `limit`."""
    writer = SpoolFile(target, limit=limit)
    try:
        async for piece in pieces:
            await writer.write(piece)
    finally:
        await writer.close()
    return writer.size


class SpoolFile:
    """A file written by pieces, a megabyte at a time, off the event loop."""

    def __init__(self, target: Path, *, limit: int | None = None) -> None:
        self.size = 0
        self._file = target.open("wb")
        self._limit = limit
        self._pending = bytearray()

    async def write(self, piece: bytes) -> None:
        """Raises TooLarge as soon as there is more than `limit`."""
        self.size += len(piece)
        if self._limit is not None and self.size > self._limit:
            raise TooLarge(f"The file is larger than {self._limit // 1024 // 1024} MB.")
        self._pending += piece
        if len(self._pending) >= _WRITE_BYTES:
            await self._flush()

    async def close(self) -> None:
        """Writes the rest; safe to call again."""
        if not self._file.closed:
            await self._flush()
            self._file.close()

    async def _flush(self) -> None:
        pending, self._pending = self._pending, bytearray()
        await asyncio.to_thread(self._file.write, pending)


def remove_abandoned(now: datetime) -> int:
    """Removes folders that were left by processes that did not live to do it; how many."""
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob(_PREFIX + "*"):
        try:
            age = now.timestamp() - folder.stat().st_mtime
        except FileNotFoundError:
            continue
        if age > _ABANDONED_AFTER.total_seconds():
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed
