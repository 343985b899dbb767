"""What the operations on uploads work with: made once per process."""

from __future__ import annotations

from functools import cached_property

from sendoff.settings import Settings
from sendoff.uploads.aside import Aside
from sendoff.uploads.downloads import Downloads
from sendoff.uploads.links import LinkSigner
from sendoff.uploads.spool import remove_abandoned
from sendoff.uploads.storage import Storage


class Workshop:
    """Storage, the process that reads files, and links, each made when first used. Nothing of it needs closing."""

    def __init__(self, settings: Settings) -> None:
        """Removes what processes that were killed left half done."""
        remove_abandoned()
        self._settings = settings
        self.aside = Aside()

    @cached_property
    def storage(self) -> Storage:
        return Storage.open(self._settings.storage_url)

    @cached_property
    def signer(self) -> LinkSigner:
        return LinkSigner([key.get_secret_value() for key in self._settings.secret_keys])

    @cached_property
    def downloads(self) -> Downloads:
        return Downloads(self.storage, self.signer, self._settings.public_url)
