"""An app with storage in a folder, and what tests of uploads say to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlmodel import col, select

from sendoff.context import Context
from sendoff.idempotency import IdempotentRequest, StoredResponse
from sendoff.policy.states import UploadStatus
from sendoff.store.tables import Event, Organization, Upload
from sendoff.uploads.check import CsvSubmission
from sendoff.uploads.create import UploadOwner, create_upload
from sendoff.uploads.manage import cancel_upload, find_upload
from sendoff.uploads.process import process_upload
from tests.integration.uploads.contacts import valid_contacts
from tests.support.app_fixture import AppFixture, open_app

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what no database has a say in."""


@dataclass
class UploadFixture:
    """An app whose organization has 1,000 credits, and its storage's folder."""

    app: AppFixture
    storage: Path
    inbox: Path

    @property
    def context(self) -> Context:
        return self.app.context

    @property
    def organization_id(self) -> str:
        return self.app.principal.organization_id

    @property
    def owner(self) -> UploadOwner:
        principal = self.app.principal
        return UploadOwner(principal.organization_id, principal.user_id, principal.key_id)

    async def upload(
        self, content: str | None = None, *, idempotent: IdempotentRequest | None = None, **csv: Any
    ) -> str:
        """Uploads a CSV, by default of 120 valid numbers; the upload's id."""
        path = self.inbox / "received.csv"
        path.write_text(content if content is not None else contacts_csv(120))
        submission = CsvSubmission(path, **{"phone_column": "phone", "filename": "may.csv", **csv})
        stored = await create_upload(self.context, self.owner, submission, answer=answer, idempotent=idempotent)
        assert stored.status == 200
        return str(orjson.loads(stored.body)["id"])

    async def cancel(
        self, upload_id: str, *, organization_id: str | None = None, idempotent: IdempotentRequest | None = None
    ) -> StoredResponse:
        owner = organization_id or self.organization_id
        return await cancel_upload(self.context, owner, upload_id, answer=answer, idempotent=idempotent)

    async def process(self, upload_id: str) -> UploadStatus | None:
        return await process_upload(self.context, upload_id)

    async def find(self, upload_id: str) -> Upload:
        return await find_upload(self.context, self.organization_id, upload_id)

    async def credits(self) -> int | None:
        async with self.app.transaction() as tx:
            found = await tx.get_one(Organization, self.organization_id)
            return found.credits

    async def events(self, event_type: str) -> list[dict[str, Any]]:
        """The data of all events of that type."""
        async with self.app.transaction() as tx:
            found = await tx.scalars(select(Event).where(col(Event.type) == event_type))
            return [orjson.loads(event.data) for event in found.all()]

    async def count(self) -> int:
        """How many uploads there are."""
        async with self.app.transaction() as tx:
            return len((await tx.scalars(select(Upload.id))).all())

    def stored(self) -> list[str]:
        """Keys of the files in storage."""
        return sorted(str(path.relative_to(self.storage)) for path in self.storage.rglob("*") if path.is_file())


def answer(upload: Upload) -> StoredResponse:
    return StoredResponse(200, orjson.dumps({"id": upload.id, "status": upload.status}))


def contacts_csv(count: int, *junk: str) -> str:
    rows = [f"{row['name']},{row['phone']}" for row in valid_contacts(count)]
    return "\n".join(["name,phone", *rows, *junk]) + "\n"


@pytest.fixture
async def uploads(database_url: str, tmp_path: Path) -> AsyncIterator[UploadFixture]:
    storage, inbox = tmp_path / "storage", tmp_path / "inbox"
    inbox.mkdir()
    async with open_app(database_url, storage_url=f"file://{storage}") as app:
        yield UploadFixture(app, storage, inbox)
