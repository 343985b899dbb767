"""Where the files of uploads are kept: a folder (`file:///PATH`) or a bucket (`s3://BUCKET/PREFIX`), behind one port.

A bucket's credentials, region and endpoint come from the usual `AWS_…` variables. Keys are made of ids alone
(`<organization>/<upload>/original.csv`), never of a name that a user chose.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from sendoff.errors import NotFound, Unavailable

_PIECE_BYTES = 5 * 1024 * 1024  # the least that S3 takes as a part
_PIECES_AT_ONCE = 3


class Storage:
    """Files by key. A file is there entirely or not at all.

    Everything raises Unavailable when the storage cannot be reached, and NotFound when there is no such file.
    """

    def __init__(self, store: LocalStore | S3Store, folder: Path | None = None) -> None:
        self._store = store
        self._folder = folder

    @classmethod
    def open(cls, url: str) -> Storage:
        """`url` as in the setting `STORAGE_URL`. Makes the folder, or raises Unavailable; talks to no bucket yet."""
        parts = urlsplit(url)
        if parts.scheme == "file":
            try:
                folder = Path(unquote(parts.path))
                return cls(LocalStore(folder, mkdir=True, automatic_cleanup=True), folder)
            except (BaseError, OSError) as error:
                raise Unavailable(
                    "Uploads cannot be stored; try again later.",
                    detail=f"The folder of SENDOFF_STORAGE_URL cannot be created: {error}",
                ) from error
        return cls(S3Store(parts.netloc, prefix=parts.path.strip("/") or None))

    async def require_space(self, size: int, *, left: int) -> None:
        """Raise Unavailable if the folder's disk would have fewer than `left` bytes free with `size` bytes more."""
        if self._folder is None:
            return
        try:
            free = (await asyncio.to_thread(shutil.disk_usage, self._folder)).free
        except OSError as error:
            raise Unavailable(f"The storage of uploads failed: {type(error).__name__}.") from error
        if free - size < left:
            raise Unavailable("The storage of uploads is nearly full; try again later.")

    async def put(self, key: str, source: Path | AsyncIterator[bytes], *, download_name: str = "") -> None:
        """Stores a file or a stream, a few pieces of 5 MB in memory at a time; replaces what is there.

        `download_name` is the file name that a bucket suggests to browsers.
        """
        attributes = None
        if download_name and isinstance(self._store, S3Store):
            attributes = {"Content-Disposition": content_disposition(download_name), "Content-Type": "text/csv"}
        with _translated():
            await obstore.put_async(
                self._store,
                key,
                source,
                attributes=attributes,
                chunk_size=_PIECE_BYTES,
                max_concurrency=_PIECES_AT_ONCE,
            )

    async def read(self, key: str, *, piece_bytes: int = 1024 * 1024) -> AsyncIterator[bytes]:
        """The file in pieces. Raises before the first piece, if at all because of the key."""
        with _translated():
            found = await obstore.get_async(self._store, key)
        return self._pieces(key, found, piece_bytes)

    async def _pieces(self, key: str, found: obstore.GetResult, piece_bytes: int) -> AsyncIterator[bytes]:
        with _translated():
            async for piece in found.stream(min_chunk_size=piece_bytes):
                yield bytes(piece)

    async def size(self, key: str) -> int:
        """In bytes."""
        with _translated():
            return int((await obstore.head_async(self._store, key))["size"])

    async def exists(self, key: str) -> bool:
        try:
            await self.size(key)
        except NotFound:
            return False
        return True

    async def delete(self, *keys: str) -> None:
        """Removes them; one that isn't there is none to remove."""
        for key in keys:
            try:
                with _translated():
                    await obstore.delete_async(self._store, key)
            except NotFound:
                continue

    async def keys(self, *, older_than: datetime) -> AsyncIterator[list[str]]:
        """All keys that were stored before that moment, many at a time."""
        with _translated():
            async for found in obstore.list(self._store):
                yield [file["path"] for file in found if file["last_modified"] < older_than]

    async def signed_url(self, key: str, *, expires_in: timedelta) -> str | None:
        """A link to a bucket's file that works for anyone; None for a folder, which serves nothing itself."""
        if not isinstance(self._store, S3Store):
            return None
        with _translated():
            url: str = await obstore.sign_async(self._store, "GET", key, expires_in)
        return url


def content_disposition(name: str) -> str:
    """The header's value: the name for new clients, an ASCII likeness for old ones (RFC 6266)."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFound from None
    except (BaseError, OSError) as error:
        raise Unavailable(f"The storage of uploads failed: {type(error).__name__}.") from error
