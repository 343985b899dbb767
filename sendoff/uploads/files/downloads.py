"""Short-lived download links: a bucket signs its own, for a folder the API serves the file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sendoff.uploads.files.links import FileKind, LinkSigner
from sendoff.uploads.files.storage import Storage

LOCAL_URL = "http://127.0.0.1:8000"
"""The base of links without `SENDOFF_PUBLIC_URL`: where the API listens by default, on this machine alone."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of an upload."""

    upload_id: str
    kind: FileKind
    key: str


@dataclass(frozen=True, slots=True)
class Link:
    """A URL that works without a key, until then."""

    url: str
    expires_at: datetime


class Downloads:
    """Makes links."""

    def __init__(self, storage: Storage, signer: LinkSigner, base_url: str) -> None:
        """`base_url` is where clients reach the API; it never comes from a request: anyone can set its Host header."""
        self._storage = storage
        self._signer = signer
        self._base_url = base_url.rstrip("/")

    async def link(self, file: StoredFile, *, now: datetime, lifetime: timedelta) -> Link:
        """A link to the file that works for `lifetime`."""
        expires_at = (now + lifetime).replace(microsecond=0)
        signed = await self._storage.signed_url(file.key, expires_in=lifetime)
        if signed is not None:
            return Link(signed, expires_at)
        return Link(self._base_url + self._signer.path(file.upload_id, file.kind, expires_at), expires_at)
