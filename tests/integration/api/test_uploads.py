"""`/api/v1/uploads` as the OptimalDial contract has it: both input modes, every status, links, and hostile bodies."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from api.optimaldial import upload_body
from sendoff.store.tables import Organization
from sendoff.uploads.files import converting
from sendoff.uploads.files.json_entries import MOST_ENTRIES
from sendoff.uploads.process import process_upload
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.integration.uploads.conftest import contacts_csv

UPLOADS = "/api/v1/uploads"
NOW = "2026-04-24T12:34:56.789+00:00"
ANY_ID = "0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11"
BOUNDARY = "sendoff-boundary"
CSV = contacts_csv(120, "Nobody,none")


@pytest.fixture
async def api(database_url: str, valkey_url: str, tmp_path: Path) -> AsyncIterator[ApiFixture]:
    async with open_api(database_url, valkey_url, storage_url=f"file://{tmp_path}/storage") as opened:
        yield opened


@pytest.fixture
async def sqlite_api(sqlite_url: str, valkey_url: str, tmp_path: Path) -> AsyncIterator[ApiFixture]:
    async with open_api(sqlite_url, valkey_url, storage_url=f"file://{tmp_path}/storage") as opened:
        yield opened


async def upload(
    api: ApiFixture, content: str = CSV, *, name: str = "may.csv", headers: Any = None, **fields: str
) -> Any:
    data = {"phone_column": "phone", **fields}
    return await api.post(UPLOADS, data=data, files={"file": (name, content)}, headers=headers or {})


async def uploaded(api: ApiFixture, **request: Any) -> dict[str, Any]:
    answer = await upload(api, **request)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def set_credits(api: ApiFixture, amount: int | None) -> None:
    async with api.app.context.database.write() as tx:
        await tx.execute(update(Organization).values(credits=amount))


def form(*parts: tuple[str, bytes]) -> dict[str, Any]:
    """A form written by hand: each part's Content-Disposition parameters and content."""
    body = b"".join(
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
        for disposition, content in parts
    )
    content_type = f"multipart/form-data; boundary={BOUNDARY}"
    return {"content": body + f"--{BOUNDARY}--\r\n".encode(), "headers": {"Content-Type": content_type}}


FILE = ('name="file"; filename="may.csv"', CSV.encode())
COLUMN = ('name="phone_column"', b"phone")


async def test_a_csv_is_answered_with_the_whole_upload(api: ApiFixture) -> None:
    shown = await uploaded(api, skip_mobile_lookup="true")
    principal = api.app.principal
    assert shown == {
        "id": shown["id"],
        "user_id": principal.user_id,
        "organization_id": principal.organization_id,
        "original_filename": "may.csv",
        "storage_path": f"{principal.organization_id}/{shown['id']}/original.csv",
        "file_size_bytes": len(CSV),
        "status": "ready_for_processing",
        "valid_row_count": 120,
        "invalid_row_count": 1,
        "credits_required": 120,
        "credits_charged": 120,
        "credits_refunded": 0,
        "source": "api",
        "api_key_id": shown["api_key_id"],
        "skip_mobile_lookup": True,
        "processed_storage_path": None,
        "processed_filtered_storage_path": None,
        "error_message": None,
        "exceeded_daily_limit": False,
        "created_at": NOW,
        "updated_at": NOW,
    }
    assert (await api.get(f"{UPLOADS}/{shown['id']}")).json() == shown
    assert (await api.get(UPLOADS)).json() == {"data": [shown], "next_cursor": None}


@pytest.mark.parametrize(
    "body",
    [
        {"phone_numbers": [f"(415) 555-{line:04d}" for line in range(100)]},
        {"contacts": [{"phone": f"415555{line:04d}", "name": "Ada"} for line in range(100)]},
        {"contacts": None, "phone_numbers": [4155550000 + line for line in range(100)]},
    ],
)
async def test_the_json_mode_takes_either_list(api: ApiFixture, body: dict[str, Any]) -> None:
    answer = await api.post(UPLOADS, {**body, "filename": "api.csv"})
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["original_filename"], shown["valid_row_count"], shown["invalid_row_count"]) == ("api.csv", 100, 0)
    assert (await api.post(UPLOADS, body)).json()["original_filename"].startswith("api_upload_")


