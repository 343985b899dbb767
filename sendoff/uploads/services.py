"""What the operations on uploads work with: made once per process."""

from __future__ import annotations

from functools import cached_property

from sendoff.context import Context
from sendoff.sandbox import Sandbox
from sendoff.settings import Settings
from sendoff.uploads.files.downloads import LOCAL_URL, Downloads, LinkSigner
from sendoff.uploads.files.storage import Storage
from sendoff.uploads.files.worker import FileWorker


class UploadServices:
    """Storage, the reader of files, and links, each made when first used. Nothing of it needs closing."""

    def __init__(self, settings: Settings, sandbox: Sandbox) -> None:
        self._settings = settings
        self.file_worker = FileWorker(sandbox)

    @classmethod
    def of(cls, context: Context) -> UploadServices:
        """The services of this context's process."""
        return context.service(cls._make)

    @classmethod
    def _make(cls, context: Context) -> UploadServices:
        return cls(context.settings, context.service(Sandbox.of))

    @cached_property
    def storage(self) -> Storage:
        return Storage.open(self._settings.storage_url)

    @cached_property
    def signer(self) -> LinkSigner:
        return LinkSigner([key.get_secret_value() for key in self._settings.secret_keys])

    @cached_property
    def downloads(self) -> Downloads:
        return Downloads(self.storage, self.signer, self._settings.public_url or LOCAL_URL)
