"""Processing: one outcome and one event, whatever dies or is done twice."""

from __future__ import annotations

import asyncio
import csv
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from structlog.testing import capture_logs

from sendoff.accounts.organizations import create_organization
from sendoff.context import Context
from sendoff.delivery.dispatcher import Dispatcher
from sendoff.errors import Invalid, NotFound, Unavailable
from sendoff.recovery.sweep import sweep
from sendoff.store.tables import Upload
from sendoff.uploads import process as module
from sendoff.uploads.manage import BadLink, ExpiredLink, link_to_file, open_linked_file
from sendoff.uploads.orphan_files import remove_orphan_files
from sendoff.uploads.process import AT_ONCE, MOST_ATTEMPTS, process_in_turn
from sendoff.uploads.services import UploadServices
from tests.integration.uploads.conftest import UploadFixture, contacts_csv, on_sqlite
from tests.support.app_fixture import ACTOR
from tests.support.polling import eventually
from worker import local_queue


class Gatekeeper:
    """Lets the reading of files wait at a gate, or fail behind it."""

    def __init__(self, uploads: UploadFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = asyncio.Event()
        self.arrived = 0
        self.error: Exception | None = None
        self._run_task = UploadServices.of(uploads.context).file_worker.run
        monkeypatch.setattr(type(UploadServices.of(uploads.context).file_worker), "run", self.run)

    async def run(self, task: Any, *, organization_id: str, progress: Any = lambda _rows: None) -> Any:
        self.arrived += 1
        progress(60)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return await self._run_task(task, organization_id=organization_id, progress=progress)


@pytest.fixture
async def upload_id(uploads: UploadFixture) -> str:
    return await uploads.upload(contacts_csv(120, "Twin,4155550000", "Twin,(415) 555-0000", "Toll,8005551234", "x,y"))


@pytest.fixture
def gatekeeper(uploads: UploadFixture, upload_id: str, monkeypatch: pytest.MonkeyPatch) -> Gatekeeper:
    return Gatekeeper(uploads, monkeypatch)


async def expire_lease(uploads: UploadFixture) -> None:
    uploads.app.clock.advance(uploads.context.settings.lease_seconds + 1)


async def test_both_files_are_stored_and_their_links_announced(uploads: UploadFixture, upload_id: str) -> None:
    assert await uploads.process(upload_id) == "completed"
    upload = await uploads.find(upload_id)
    base = f"{uploads.organization_id}/{upload_id}"
    assert (upload.status, upload.processed_rows, upload.error_message) == ("completed", 124, None)
    assert upload.processed_storage_path == f"{base}/processed.csv"
    assert upload.processed_filtered_storage_path == f"{base}/processed-filtered.csv"
    assert uploads.stored() == sorted(f"{base}/{name}.csv" for name in ("original", "processed", "processed-filtered"))
    assert len(rows(uploads.storage / f"{base}/processed.csv")) == 123
    assert len(rows(uploads.storage / f"{base}/processed-filtered.csv")) == 121
    assert await uploads.credits() == 1_000 - 123

    (announced,) = await uploads.events("upload.completed")
    downloads = announced["upload"].pop("downloads")
    assert announced == {
        "upload": {
            "id": upload_id,
            "source": "api",
            "status": "completed",
            "original_filename": "may.csv",
            "valid_row_count": 123,
            "invalid_row_count": 1,
            "organization_id": uploads.organization_id,
            "created_at": "2026-04-24T12:34:56.789+00:00",
        }
    }
    assert list(downloads) == ["processed", "processed_filtered"]
    for (name, url), kind in zip(downloads.items(), ("processed", "processed-filtered"), strict=True):
        assert urlsplit(url).path == f"/api/v1/uploads/{upload_id}/files/{kind}", name
        content = await download(uploads, url)
        assert content == (uploads.storage / f"{base}/{kind}.csv").read_bytes()


@on_sqlite
async def test_links_in_events_outlive_all_retries_of_their_delivery(uploads: UploadFixture, upload_id: str) -> None:
    await uploads.process(upload_id)
    (announced,) = await uploads.events("upload.completed")
    uploads.app.clock.advance(sum(uploads.context.settings.retry_schedule) * 1.2)
    assert await download(uploads, announced["upload"]["downloads"]["processed"])


@on_sqlite
async def test_processing_again_changes_nothing_and_announces_nothing(uploads: UploadFixture, upload_id: str) -> None:
    assert await uploads.process(upload_id) == "completed"
    before = await uploads.find(upload_id)
    await expire_lease(uploads)
    assert await uploads.process(upload_id) is None
    assert await uploads.find(upload_id) == before
    assert len(await uploads.events("upload.completed")) == 1


async def test_of_workers_at_once_one_processes(uploads: UploadFixture, upload_id: str) -> None:
    outcomes = await asyncio.gather(*(uploads.process(upload_id) for _ in range(5)))
    assert sorted(map(str, outcomes)) == ["None"] * 4 + ["completed"]
    assert len(await uploads.events("upload.completed")) == 1


async def test_a_dead_workers_upload_is_swept_and_taken_over(
    uploads: UploadFixture, upload_id: str, gatekeeper: Gatekeeper
) -> None:
    dead = asyncio.create_task(uploads.process(upload_id))
    await eventually(lambda: gatekeeper.arrived, what="a claim")
    assert await uploads.process(upload_id) is None
    await expire_lease(uploads)
    uploads.app.queue.uploads.clear()
    await sweep(uploads.context)
    assert uploads.app.queue.uploads == [upload_id]

    heir = asyncio.create_task(uploads.process(upload_id))
    await eventually(lambda: gatekeeper.arrived == 2, what="a second claim")
    gatekeeper.gate.set()
    assert await heir == "completed"
    assert await dead is None
    assert len(await uploads.events("upload.completed")) == 1
    assert (await uploads.find(upload_id)).processing_attempts == 2


@on_sqlite
async def test_an_organization_has_a_few_uploads_processed_at_once_and_the_others_follow(
    uploads: UploadFixture, upload_id: str, gatekeeper: Gatekeeper
) -> None:
    gatekeeper.gate.set()
    ids = [upload_id, *[await uploads.upload() for _ in range(AT_ONCE + 1)]]
    gatekeeper.gate.clear()
    gatekeeper.arrived = 0
    running = {one: asyncio.create_task(process_in_turn(uploads.context, one)) for one in ids}
    await eventually(lambda: gatekeeper.arrived == AT_ONCE, what="as many as the limit are read")
    await eventually(lambda: sum(task.done() for task in running.values()) == 2, what="the others are passed over")
    first, second = sorted(one for one, task in running.items() if task.done())
    uploads.app.queue.uploads.clear()
    gatekeeper.gate.set()
    await asyncio.gather(*running.values())
    assert set(uploads.app.queue.uploads) == {first}
    await process_in_turn(uploads.context, first)
    assert uploads.app.queue.uploads[-1] == second


@on_sqlite
async def test_a_worker_without_redis_processes_uploads_in_turns_and_an_error_stops_no_other(
    uploads: UploadFixture, upload_id: str, gatekeeper: Gatekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    gatekeeper.gate.set()
    ids = [await uploads.upload() for _ in range(AT_ONCE + 1)]
    gatekeeper.gate.clear()
    gatekeeper.arrived = 0
    ended: list[str] = []

    async def process_all_but_one(context: Context, one: str) -> None:
        if one == upload_id:
            raise ZeroDivisionError
        await process_in_turn(context, one)
        ended.append(one)

    monkeypatch.setattr(local_queue, "process_in_turn", process_all_but_one)
    queue = local_queue.LocalQueue(uploads.context, Dispatcher(uploads.context))
    with capture_logs() as lines:
        queue.enqueue_uploads([upload_id, *ids])
        await eventually(lambda: gatekeeper.arrived == AT_ONCE, what="as many as the limit are read")
    [failure] = [line for line in lines if line["event"] == "local_dispatch_failed"]
    assert (failure["kind"], failure["log_level"]) == ("uploads", "error")
    await eventually(lambda: len(ended) == 1, what="the other one is passed over")
    gatekeeper.gate.set()
    await eventually(lambda: len(ended) == len(ids), what="each is processed")


async def test_organizations_take_turns_in_a_sweep(uploads: UploadFixture, upload_id: str) -> None:
    more = [await uploads.upload() for _ in range(3)]
    other = await create_organization(uploads.context, ACTOR, name="Other", credits=0)
    async with uploads.context.database.write() as tx:
        last = await tx.get_one(Upload, more[-1])
        last.organization_id = other.id
    uploads.app.queue.uploads.clear()
    await sweep(uploads.context)
    assert uploads.app.queue.uploads == [upload_id, more[2], more[0], more[1]]


@on_sqlite
async def test_the_lease_is_renewed_and_progress_reported_during_the_work(
    uploads: UploadFixture, upload_id: str, gatekeeper: Gatekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEWALS_PER_LEASE", 400)
    work = asyncio.create_task(uploads.process(upload_id))
    await eventually(lambda: gatekeeper.arrived, what="a claim")
    for _ in range(4):
        uploads.app.clock.advance(uploads.context.settings.lease_seconds * 0.9)
        until = uploads.app.clock.now()
        await eventually(lambda: is_leased_beyond(uploads, upload_id, until), what="a renewal")  # noqa: B023
    assert (await uploads.find(upload_id)).processed_rows == 60
    assert await uploads.process(upload_id) is None
    gatekeeper.gate.set()
    assert await work == "completed"


async def test_a_worker_that_lost_its_lease_stops_without_an_outcome(
    uploads: UploadFixture, upload_id: str, gatekeeper: Gatekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = asyncio.create_task(uploads.process(upload_id))
    await eventually(lambda: gatekeeper.arrived, what="a claim")
    await expire_lease(uploads)
    monkeypatch.setattr(module, "RENEWALS_PER_LEASE", 400)
    heir = asyncio.create_task(uploads.process(upload_id))
    await eventually(lambda: gatekeeper.arrived == 2, what="a second claim")
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert (await uploads.find(upload_id)).status == "processing"
    gatekeeper.gate.set()
    assert await heir == "completed"


async def test_a_stopping_worker_hands_its_upload_over_at_once(
    uploads: UploadFixture, upload_id: str, gatekeeper: Gatekeeper
) -> None:
    stopped = asyncio.create_task(uploads.process(upload_id))
    await eventually(lambda: gatekeeper.arrived, what="a claim")
    stopped.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopped
    gatekeeper.gate.set()
    assert (await uploads.find(upload_id)).processing_attempts == 0
    assert await uploads.process(upload_id) == "completed"


async def test_a_failing_dependency_puts_the_upload_off_and_after_six_attempts_fails_it(
    uploads: UploadFixture, upload_id: str, gatekeeper: Gatekeeper
) -> None:
    gatekeeper.gate.set()
    gatekeeper.error = Unavailable("The storage is away.")
    waits = []
    for _ in range(MOST_ATTEMPTS - 1):
        assert await uploads.process(upload_id) == "ready_for_processing"
        assert await uploads.process(upload_id) is None
        due = (await uploads.find(upload_id)).leased_until
        assert due is not None
        waits.append((due - uploads.app.clock.now()).total_seconds())
        uploads.app.clock.advance(waits[-1])
    assert waits == [4, 8, 16, 32, 64]
    assert await uploads.process(upload_id) == "failed"
    await assert_failed_with_refund(uploads, upload_id, "could not be processed")


@on_sqlite
async def test_after_the_dependency_is_back_it_completes(
    uploads: UploadFixture, upload_id: str, gatekeeper: Gatekeeper
) -> None:
    gatekeeper.gate.set()
    gatekeeper.error = Unavailable("The storage is away.")
    await uploads.process(upload_id)
    gatekeeper.error = None
    uploads.app.clock.advance(60)
    assert await uploads.process(upload_id) == "completed"


@on_sqlite
async def test_an_upload_that_kills_its_workers_fails_in_the_end(
    uploads: UploadFixture, upload_id: str, gatekeeper: Gatekeeper
) -> None:
    gatekeeper.gate.set()
    gatekeeper.error = MemoryError()
    for _ in range(MOST_ATTEMPTS):
        with pytest.raises(MemoryError):
            await uploads.process(upload_id)
        await expire_lease(uploads)
    assert await uploads.process(upload_id) == "failed"
    await assert_failed_with_refund(uploads, upload_id, "could not be processed")


@on_sqlite
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no longer in the storage"),
        (b"", "empty"),
        (b"name\nAda\n", "has no column 'phone'"),
        (b"phone\n\0", "NUL"),
    ],
)
async def test_an_original_that_cannot_be_read_fails_the_upload_with_a_reason_and_a_full_refund(
    uploads: UploadFixture, upload_id: str, content: bytes | None, reason: str
) -> None:
    original = uploads.storage / (await uploads.find(upload_id)).storage_path
    original.unlink() if content is None else original.write_bytes(content)
    assert await uploads.process(upload_id) == "failed"
    await assert_failed_with_refund(uploads, upload_id, reason)
    assert await uploads.process(upload_id) is None
    assert len(await uploads.events("upload.failed")) == 1


@on_sqlite
async def test_one_that_was_started_or_finished_cannot_be_cancelled(
    uploads: UploadFixture, upload_id: str, gatekeeper: Gatekeeper
) -> None:
    work = asyncio.create_task(uploads.process(upload_id))
    await eventually(lambda: gatekeeper.arrived, what="a claim")
    with pytest.raises(Invalid, match="processing"):
        await uploads.cancel(upload_id)
    gatekeeper.gate.set()
    await work
    with pytest.raises(Invalid, match="completed"):
        await uploads.cancel(upload_id)
    assert await uploads.credits() == 1_000 - 123


@on_sqlite
async def test_a_link_works_until_it_expires_and_only_for_its_own_file(uploads: UploadFixture, upload_id: str) -> None:
    link = await link_to_file(uploads.context, uploads.organization_id, upload_id, "original")
    assert link.url.startswith("http://127.0.0.1:8000/api/v1/uploads/")
    assert (await download(uploads, link.url)).startswith(b"name,phone\n")
    with pytest.raises(BadLink):
        await download(uploads, link.url.replace("/original?", "/processed?"))
    uploads.app.clock.advance(uploads.context.settings.download_link_seconds + 1)
    with pytest.raises(ExpiredLink):
        await download(uploads, link.url)


@on_sqlite
@pytest.mark.parametrize("kind", ["processed", "processed-filtered", "../original", "other"])
async def test_a_link_to_a_missing_file_is_not_found(uploads: UploadFixture, upload_id: str, kind: str) -> None:
    with pytest.raises(NotFound):
        await link_to_file(uploads.context, uploads.organization_id, upload_id, kind)


async def assert_failed_with_refund(uploads: UploadFixture, upload_id: str, reason: str) -> None:
    upload = await uploads.find(upload_id)
    assert upload.status == "failed"
    assert upload.error_message
    assert reason in upload.error_message
    assert (upload.credits_charged, upload.credits_refunded) == (123, 123)
    assert await uploads.credits() == 1_000
    (announced,) = await uploads.events("upload.failed")
    assert announced["error_message"] == upload.error_message
    assert announced["upload"]["status"] == "failed"
    assert "downloads" not in announced["upload"]


async def is_leased_beyond(uploads: UploadFixture, upload_id: str, moment: Any) -> bool:
    upload: Upload = await uploads.find(upload_id)
    return upload.leased_until is not None and upload.leased_until > moment + module._lease_time(uploads.context) * 0.5


async def download(uploads: UploadFixture, url: str) -> bytes:
    split = urlsplit(url)
    query = parse_qs(split.query)
    _, _, _, _, upload_id, _, kind = split.path.split("/", 6)
    opened = await open_linked_file(
        uploads.context, upload_id, kind, expires=int(query["expires"][0]), signature=query["signature"][0]
    )
    content = b"".join([piece async for piece in opened.pieces])
    assert len(content) == opened.size
    return content


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


async def test_a_failed_upload_leaves_no_file(uploads: UploadFixture, upload_id: str, gatekeeper: Gatekeeper) -> None:
    gatekeeper.gate.set()
    gatekeeper.error = Invalid("The file cannot be read.")
    assert await uploads.process(upload_id) == "failed"
    assert uploads.stored() == []


async def test_files_are_deleted_after_their_retention_and_not_before(uploads: UploadFixture, upload_id: str) -> None:
    waiting = await uploads.upload(contacts_csv(120))
    assert await uploads.process(upload_id) == "completed"
    for key in uploads.stored():
        os.utime(uploads.storage / key, (0, 0))  # by the test's clock they are old enough
    uploads.app.clock.advance(30 * 86_400)
    await remove_orphan_files(uploads.context)
    assert len(uploads.stored()) == 4
    uploads.app.clock.advance(1)
    await remove_orphan_files(uploads.context)
    assert uploads.stored() == [(await uploads.find(waiting)).storage_path]