async def test_processed_files_are_linked_and_downloaded_without_a_key_until_the_link_expires(api: ApiFixture) -> None:
    shown = await uploaded(api, name='Früh&"ling".csv')
    assert await process_upload(api.app.context, shown["id"]) == "completed"
    for kind, lines in (("original", 122), ("processed", 121), ("processed-filtered", 121)):
        linked = await api.get(f"{UPLOADS}/{shown['id']}/download/{kind}")
        assert linked.json() == {"url": linked.json()["url"], "expires_at": "2026-04-24T12:49:56.000+00:00"}
        file = await api.get(linked.json()["url"], key="")
        assert (file.status_code, file.headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
        assert int(file.headers["Content-Length"]) == len(file.content)
        assert "filename*=UTF-8''Fr%C3%BCh%26" in file.headers["Content-Disposition"]
        assert len(file.text.splitlines()) == lines
        forged = linked.json()["url"].replace("expires=1", "expires=2")
        assert (await api.get(forged, key="")).status_code == 404
    api.app.clock.advance(api.app.context.settings.download_link_seconds)
    expired = await api.get(linked.json()["url"], key="")
    assert (expired.status_code, "expired" in expired.json()["detail"]) == (404, True)


async def test_links_do_not_depend_on_the_host_header(sqlite_api: ApiFixture) -> None:
    shown = await uploaded(sqlite_api)
    path = f"{UPLOADS}/{shown['id']}/download/original"
    linked = await sqlite_api.get(path, headers={"Host": "evil.example"})
    assert linked.json()["url"].startswith(f"http://127.0.0.1:8000{UPLOADS}/{shown['id']}/files/original?")


async def test_a_link_to_a_missing_file_or_to_one_of_another_organization_is_not_found(sqlite_api: ApiFixture) -> None:
    shown = await uploaded(sqlite_api)
    path = f"{UPLOADS}/{shown['id']}"
    stranger = await sqlite_api.new_key(organization_id=await sqlite_api.new_organization())
    answers = [
        await sqlite_api.get(f"{path}/download/processed"),
        await sqlite_api.get(f"{path}/download/other"),
        await sqlite_api.get(f"{path}/download/original", key=stranger),
        await sqlite_api.get(f"{path}/files/original", key=""),
        await sqlite_api.get(f"{path}/files/original?expires=9999999999&signature=é", key=""),
    ]
    assert [answer.status_code for answer in answers] == [404] * 5
    assert all(isinstance(answer.json()["detail"], str) for answer in answers)


async def test_an_upload_of_another_organization_is_answered_like_one_that_does_not_exist(
    sqlite_api: ApiFixture,
) -> None:
    shown = await uploaded(sqlite_api)
    stranger = await sqlite_api.new_key(organization_id=await sqlite_api.new_organization())
    for method, rest in (("GET", ""), ("DELETE", ""), ("GET", "/download/original")):
        real = await sqlite_api.call(method, f"{UPLOADS}/{shown['id']}{rest}", key=stranger)
        unreal = await sqlite_api.call(method, f"{UPLOADS}/{ANY_ID}{rest}", key=stranger)
        assert (real.status_code, real.text) == (404, unreal.text)
    assert (await sqlite_api.get(UPLOADS, key=stranger)).json()["data"] == []
    assert (await sqlite_api.get(f"{UPLOADS}/{shown['id']}")).json() == shown


async def test_the_list_is_paged_by_an_opaque_cursor(sqlite_api: ApiFixture) -> None:
    ids = [(await uploaded(sqlite_api))["id"] for _ in range(5)]
    found: list[str] = []
    cursor = None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await sqlite_api.get(UPLOADS, params=params)).json()
        found += [shown["id"] for shown in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == ids[::-1]
    for params in ({"limit": 0}, {"limit": 101}, {"limit": "x"}, {"cursor": "x"}):
        assert (await sqlite_api.get(UPLOADS, params=params)).status_code == 400


async def test_cancelling_refunds_what_has_not_started_and_refuses_anything_else(api: ApiFixture) -> None:
    first, second = await uploaded(api), await uploaded(api)
    cancelled = await api.delete(f"{UPLOADS}/{first['id']}")
    assert (cancelled.status_code, cancelled.json()) == (200, {"status": "cancelled", "credits_refunded": 120})
    shown = (await api.get(f"{UPLOADS}/{first['id']}")).json()
    assert (shown["status"], shown["credits_refunded"]) == ("cancelled", 120)
    await process_upload(api.app.context, second["id"])
    for upload_id in (first["id"], second["id"]):
        refused = await api.delete(f"{UPLOADS}/{upload_id}")
        assert (refused.status_code, type(refused.json()["detail"])) == (400, str)
    assert (await api.delete(f"{UPLOADS}/{ANY_ID}")).status_code == 404


async def test_the_files_of_a_finished_upload_can_be_deleted(api: ApiFixture) -> None:
    shown = await uploaded(api)
    path = f"{UPLOADS}/{shown['id']}"
    waiting = await api.delete(f"{path}/files")
    assert (waiting.status_code, "cancel" in waiting.json()["detail"]) == (400, True)
    await process_upload(api.app.context, shown["id"])
    link = (await api.get(f"{path}/download/processed")).json()["url"]
    deleted = [await api.delete(f"{path}/files", headers={"Idempotency-Key": "once"}) for _ in range(2)]
    assert [answer.status_code for answer in deleted] == [204, 204]
    assert (await api.get(path)).json()["status"] == "completed"
    for gone in (f"{path}/download/processed", link[link.index("/api/") :]):
        answer = await api.get(gone)
        assert (answer.status_code, "deleted" in answer.json()["detail"]) == (404, True)
    assert (await api.delete(f"{UPLOADS}/{ANY_ID}/files")).status_code == 404


async def test_too_few_valid_numbers_are_a_422_that_counts_them(sqlite_api: ApiFixture) -> None:
    refused = await upload(sqlite_api, contacts_csv(73, "Nobody,none"))
    assert refused.status_code == 422
    detail = refused.json()["detail"]
    assert detail == {"error": "min_contacts_required", "min": 100, "got": 73, "message": detail["message"]}


async def test_without_credits_it_is_a_402_and_without_a_subscription_a_403(sqlite_api: ApiFixture) -> None:
    shown = await uploaded(sqlite_api)
    await set_credits(sqlite_api, 119)
    refused = await upload(sqlite_api)
    assert (refused.status_code, refused.json()) == (402, {"detail": "Insufficient credits"})
    await set_credits(sqlite_api, None)
    assert (await upload(sqlite_api)).status_code == 403
    assert (await sqlite_api.delete(f"{UPLOADS}/{shown['id']}")).status_code == 403
    assert (await sqlite_api.get(f"{UPLOADS}/{shown['id']}")).status_code == 200


@pytest.mark.parametrize("content_type", ["text/csv", "", "application/x-www-form-urlencoded", "multipart/mixed"])
async def test_another_content_type_is_a_415(sqlite_api: ApiFixture, content_type: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    assert (await sqlite_api.post(UPLOADS, content=b"phone\n", headers=headers)).status_code == 415


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (form(FILE), "phone_column"),
        (form(FILE, ('name="phone_column"', b"number")), "as delimiter its columns are: 'name', 'phone'"),
        (form(COLUMN), "no part `file`"),
        (form(), "no part `file`"),
        (form(FILE, FILE, COLUMN), "twice"),
        (form(COLUMN, COLUMN, FILE), "twice"),
        (form(FILE, COLUMN, ('name="skip_mobile_lookup"', b"perhaps")), "true or false"),
        (form(FILE, ('name="phone_column"', b"x" * 5_000)), "longer than"),
        (form(FILE, COLUMN, *[(f'name="f{n}"', b"") for n in range(20)]), "more than 20 parts"),
        (form(('name="file"; filename="' + "x" * 9_000 + '"', b"")), "not valid multipart"),
        ({**form(FILE, COLUMN), "content": form(FILE, COLUMN)["content"][:-6]}, "closing boundary"),
        ({**form(FILE, COLUMN), "content": b""}, "closing boundary"),
        ({**form(FILE, COLUMN), "content": b"phone\n4155552671\n"}, "not valid multipart"),
        ({**form(FILE), "headers": {"Content-Type": "multipart/form-data"}}, "boundary"),
        ({**form(FILE), "headers": {"Content-Type": "multipart/form-data; boundary=" + "x" * 500}}, "multipart"),
        (form(('name="file"', b"PK\x03\x04"), COLUMN), "spreadsheet"),
        (form(('name="file"', b""), COLUMN), "empty"),
        ({"json": {}}, "neither"),
        ({"json": {"phone_numbers": [], "contacts": []}}, "exactly one"),
        ({"json": []}, "JSON object"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, "not valid JSON"),
        ({"content": b"", "headers": {"Content-Type": "application/json"}}, "JSON object"),
    ],
)
async def test_a_malformed_upload_is_a_400_with_a_sentence_and_leaves_nothing(
    sqlite_api: ApiFixture, request_: dict[str, Any], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    refused = await sqlite_api.post(UPLOADS, **request_)
    assert refused.status_code == 400, refused.text
    assert expected in refused.json()["detail"]
    assert (await sqlite_api.get(UPLOADS)).json()["data"] == []
    assert not list(folder.iterdir())
    assert not [path for path in (tmp_path / "storage").rglob("*") if path.is_file()]


async def test_the_parts_of_a_form_may_come_in_any_order_and_any_pieces(sqlite_api: ApiFixture) -> None:
    override = ('name="filename_override"', "größe.csv".encode())
    whole = form(('name="skip_mobile_lookup"', b"1"), FILE, override, COLUMN)

    async def trickle() -> AsyncIterator[bytes]:
        for start in range(0, len(whole["content"]), 7):
            yield whole["content"][start : start + 7]

    answer = await sqlite_api.post(UPLOADS, content=trickle(), headers=whole["headers"])
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["original_filename"], shown["skip_mobile_lookup"]) == ("größe.csv", True)
    assert (shown["valid_row_count"], shown["file_size_bytes"]) == (120, len(CSV))


