"""Short-lived download links: a bucket signs its own, for a folder the API serves the file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sendoff.uploads.files.links import FileKind, LinkSigner
from sendoff.uploads.files.storage import Storage


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of an upload."""

    upload_id: str
    kind: FileKind
    key: str


@dataclass(frozen=True, slots=True)
class Link:
    """A URL that works for whoever has it, until then."""

    url: str
    expires_at: datetime


class Downloads:
    """Makes links."""

    def __init__(self, storage: Storage, signer: LinkSigner, base_url: str | None) -> None:
        """`base_url` is where the API is reached from outside: the setting `PUBLIC_URL`."""
        self._storage = storage
        self._signer = signer
        self._base_url = base_url

    async def link(
        self, file: StoredFile, *, now: datetime, lifetime: timedelta, base_url: str = "http://127.0.0.1:8000"
    ) -> Link:
        """A link to the file; `base_url` serves where the setting is missing."""
        expires_at = (now + lifetime).replace(microsecond=0)
        signed = await self._storage.signed_url(file.key, expires_in=lifetime)
        if signed is not None:
            return Link(signed, expires_at)
        base = (self._base_url or base_url).rstrip("/")
        return Link(base + self._signer.path(file.upload_id, file.kind, expires_at), expires_at)
