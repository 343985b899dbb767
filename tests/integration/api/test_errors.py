"""One envelope for every error, a request id on every answer, and no trace of what happened inside."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from api.http.server import middleware
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.integration.api.every_route import CALLS, concrete
from tests.support.receiver import Receiver

WITH_BODY = {route: call for route, call in CALLS.items() if call.body is not None}
LIMITED = [route for route in WITH_BODY if not route[1].endswith(("/batch", "/uploads"))]
NEEDING_DATABASE = {route: call for route, call in CALLS.items() if call.scope is not None}


def assert_enveloped(response: httpx.Response) -> None:
    assert response.headers["Content-Type"] == "application/json"
    assert re.fullmatch("[A-Za-z0-9_-]{1,64}", response.headers["X-Request-Id"])
    body = response.json()
    assert set(body) == {"detail"}
    detail = body["detail"]
    assert isinstance(detail, str) or (isinstance(detail, dict) and detail["error"])
    assert "Traceback" not in response.text


async def test_an_unknown_path_is_an_enveloped_404(sqlite_api: ApiFixture) -> None:
    for path in ("/api", "/api/v1/nothing", "/api/v1/webhooks/", "/redoc", "/%00"):
        response = await sqlite_api.get(path)
        assert response.status_code == 404, path
        assert_enveloped(response)


async def test_a_method_that_a_path_does_not_answer_is_a_405_that_names_those_it_does(sqlite_api: ApiFixture) -> None:
    for path in {path for _, path in CALLS} - {"/health"}:  # that one is Dialbird's
        answered = {method for method, known in CALLS if known == path}
        answered |= {"HEAD"} if "GET" in answered else set()
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"} - answered:
            response = await sqlite_api.call(method, concrete(path))
            assert (response.status_code, path) == (405, path)
            assert response.headers["Allow"] == ", ".join(sorted(answered))
            assert_enveloped(response)


@pytest.mark.parametrize("route", WITH_BODY, ids=" ".join)
async def test_a_body_other_than_a_json_object_is_a_400_and_another_content_type_a_415(
    sqlite_api: ApiFixture, route: tuple[str, str]
) -> None:
    cases = [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"a":1} x', "application/json", 400),
        (b"[]", "application/json", 400),
        (b"null", "application/json", 400),
        (b'"text"', "application/json", 400),
        (b"NaN", "application/json", 400),
        (b'{"url":"\xff"}', "application/json", 400),
        (b'{"url":"\\ud800"}', "application/json", 400),
        (b'{"url":"a\x00b"}', "application/json", 400),
        (b"\xef\xbb\xbf[]", "application/json", 400),
        ("{}".encode("utf-16"), "application/json; charset=utf-16", 400),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "application/json", 400),
        (b"[" * 200_000, "application/json", 400),
        (b"url=x", "application/x-www-form-urlencoded", 415),
        (b"{}", "text/plain", 415),
        (b"{}", "application/jsonp", 415),
    ]
    for content, content_type, status in cases:
        response = await sqlite_api.call(
            route[0], concrete(route[1]), content=content, headers={"Content-Type": content_type}
        )
        assert response.status_code == status, content[:20]
        assert isinstance(response.json()["detail"], str)
        assert_enveloped(response)


async def test_a_byte_order_mark_at_the_head_of_json_is_skipped(sqlite_api: ApiFixture) -> None:
    for path, body in {
        "/api/v1/events": {"type": "upload.created", "data": {}},
        "/api/v1/events/batch": {"events": [{"type": "upload.created", "data": {}}]},
        "/operator/v1/replays": {"filter": {}, "dry_run": True},
    }.items():
        response = await sqlite_api.call("POST", path, content=b"\xef\xbb\xbf" + json.dumps(body).encode())
        assert response.status_code in (200, 202), response.text


async def test_json_needs_no_content_type(sqlite_api: ApiFixture) -> None:
    response = await sqlite_api.call("POST", "/api/v1/events", content=b'{"type":"upload.created","data":{}}')
    assert response.status_code == 202


@pytest.mark.parametrize("route", LIMITED, ids=" ".join)
@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_is_a_413_and_is_not_read_to_its_end(
    sqlite_api: ApiFixture, route: tuple[str, str], announced: bool
) -> None:
    limit = sqlite_api.app.context.settings.body_limit_bytes
    taken = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(1_000):
            taken += 4096
            yield b" " * 4096

    content: Any = b" " * (limit + 1) if announced else body()
    response = await sqlite_api.call(route[0], concrete(route[1]), content=content)
    assert response.status_code == 413
    assert_enveloped(response)
    assert taken <= limit + 4096


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [("a=1&" * 5_000, 0, 414), ("", middleware.MOST_HEADERS, 431), ("a=1", middleware.MOST_HEADERS // 2, 404)],
)
async def test_a_head_that_takes_long_to_read_is_refused_before_anything_reads_it(
    sqlite_api: ApiFixture, query: str, headers: int, status: int
) -> None:
    many = {f"X-{number}": "1" for number in range(headers)}
    response = await sqlite_api.get(f"/nothing?{query}", headers=many)
    assert response.status_code == status
    assert_enveloped(response)


async def test_a_body_of_exactly_the_limit_is_read(sqlite_api: ApiFixture) -> None:
    limit = sqlite_api.app.context.settings.body_limit_bytes
    frame = json.dumps({"type": "upload.completed", "data": {"a": ""}}).encode()
    body = frame.replace(b'""', b'"' + b"x" * (limit - len(frame)) + b'"')
    assert len(body) == limit
    assert (await sqlite_api.call("POST", "/api/v1/events", content=body)).status_code == 202
    assert (await sqlite_api.call("POST", "/api/v1/events", content=body + b" ")).status_code == 413


async def test_a_body_that_does_not_arrive_in_time_is_a_408_that_ends_the_connection(
    sqlite_url: str, valkey_url: str
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with open_api(sqlite_url, valkey_url, body_timeout_seconds=0.05) as api:
        for method, path in WITH_BODY:
            headers = {"Content-Type": "application/json"}
            response = await api.call(method, concrete(path), content=body(), headers=headers)
            assert (response.status_code, response.headers["Connection"]) == (408, "close"), path
            assert_enveloped(response)


async def test_a_body_that_trickles_is_a_408_before_the_total_time_ends(
    sqlite_api: ApiFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "BODY_GRACE_SECONDS", 0.1)
    monkeypatch.setattr(middleware, "LEAST_BODY_BYTES_PER_SECOND", 1_000)

    async def body(bytes_per_second: int) -> AsyncIterator[bytes]:
        for _ in range(20):
            await asyncio.sleep(0.02)
            yield b" " * (bytes_per_second // 50)

    for rate, status in ((100, 408), (100_000, 400)):
        response = await sqlite_api.call("POST", "/api/v1/events", content=body(rate))
        assert response.status_code == status


@pytest.mark.parametrize("route", WITH_BODY, ids=" ".join)
async def test_a_compressed_body_is_a_415_that_names_what_is_accepted(
    sqlite_api: ApiFixture, route: tuple[str, str]
) -> None:
    headers = {"Content-Type": "application/json"}
    for encoding in ("gzip", "GZIP", "br", "deflate, gzip", "zstd", "identity, gzip"):
        response = await sqlite_api.call(
            route[0], concrete(route[1]), content=b"\x1f\x8b", headers={**headers, "Content-Encoding": encoding}
        )
        assert (response.status_code, response.headers["Accept-Encoding"]) == (415, "identity")
        assert_enveloped(response)
    plain = {**headers, "Content-Encoding": "identity"}
    assert (await sqlite_api.call(route[0], concrete(route[1]), content=b"[", headers=plain)).status_code == 400


# Callers log the answers they get, so a credential in the wrong field is not given back.
CREDENTIALS = {
    "od_live_": "od_live_0123456789abcdefghijklmnopqrstuv",
    "whsec_": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "eyJ": "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.aB3-_",
    "": "0f" * 32,
}


@pytest.mark.parametrize("mark", CREDENTIALS)
async def test_an_answer_does_not_repeat_a_credential_that_stood_in_the_wrong_field(
    sqlite_api: ApiFixture, mark: str
) -> None:
    credential = CREDENTIALS[mark]
    for path, body in {
        "/api/v1/events": {"type": credential, "data": {}},
        "/api/v1/webhooks": {"url": "https://example.com/", "events": [credential]},
        "/api/v1/subscriptions": {"event_type": credential, "target_url": "https://example.com/"},
    }.items():
        response = await sqlite_api.post(path, body)
        assert response.status_code == 400
        assert f"'{mark}[redacted]'" in response.text
        assert credential not in response.text


async def test_authentication_comes_before_the_body(sqlite_api: ApiFixture) -> None:
    for route in WITH_BODY:
        big = b" " * (sqlite_api.app.context.settings.body_limit_bytes + 1)
        for content in (b"{", big):
            response = await sqlite_api.call(route[0], concrete(route[1]), key="", content=content)
            assert response.status_code == 401


async def test_without_the_database_every_route_is_a_503_with_retry_after(sqlite_api: ApiFixture) -> None:
    async with sqlite_api.without_database():
        for (method, path), call in NEEDING_DATABASE.items():
            response = await sqlite_api.call(method, concrete(path), json=call.body)
            assert (response.status_code, response.headers["Retry-After"]) == (503, "5"), path
            assert_enveloped(response)


async def test_an_unexpected_error_is_a_500_without_details_and_logged_with_the_request_id(
    sqlite_api: ApiFixture,
) -> None:
    sqlite_api.asgi.state.context = replace(sqlite_api.asgi.state.context, database=_Broken(), _services={})
    for (method, path), call in NEEDING_DATABASE.items():
        with capture_logs() as logs:
            response = await sqlite_api.call(method, concrete(path), json=call.body, headers={"X-Request-Id": "mine"})
        assert (response.status_code, response.headers["X-Request-Id"]) == (500, "mine"), path
        assert_enveloped(response)
        assert "hunter2" not in response.text
        assert [log["event"] for log in logs] == ["request_failed"]


async def test_a_503_is_logged_with_its_reason_and_a_4xx_for_who_asks(sqlite_api: ApiFixture) -> None:
    with capture_logs() as logs:
        async with sqlite_api.without_database():
            await sqlite_api.get("/api/v1/webhooks", headers={"X-Request-Id": "mine"})
        await sqlite_api.get("/api/v1/webhooks/nothing")
    lines = [log for log in logs if log["event"] == "request_refused"]
    assert [(line["log_level"], line["status"]) for line in lines] == [("warning", 503), ("debug", 404)]
    assert (lines[0]["path"], lines[0]["request_id"], lines[0]["error"]) == ("/api/v1/webhooks", "mine", "Unavailable")
    assert "ConnectionRefusedError: nobody listens" in lines[0]["because"]


class _Broken:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("the password is hunter2")


async def test_a_callers_request_id_is_kept(sqlite_api: ApiFixture) -> None:
    for given in ("a", "A-b_9", "x" * 64, "req_8f3c2c1d"):
        for path in ("/health", "/api/v1/webhooks", "/nothing"):
            response = await sqlite_api.get(path, headers={"X-Request-Id": given})
            assert response.headers["X-Request-Id"] == given


async def test_a_request_id_of_another_form_is_replaced(sqlite_api: ApiFixture) -> None:
    for given in (b"", b"x" * 65, b"a b", b"a/b", b"\xc3\xa4", b"a\xff", b"a\tb", b"a,b"):
        response = await sqlite_api.client.get("/health", headers=[(b"X-Request-Id", given)])
        assert re.fullmatch("req_[0-9a-f]{16}", response.headers["X-Request-Id"])


async def test_each_request_gets_an_id_of_its_own_that_its_log_lines_and_audit_entries_carry(
    sqlite_api: ApiFixture, receiver: Receiver
) -> None:
    first, second = await asyncio.gather(sqlite_api.get("/health"), sqlite_api.get("/health"))
    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]
    body = {"url": receiver.url("/hook")}
    await sqlite_api.post("/api/v1/webhooks", body, headers={"X-Request-Id": "made-it"})
    [entry] = (await sqlite_api.get("/operator/v1/audit", params={"action": "endpoint.create"})).json()["data"]
    assert (entry["request_id"], entry["actor"]) == ("made-it", f"key:{sqlite_api.key[:12]}")