@pytest.mark.parametrize("announced", [True, False])
async def test_a_file_over_the_limit_is_a_413_while_it_is_read(
    sqlite_api: ApiFixture, monkeypatch: pytest.MonkeyPatch, announced: bool
) -> None:
    assert converting.MOST_FILE_BYTES == 100 * 1024 * 1024
    monkeypatch.setattr(upload_body, "MOST_FILE_BYTES", 50_000)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield form(COLUMN, FILE)["content"].split(CSV.encode())[0]
        while True:
            sent += 10_000
            yield b"4155552671\n" * 1_000

    headers = form()["headers"] | ({"Content-Length": "9" * 12} if announced else {})
    refused = await sqlite_api.post(UPLOADS, content=endless(), headers=headers)
    assert (refused.status_code, type(refused.json()["detail"])) == (413, str)
    assert sent <= (0 if announced else 100_000)
    within = await upload(sqlite_api, CSV + "Nobody,none\n" * 3_700)
    assert within.status_code == 200, within.text


async def test_more_entries_than_allowed_are_a_413(sqlite_api: ApiFixture) -> None:
    bodies: list[dict[str, Any]] = [
        {"phone_numbers": [0] * (MOST_ENTRIES + 1)},
        {"contacts": [{}] * (MOST_ENTRIES + 1)},
    ]
    for body in bodies:
        refused = await sqlite_api.post(UPLOADS, body)
        assert (refused.status_code, type(refused.json()["detail"])) == (413, str)
    within = await sqlite_api.post(UPLOADS, {"phone_numbers": ["4155552671"] * 100 + [0] * (MOST_ENTRIES - 100)})
    assert within.status_code == 200, within.text


