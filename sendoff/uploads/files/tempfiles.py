"""Files of uploads that are being received and of results that are being written.

Each has a folder in the system's temporary folder (`TMPDIR`), removed at the end; the next process removes the folders
of a process that was killed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path

from sendoff.errors import TooLarge, Unavailable

_PREFIX = "sendoff-upload-"
_WRITE_BYTES = 1024 * 1024


@asynccontextmanager
async def temporary_folder() -> AsyncIterator[Path]:
    """A new folder that only this user can read. Raises Unavailable when none can be created."""
    folder, lock = await asyncio.to_thread(_make_folder)
    try:
        yield folder
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))
        os.close(lock)


def remove_abandoned() -> int:
    """Remove this user's folders whose process is gone, and return how many there were. Blocks: not for the event loop.

    Anybody may write into the temporary folder. What is another user's, a link, a pipe or a plain file is left alone.
    Raises Unavailable when there is no temporary folder.
    """
    removed = 0
    with _in_temporary_files():
        folders = [Path(entry) for entry in os.scandir(tempfile.gettempdir()) if entry.name.startswith(_PREFIX)]
    for folder in folders:
        lock = _lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
            removed += 1
    return removed


@cache
def _remove_abandoned_once(_temporary_folder: str) -> None:
    """What processes that were killed left, once for each process."""
    remove_abandoned()


def _make_folder() -> tuple[Path, int]:
    with _in_temporary_files():
        _remove_abandoned_once(tempfile.gettempdir())
    while True:
        with _in_temporary_files():
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = _lock(folder)
        if lock is not None and folder.exists():  # no other process took it for abandoned before it was locked
            return folder, lock


def _lock(folder: Path) -> int | None:
    """The descriptor that holds the folder while this process lives; None if it is another's, or not a folder."""
    try:
        # Without O_NONBLOCK opening a pipe would wait for its writer.
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if os.fstat(descriptor).st_uid == os.getuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


async def save(pieces: AsyncIterable[bytes], target: Path, *, limit: int | None = None) -> int:
    """Writes the stream to a file, off the event loop; its size. Raises what TemporaryFile.write raises."""
    writer = TemporaryFile(target, limit=limit)
    try:
        async for piece in pieces:
            await writer.write(piece)
    finally:
        await writer.close()
    return writer.size


class TemporaryFile:
    """A file written by pieces, a megabyte at a time, off the event loop."""

    def __init__(self, target: Path, *, limit: int | None = None) -> None:
        self.size = 0
        # Unbuffered: a full disk is an error of the write, not of the close.
        self._file = target.open("wb", buffering=0)
        self._limit = limit
        self._pending = bytearray()

    async def write(self, piece: bytes) -> None:
        """Raises TooLarge as soon as there is more than `limit`, and Unavailable when the disk is full."""
        self.size += len(piece)
        if self._limit is not None and self.size > self._limit:
            raise TooLarge(f"The file is larger than {self._limit // 1024 // 1024} MB.")
        self._pending += piece
        if len(self._pending) >= _WRITE_BYTES:
            await self._flush()

    async def close(self) -> None:
        """Writes the rest, and raises as `write` does; safe to call again."""
        if not self._file.closed:
            try:
                await self._flush()
            finally:
                self._file.close()

    async def _flush(self) -> None:
        pending, self._pending = self._pending, bytearray()
        with _in_temporary_files():
            await asyncio.to_thread(self._write, pending)

    def _write(self, pending: bytearray) -> None:
        rest = memoryview(pending)
        while rest:
            rest = rest[self._file.write(rest) :]


@contextmanager
def _in_temporary_files() -> Iterator[None]:
    """Read-only containers have none unless they are given one, and it may be small."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"Temporary files cannot be written: {error.strerror or error}.") from error
