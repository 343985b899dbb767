"""Accepting uploads: row, charge, event and file are there together or not at all."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import update
from sqlmodel import select

from sendoff.errors import (
    Conflict,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    InsufficientCredits,
    Invalid,
    NoSubscription,
    NotFound,
    SendoffError,
    TooFewContacts,
    Unavailable,
)
from sendoff.idempotency import IdempotentRequest
from sendoff.store.tables import IdempotencyRecord, Organization
from sendoff.uploads import create as module
from sendoff.uploads.check import JsonSubmission, check_upload
from sendoff.uploads.create import create_upload, require_subscription
from sendoff.uploads.manage import delete_upload_files, find_upload, link_to_file, list_uploads
from sendoff.uploads.orphan_files import ORPHANED_AFTER, remove_orphan_files
from sendoff.uploads.services import UploadServices
from tests.integration.uploads.conftest import UploadFixture, answer, contacts_csv, on_sqlite


async def set_credits(uploads: UploadFixture, amount: int | None) -> None:
    async with uploads.context.database.write() as tx:
        await tx.execute(update(Organization).values(credits=amount))


async def assert_nothing_was_kept(uploads: UploadFixture, *, left: int | None = 1_000) -> None:
    assert await uploads.count() == 0
    assert uploads.stored() == []
    assert await uploads.credits() == left
    assert await uploads.events("upload.created") == []
    assert uploads.app.queue.uploads == []


async def test_an_upload_is_counted_charged_stored_announced_and_rung_for(uploads: UploadFixture) -> None:
    content = contacts_csv(120, "Nobody,none", ",")
    upload_id = await uploads.upload(content, filename="../may.csv", skip_mobile_lookup=True)
    upload = await uploads.find(upload_id)
    assert upload.model_dump(exclude={"created_at", "updated_at"}) == {
        "id": upload_id,
        "user_id": uploads.app.principal.user_id,
        "organization_id": uploads.organization_id,
        "original_filename": "may.csv",
        "storage_path": f"{uploads.organization_id}/{upload_id}/original.csv",
        "file_size_bytes": len(content),
        "status": "ready_for_processing",
        "valid_row_count": 120,
        "invalid_row_count": 2,
        "credits_required": 120,
        "credits_charged": 120,
        "credits_refunded": 0,
        "source": "api",
        "api_key_id": uploads.app.principal.key_id,
        "skip_mobile_lookup": True,
        "processed_storage_path": None,
        "processed_filtered_storage_path": None,
        "error_message": None,
        "exceeded_daily_limit": False,
        "phone_column": "phone",
        "processed_rows": 0,
        "processing_attempts": 0,
        "leased_until": None,
        "lease_token": None,
        "request_id": None,
        # Of 122 rows; each result would hold the file's bytes and 64 more for each of the 120 valid ones.
        "stored_bytes": 3 * len(content) + 2 * 64 * 120,
    }
    assert uploads.stored() == [upload.storage_path]
    assert (uploads.storage / upload.storage_path).read_text() == content
    assert await uploads.credits() == 880
    assert uploads.app.queue.uploads == [upload_id]
    assert await uploads.events("upload.created") == [
        {
            "upload": {
                "id": upload_id,
                "source": "api",
                "status": "ready_for_processing",
                "original_filename": "may.csv",
                "valid_row_count": 120,
                "invalid_row_count": 2,
                "organization_id": uploads.organization_id,
                "created_at": "2026-04-24T12:34:56.789+00:00",
                "total_rows": 122,
            }
        }
    ]


@on_sqlite
async def test_a_number_that_comes_twice_is_charged_twice(uploads: UploadFixture) -> None:
    upload_id = await uploads.upload("phone\n" + "4155552671\n" * 150)
    assert (await uploads.find(upload_id)).credits_charged == 150


@on_sqlite
async def test_the_json_mode_is_stored_as_a_csv_under_a_made_up_name(uploads: UploadFixture) -> None:
    body = uploads.inbox / "body.json"
    body.write_bytes(orjson.dumps({"phone_numbers": [4155550000 + n for n in range(100)]}))
    stored = await create_upload(uploads.context, uploads.owner, JsonSubmission(body), answer=answer)
    upload = await uploads.find(orjson.loads(stored.body)["id"])
    assert upload.original_filename.startswith("api_upload_")
    assert upload.phone_column == "phone"
    file = uploads.storage / upload.storage_path
    assert file.stat().st_size == upload.file_size_bytes
    assert file.read_text().splitlines()[:2] == ['"phone"', '"4155550000"']


@on_sqlite
@pytest.mark.parametrize(
    ("content", "csv", "error"),
    [
        ("", {}, Invalid),
        ("name\nAda\n", {}, Invalid),
        (None, {"phone_column": " "}, Invalid),
        ("phone\n\0\n", {}, Invalid),
        (contacts_csv(99, "x,1", "y,2"), {}, TooFewContacts),
        ("name,phone\n", {}, TooFewContacts),
        (contacts_csv(1_001), {}, InsufficientCredits),
    ],
)
async def test_a_refused_upload_leaves_nothing(
    uploads: UploadFixture, content: str | None, csv: dict[str, Any], error: type[SendoffError]
) -> None:
    with pytest.raises(error):
        await uploads.upload(content, **csv)
    await assert_nothing_was_kept(uploads)


@on_sqlite
async def test_too_few_contacts_says_how_many_were_left_after_validation(uploads: UploadFixture) -> None:
    with pytest.raises(TooFewContacts) as caught:
        await uploads.upload(contacts_csv(73, "Nobody,none"))
    assert (caught.value.minimum, caught.value.got) == (100, 73)


@on_sqlite
async def test_without_a_subscription_no_upload_is_accepted(uploads: UploadFixture) -> None:
    await set_credits(uploads, None)
    with pytest.raises(NoSubscription):
        await require_subscription(uploads.context, uploads.organization_id)
    with pytest.raises(NoSubscription):
        await uploads.upload()
    await assert_nothing_was_kept(uploads, left=None)


@on_sqlite
async def test_credits_spent_during_the_validation_are_not_overdrawn(
    uploads: UploadFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = UploadServices.of(uploads.context).storage.put

    async def spend_meanwhile(*arguments: Any, **named: Any) -> None:
        await put(*arguments, **named)
        await set_credits(uploads, 119)

    monkeypatch.setattr(UploadServices.of(uploads.context).storage, "put", spend_meanwhile)
    with pytest.raises(InsufficientCredits):
        await uploads.upload()
    await assert_nothing_was_kept(uploads, left=119)


async def test_uploads_at_once_never_charge_more_than_there_is(uploads: UploadFixture) -> None:
    await set_credits(uploads, 300)
    results = await asyncio.gather(*(uploads.upload() for _ in range(6)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["InsufficientCredits"] * 4 + ["str"] * 2
    assert await uploads.credits() == 60
    assert len(uploads.stored()) == len(await uploads.events("upload.created")) == 2


@on_sqlite
@pytest.mark.parametrize("error", [Unavailable, RuntimeError, asyncio.CancelledError])
async def test_a_failure_while_committing_takes_the_file_back(
    uploads: UploadFixture, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(module, "add_upload_event", fail)
    with pytest.raises(error):
        await uploads.upload()
    await assert_nothing_was_kept(uploads)


@on_sqlite
async def test_a_storage_that_cannot_be_written_to_leaves_nothing(uploads: UploadFixture) -> None:
    assert UploadServices.of(uploads.context).storage
    uploads.storage.rmdir()
    uploads.storage.write_text("a file where the folder was")
    with pytest.raises(Unavailable):
        await uploads.upload()
    uploads.storage.unlink()
    await assert_nothing_was_kept(uploads)


async def test_a_repeated_upload_is_done_once_and_gets_the_same_answer(uploads: UploadFixture) -> None:
    request = IdempotentRequest(uploads.organization_id, "key", "same")
    first = await uploads.upload(idempotent=request)
    assert await uploads.upload(idempotent=request) == first
    assert await uploads.count() == 1
    assert await uploads.credits() == 880


@on_sqlite
async def test_a_refused_upload_frees_its_idempotency_key(uploads: UploadFixture) -> None:
    request = IdempotentRequest(uploads.organization_id, "key", "same")
    with pytest.raises(Invalid):
        await uploads.upload("", idempotent=request)
    assert await uploads.upload(idempotent=request)


async def test_a_repetition_while_the_first_runs_is_answered_409(
    uploads: UploadFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = IdempotentRequest(uploads.organization_id, "key", "same")
    put = UploadServices.of(uploads.context).storage.put

    async def ask_again(*arguments: Any, **named: Any) -> None:
        monkeypatch.setattr(UploadServices.of(uploads.context).storage, "put", put)
        with pytest.raises(IdempotencyInProgress):
            await uploads.upload(idempotent=request)
        with pytest.raises(IdempotencyKeyReused):
            await uploads.upload(idempotent=replace(request, fingerprint="another"))
        await put(*arguments, **named)

    monkeypatch.setattr(UploadServices.of(uploads.context).storage, "put", ask_again)
    first = await uploads.upload(idempotent=request)
    assert await uploads.upload(idempotent=request) == first
    assert await uploads.count() == 1


@pytest.mark.parametrize("credits_left", [1_000, 120])
async def test_an_upload_that_another_process_did_meanwhile_is_not_done_again(
    uploads: UploadFixture, monkeypatch: pytest.MonkeyPatch, credits_left: int
) -> None:
    await set_credits(uploads, credits_left)
    request = IdempotentRequest(uploads.organization_id, "key", "same")
    other_process = UploadFixture(
        replace(uploads.app, context=replace(uploads.context, under_way={})), uploads.storage, uploads.inbox
    )
    done: list[str] = []

    async def be_slower(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(module, "check_upload", check_upload)
        done.append(await other_process.upload(idempotent=request))
        return await check_upload(*arguments, **named)

    monkeypatch.setattr(module, "check_upload", be_slower)
    assert await uploads.upload(idempotent=request) == done[0]
    assert uploads.stored() == [(await uploads.find(done[0])).storage_path]
    assert len(await uploads.events("upload.created")) == 1
    assert await uploads.credits() == credits_left - 120
    assert uploads.app.queue.uploads == done


async def test_an_upload_whose_process_died_leaves_its_key_free(
    uploads: UploadFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = IdempotentRequest(uploads.organization_id, "key", "same")

    async def die(*_: Any, **__: Any) -> None:
        async with uploads.app.transaction() as tx:  # what a process leaves that is killed at this moment
            assert (await tx.scalars(select(IdempotencyRecord))).all() == []
        raise RuntimeError

    for moment in ("check_upload", "add_upload_event"):
        with monkeypatch.context() as patch:
            patch.setattr(module, moment, die)
            with pytest.raises(RuntimeError):
                await uploads.upload(idempotent=request)
    assert await uploads.upload(idempotent=request)
    assert await uploads.count() == 1


async def test_a_repeated_cancellation_gets_the_same_answer_and_refunds_once(uploads: UploadFixture) -> None:
    upload_id = await uploads.upload()
    request = IdempotentRequest(uploads.organization_id, "key", "same")
    cancels = [uploads.cancel(upload_id, idempotent=request) for _ in range(5)]
    answers = await asyncio.gather(*cancels)
    assert sorted(each.replayed for each in answers) == [False, True, True, True, True]
    assert len({each.body for each in answers}) == 1
    assert await uploads.credits() == 1_000


@on_sqlite
async def test_a_refused_cancelling_frees_its_idempotency_key(uploads: UploadFixture) -> None:
    upload_id, request = await uploads.upload(), IdempotentRequest(uploads.organization_id, "key", "same")
    await uploads.cancel(upload_id)
    for _ in range(2):
        with pytest.raises(Invalid, match="cancelled"):
            await uploads.cancel(upload_id, idempotent=request)


async def test_the_list_comes_newest_first_in_pages(uploads: UploadFixture) -> None:
    ids = [await uploads.upload() for _ in range(5)]
    first = await list_uploads(uploads.context, uploads.organization_id, limit=4, before=None)
    assert [upload.id for upload in first] == [*reversed(ids[1:])]
    rest = await list_uploads(uploads.context, uploads.organization_id, limit=4, before=ids[2])
    assert [upload.id for upload in rest] == [ids[1], ids[0]]


async def test_a_cancelled_upload_gives_its_credits_back_once_and_is_never_processed(uploads: UploadFixture) -> None:
    upload_id = await uploads.upload()
    await uploads.cancel(upload_id)
    cancelled = await uploads.find(upload_id)
    assert (cancelled.status, cancelled.credits_refunded) == ("cancelled", 120)
    assert await uploads.credits() == 1_000
    with pytest.raises(Invalid, match="cancelled"):
        await uploads.cancel(upload_id)
    assert await uploads.credits() == 1_000
    assert await uploads.process(upload_id) is None


async def test_cancelling_at_once_from_everywhere_refunds_once(uploads: UploadFixture) -> None:
    upload_id = await uploads.upload()
    cancel = uploads.cancel(upload_id)
    others = [uploads.cancel(upload_id) for _ in range(4)]
    results = await asyncio.gather(cancel, *others, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Invalid"] * 4 + ["StoredResponse"]
    assert await uploads.credits() == 1_000


@on_sqlite
@pytest.mark.parametrize("upload_id", ["", "x", "0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11", "\0"])
async def test_an_unknown_upload_is_not_found(uploads: UploadFixture, upload_id: str) -> None:
    with pytest.raises(NotFound):
        await find_upload(uploads.context, uploads.organization_id, upload_id)
    with pytest.raises(NotFound):
        await uploads.cancel(upload_id)


@on_sqlite
async def test_an_upload_of_another_organization_is_not_found(uploads: UploadFixture) -> None:
    upload_id, other = await uploads.upload(), "0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11"
    with pytest.raises(NotFound):
        await find_upload(uploads.context, other, upload_id)
    with pytest.raises(NotFound):
        await uploads.cancel(upload_id, organization_id=other)


async def test_an_upload_over_the_quota_is_refused_until_files_are_deleted(uploads: UploadFixture) -> None:
    await set_credits(uploads, 10_000)
    first = await uploads.upload()
    assert await uploads.process(first) == "completed"
    stored = (await uploads.find(first)).stored_bytes
    assert stored == sum((uploads.storage / key).stat().st_size for key in uploads.stored())
    with with_settings(uploads, upload_quota_bytes=stored + 1_000), pytest.raises(Conflict) as refused:
        await uploads.upload()
    assert "quota of" in refused.value.message
    assert "DELETE /api/v1/uploads/{upload_id}/files" in refused.value.message
    assert await uploads.credits() == 9_880
    assert len(uploads.stored()) == 3
    await delete_upload_files(uploads.context, uploads.organization_id, first)
    await delete_upload_files(uploads.context, uploads.organization_id, first)
    assert uploads.stored() == []
    with pytest.raises(NotFound, match="have been deleted"):
        await link_to_file(uploads.context, uploads.organization_id, first, "original")
    with with_settings(uploads, upload_quota_bytes=stored * 2):
        await uploads.upload()


async def test_uploads_side_by_side_do_not_get_past_the_quota(uploads: UploadFixture, tmp_path: Path) -> None:
    await set_credits(uploads, 10_000)
    expected = (await uploads.find(await uploads.upload())).stored_bytes
    with with_settings(uploads, upload_quota_bytes=expected * 3):
        answers = await asyncio.gather(*(uploads.upload() for _ in range(6)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in answers) == ["Conflict"] * 4 + ["str"] * 2
    assert await uploads.credits() == 10_000 - 3 * 120


@on_sqlite
async def test_a_waiting_upload_counts_until_it_is_cancelled_and_keeps_its_files(uploads: UploadFixture) -> None:
    waiting = await uploads.upload()
    with pytest.raises(Invalid, match="once it is finished"):
        await delete_upload_files(uploads.context, uploads.organization_id, waiting)
    with with_settings(uploads, upload_quota_bytes=(await uploads.find(waiting)).stored_bytes * 2 - 1):
        with pytest.raises(Conflict):
            await uploads.upload()
        await uploads.cancel(waiting)
        await uploads.upload()


@on_sqlite
async def test_uploads_leave_space_on_the_disk_of_the_storage(uploads: UploadFixture) -> None:
    free = shutil.disk_usage(uploads.storage.parent).free
    with with_settings(uploads, storage_min_free_bytes=free * 2), pytest.raises(Unavailable, match="nearly full"):
        await uploads.upload()
    await assert_nothing_was_kept(uploads)


@contextmanager
def with_settings(uploads: UploadFixture, **changes: int) -> Iterator[None]:
    """Other settings for the calls within the block."""
    context, before = uploads.context, uploads.context.settings
    object.__setattr__(context, "settings", before.model_copy(update=changes))
    try:
        yield
    finally:
        object.__setattr__(context, "settings", before)


@on_sqlite
async def test_temporary_folders_of_killed_processes_are_removed(
    uploads: UploadFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    abandoned = tmp_path / "sendoff-upload-abandoned"
    abandoned.mkdir()
    (abandoned / "received.csv").write_text("phone")
    await remove_orphan_files(uploads.context)
    assert not abandoned.exists()


async def test_files_without_an_upload_are_removed_once_they_are_old(uploads: UploadFixture) -> None:
    kept = await uploads.find(await uploads.upload())
    storage = UploadServices.of(uploads.context).storage
    orphan = f"{uploads.organization_id}/0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11/original.csv"
    for key in (orphan, "somebody/elses.csv"):
        await storage.put(key, Path(__file__))
    stored_at = (uploads.storage / orphan).stat().st_mtime - uploads.app.clock.now().timestamp()
    uploads.app.clock.advance(stored_at + ORPHANED_AFTER.total_seconds() - 60)
    assert await remove_orphan_files(uploads.context) == 0
    uploads.app.clock.advance(timedelta(hours=1).total_seconds())
    assert await remove_orphan_files(uploads.context) == 1
    assert uploads.stored() == sorted([kept.storage_path, "somebody/elses.csv"])


async def test_a_cancelled_upload_leaves_no_file(uploads: UploadFixture) -> None:
    upload_id = await uploads.upload(contacts_csv(120))
    assert len(uploads.stored()) == 1
    await uploads.cancel(upload_id)
    assert uploads.stored() == []
