"""Short-lived download links: a bucket signs its own, for a folder the API serves the file.

A link to a file in a folder alone allows the download, until it expires. The signature covers upload, kind and expiry.
Its key is derived from the settings' secret keys: the newest signs, each verifies, so rotating them breaks no link.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sendoff.uploads.files.storage import Storage

LOCAL_URL = "http://127.0.0.1:8000"
"""The base of links without `SENDOFF_PUBLIC_URL`: where the API listens by default, on this machine alone."""


class FileKind(StrEnum):
    """The files of an upload, as the download paths name them."""

    ORIGINAL = "original"
    PROCESSED = "processed"
    PROCESSED_FILTERED = "processed-filtered"


class LinkSigner:
    """Makes and checks links."""

    def __init__(self, secret_keys: Sequence[str]) -> None:
        """`secret_keys`: the setting `SECRET_KEYS`, newest first, at least one."""
        self._keys = [derive_key(key, "download links") for key in secret_keys]

    def path(self, upload_id: str, kind: FileKind, expires_at: datetime) -> str:
        """The link without its host, `/api/v1/uploads/…`."""
        expires = int(expires_at.timestamp())
        signature = _signature(self._keys[0], upload_id, kind, expires)
        return f"/api/v1/uploads/{upload_id}/files/{kind}?expires={expires}&signature={signature}"

    def is_genuine(self, upload_id: str, kind: str, expires: int, signature: str) -> bool:
        """Whether we made this link; whether it has expired is another question."""
        given = signature.encode()
        return any(hmac.compare_digest(_signature(key, upload_id, kind, expires).encode(), given) for key in self._keys)


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


def derive_key(secret_key: str, purpose: str) -> bytes:
    """32 bytes for one purpose: HKDF-SHA256, so that no two purposes share a key."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"sendoff {purpose}".encode()).derive(
        secret_key.encode()
    )


def _signature(key: bytes, upload_id: str, kind: str, expires: int) -> str:
    return hmac.digest(key, f"{upload_id}\n{kind}\n{expires}".encode(), "sha256").hex()
