"""A request's id is found again in whatever the request caused."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from sendoff.uploads.process import process_upload
from sendoff.uploads.services import UploadServices
from tests.integration.api.api_fixture import ApiFixture
from tests.support.receiver import Receiver

MINE = {"X-Request-Id": "from-my-browser_1"}
ID = MINE["X-Request-Id"]
UPLOAD = {"phone_numbers": [f"+1415555{number:04d}" for number in range(150, 300)]}


@contextmanager
def captured_log() -> Iterator[list[MutableMapping[str, Any]]]:
    """The lines that are written in the block, with what is bound to them."""
    captured = LogCapture()
    before = structlog.get_config()["processors"]
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, captured])
    try:
        yield captured.entries
    finally:
        structlog.configure(processors=before)


async def test_the_event_and_its_deliveries_carry_the_id_of_the_request_that_published_them(
    api: ApiFixture, receiver: Receiver
) -> None:
    await api.register(receiver.url("/hook"))
    bodies: dict[str, Any] = {
        "/api/v1/events": {"type": "upload.completed", "data": {}},
        "/api/v1/events/batch": {"events": [{"type": "upload.completed", "data": {}}]},
    }
    for path, body in bodies.items():
        for key in ({}, {"Idempotency-Key": path}):
            accepted = (await api.post(path, body, headers=MINE | key)).json()
            event_id = accepted.get("id") or accepted["events"][0]["id"]
            assert (await api.get(f"/api/v1/events/{event_id}")).json()["request_id"] == ID
            [listed] = (await api.get("/operator/v1/deliveries", params={"event_id": event_id})).json()["data"]
            assert listed["request_id"] == ID
            assert (await api.get(f"/operator/v1/deliveries/{listed['id']}")).json()["request_id"] == ID


async def test_every_event_of_an_upload_carries_the_id_of_the_request_that_made_the_upload(
    api: ApiFixture, receiver: Receiver
) -> None:
    types = ["upload.created", "upload.completed", "upload.failed"]
    await api.register(receiver.url("/hook"), events=types)
    processed, lost = [
        (await api.post("/api/v1/uploads", UPLOAD, headers={"X-Request-Id": name})).json() for name in ("one", "two")
    ]
    await UploadServices.of(api.app.context).storage.delete(lost["storage_path"])
    assert await process_upload(api.app.context, processed["id"]) == "completed"
    assert await process_upload(api.app.context, lost["id"]) == "failed"
    listed = (await api.get("/operator/v1/deliveries")).json()["data"]
    assert sorted((each["request_id"], each["event_type"]) for each in listed) == [
        ("one", "upload.completed"),
        ("one", "upload.created"),
        ("two", "upload.created"),
        ("two", "upload.failed"),
    ]


async def test_log_lines_about_an_upload_carry_the_id_of_its_request(
    sqlite_api: ApiFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = (await sqlite_api.post("/api/v1/uploads", UPLOAD, headers=MINE)).json()

    async def fail(*_: Any, **__: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(UploadServices.of(sqlite_api.app.context).storage, "put", fail)
    with captured_log() as lines:
        assert await process_upload(sqlite_api.app.context, upload["id"]) == "ready_for_processing"
    assert [(line["event"], line["request_id"]) for line in lines] == [("upload_retry_scheduled", ID)]


async def test_the_log_line_of_a_failed_attempt_carries_the_id_of_the_request_that_caused_it(
    api: ApiFixture, receiver: Receiver
) -> None:
    receiver.program("/hook", 200, 500)
    await api.register(receiver.url("/hook"))
    event = {"type": "upload.completed", "data": {}}
    assert (await api.post("/api/v1/events", event, headers=MINE)).status_code == 202
    with captured_log() as lines:
        await api.app.work()
    assert [line["request_id"] for line in lines if line["event"] == "attempt_failed"] == [ID]


async def test_audit_entries_of_every_surface_carry_the_id_of_their_request(
    api: ApiFixture, receiver: Receiver
) -> None:
    webhook = (await api.post("/api/v1/webhooks", {"url": receiver.url("/hook")}, headers=MINE)).json()["webhook"]
    path = f"/api/v1/webhooks/{webhook['id']}"
    await api.patch(path, {"description": "x"}, headers=MINE)
    await api.post(f"{path}/rotate-secret", headers=MINE)
    await api.post(f"/operator/v1/endpoints/{webhook['id']}/disable", headers=MINE)
    await api.post("/operator/v1/replays", {"filter": {}, "all": True}, headers=MINE)
    await api.delete(path, headers=MINE)
    subscription = {"event_type": "call.incoming.completed", "target_url": "https://example.com/"}
    await api.post("/api/v1/subscriptions", subscription, headers=MINE)
    entries = (await api.get("/operator/v1/audit", params={"limit": 100})).json()["data"]
    caused = [entry["action"] for entry in entries if entry["request_id"] == ID]
    assert caused == [
        "endpoint.create",
        "endpoint.delete",
        "replay.start",
        "endpoint.disable",
        "endpoint.rotate_secret",
        "endpoint.update",
        "endpoint.create",
    ]


async def test_log_lines_carry_the_id_of_the_request_that_they_were_written_in(sqlite_api: ApiFixture) -> None:
    with captured_log() as lines:
        async with sqlite_api.without_redis():
            await sqlite_api.delete("/api/v1/webhooks/1", headers=MINE)
            await sqlite_api.get("/api/v1/me", headers=MINE)
            await sqlite_api.get("/ready", headers=MINE)
    said = [line["event"] for line in lines if line["event"] != "request_refused"]
    assert said == ["rate_limit_skipped", "rate_limit_skipped", "not_ready"]
    assert {line["request_id"] for line in lines} == {ID}
