"""What the operations on uploads work with: made once per process."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sendoff.settings import Settings
from sendoff.uploads.aside import Aside
from sendoff.uploads.downloads import Downloads
from sendoff.uploads.links import LinkSigner
from sendoff.uploads.spool import remove_abandoned
from sendoff.uploads.storage import Storage


@dataclass(frozen=True)
class Workshop:
    """Storage, the process that reads files, and links. Holds nothing that needs closing."""

    storage: Storage
    signer: LinkSigner
    downloads: Downloads
    aside: Aside = field(default_factory=Aside)

    @classmethod
    def open(cls, settings: Settings, *, now: datetime) -> Workshop:
        """Makes the storage's folder, and removes what processes that were killed left half done."""
        remove_abandoned(now)
        storage = Storage.open(settings.storage_url)
        signer = LinkSigner([key.get_secret_value() for key in settings.secret_keys])
        return cls(storage, signer, Downloads(storage, signer, settings.public_url))