async def test_an_idempotency_key_makes_a_repetition_the_same_upload_whatever_the_boundary(api: ApiFixture) -> None:
    key = {"Idempotency-Key": "may"}
    first = await uploaded(api, headers=key)
    again = await upload(api, headers=key)
    assert (again.json(), again.headers["Idempotency-Replayed"]) == (first, "true")
    assert len((await api.get(UPLOADS)).json()["data"]) == 1
    others: list[dict[str, Any]] = [{"skip_mobile_lookup": "true"}, {"content": contacts_csv(121)}]
    for other in others:
        refused = await upload(api, headers=key, **other)
        assert refused.status_code == 409
    assert (await uploaded(api))["id"] != first["id"]


async def test_a_refusal_does_not_use_the_idempotency_key_up(sqlite_api: ApiFixture) -> None:
    key = {"Idempotency-Key": "may"}
    assert (await upload(sqlite_api, contacts_csv(99), headers=key)).status_code == 422
    assert (await upload(sqlite_api, headers=key)).status_code == 200


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "a/b.csv", "\x07.csv", "x" * 1_000])
async def test_a_file_name_is_never_a_path(sqlite_api: ApiFixture, name: str, tmp_path: Path) -> None:
    shown = (await sqlite_api.post(UPLOADS, {"filename": name, "phone_numbers": ["4155552671"] * 100})).json()
    assert "/" not in shown["original_filename"]
    assert len(shown["original_filename"]) <= 255
    stored = [str(path.relative_to(tmp_path / "storage")) for path in (tmp_path / "storage").rglob("*.*")]
    assert stored == [shown["storage_path"]]
