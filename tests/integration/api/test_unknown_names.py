"""Unknown fields and query parameters are refused on every surface, and the error names the nearest known one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.api.api_fixture import ApiFixture
from tests.integration.api.every_route import CALLS, DIALBIRD, LINES, concrete

URL = "https://example.com/hook"
MISSPELLED: list[tuple[str, str, dict[str, Any], str, str | None]] = [
    ("POST", "/api/v1/webhooks", {"url": URL, "desciption": "x"}, "desciption", "description"),
    ("POST", "/api/v1/webhooks", {"url": URL, "Events": []}, "Events", "events"),
    ("PATCH", "/api/v1/webhooks/{webhook_id}", {"isActive": True}, "isActive", "is_active"),
    ("POST", "/api/v1/webhooks/{webhook_id}/rotate-secret", {"overlap": 1}, "overlap", None),
    ("POST", "/api/v1/subscriptions", {"event_type": "x", "target_uri": URL}, "target_uri", "target_url"),
    ("PATCH", "/api/v1/subscriptions/{subscription_id}", {"state": "active"}, "state", "status"),
    ("POST", "/api/v1/events", {"type": "x", "data": {}, "ocurred_at": None}, "ocurred_at", "occurred_at"),
    ("POST", "/api/v1/events/batch", {"event": []}, "event", "events"),
    ("POST", "/api/v1/events/batch", {"events": [{"typ": "x", "data": {}}]}, "events[0].typ", "type"),
    ("POST", "/operator/v1/replays", {"filter": {"reasons": "x"}}, "filter.reasons", "reason"),
    ("POST", "/operator/v1/replays", {"filter": {}, "dryrun": True}, "dryrun", "dry_run"),
    ("PATCH", "/operator/v1/endpoints/{endpoint_id}", {"rate_limits": 5}, "rate_limits", "rate_limit"),
]


@pytest.mark.parametrize(("method", "path", "body", "field", "nearest"), MISSPELLED)
async def test_an_unknown_field_is_a_400_with_the_nearest_known_one(
    sqlite_api: ApiFixture, method: str, path: str, body: dict[str, Any], field: str, nearest: str | None
) -> None:
    response = await sqlite_api.call(method, concrete(path), json=body)
    assert response.status_code == 400, response.text
    assert f"`{field}` is not a known field" in response.text
    assert nearest is None or f"`{nearest}`" in response.text
    if "subscriptions" in path:
        error = response.json()["error"]
        assert (error["code"], error["field"]) == ("validation_error", field)


@pytest.mark.parametrize(
    ("method", "path"), sorted((CALLS.keys() | DIALBIRD) - {route for route in CALLS if CALLS[route].scope is None})
)
async def test_an_unknown_query_parameter_is_a_400_on_every_route_that_needs_a_scope(
    sqlite_api: ApiFixture, method: str, path: str
) -> None:
    call = CALLS.get((method, path))
    body = {} if call is None or call.body is None else {"json": call.body}
    if path == "/api/v1/uploads" and method == "POST":
        body = {"content": b"{}", "headers": {"Content-Type": "application/json"}}
    for query in ("colour=red", "limit=1&curser=", "LIMIT=3"):
        response = await sqlite_api.call(method, f"{concrete(path)}?{query}", **body)
        assert (response.status_code, "is not a known query parameter" in response.text) == (400, True), response.text
    refused = await sqlite_api.call(method, f"{concrete(path)}?colour=red", key="", **body)
    assert refused.status_code == 401


TAKING_FIELDS = sorted(
    (method, path)
    for method, path in (CALLS.keys() | DIALBIRD) - LINES
    if method in ("POST", "PUT", "PATCH", "DELETE") and ((method, path) in DIALBIRD or CALLS[method, path].scope)
)


@pytest.mark.parametrize(("method", "path"), TAKING_FIELDS)
async def test_an_unknown_field_is_a_400_on_every_route_that_changes_something(
    sqlite_api: ApiFixture, method: str, path: str
) -> None:
    call = CALLS.get((method, path))
    known = call.body if call is not None and isinstance(call.body, dict) else {}
    response = await sqlite_api.call(method, concrete(path), json={**known, "colour": "red"})
    assert (response.status_code, "`colour` is not a known field" in response.text) == (400, True), response.text


async def test_the_name_that_clients_use_is_the_nearest(sqlite_api: ApiFixture) -> None:
    refused = await sqlite_api.post("/api/v1/webhooks", {"url": URL, "metadat": {}})
    assert "the nearest one is `metadata`" in refused.json()["detail"]


async def test_the_nearest_query_parameter_is_named(sqlite_api: ApiFixture) -> None:
    for path, misspelled, known in (
        ("/operator/v1/deliveries", "endpont_id", "endpoint_id"),
        ("/api/v1/uploads", "limits", "limit"),
        ("/operator/v1/audit", "sinse", "since"),
    ):
        response = await sqlite_api.get(path, params={misspelled: "1"})
        assert f"`{misspelled}` is not a known query parameter; the nearest one is `{known}`." in response.text


async def test_health_checks_may_carry_any_query(sqlite_api: ApiFixture) -> None:
    for path in ("/health", "/ready", "/metrics"):
        assert (await sqlite_api.get(f"{path}?probe=1", key="")).status_code == 200


@pytest.mark.parametrize(
    ("number", "status"),
    [("60.0", 200), ("6e1", 200), ("60.5", 400), ("1e400", 400), ("9" * 5_000, 400), ("-0.0", 400)],
)
async def test_an_integer_may_be_spelled_as_json_allows(sqlite_api: ApiFixture, number: str, status: int) -> None:
    body = b'{"filter":{},"dry_run":true,"rate":' + number.encode() + b"}"
    response = await sqlite_api.call("POST", "/operator/v1/replays", content=body)
    assert response.status_code == status, response.text


@pytest.mark.parametrize(
    ("text", "half"),
    [
        (r"\ud83d", r"\ud83d"),
        (r"\uDE00", r"\uDE00"),
        (r"a\ud83dA", r"\ud83d"),
        (r"\ude00\ud83d", r"\ude00"),
        (r"\ud83d\ude00\ud83d", r"\ud83d"),
        (r"\\\ud83d", r"\ud83d"),
        (r"\ud83d\ud83d\ude00", r"\ud83d"),
    ],
)
async def test_half_of_a_surrogate_pair_is_the_reason_that_is_given(
    sqlite_api: ApiFixture, text: str, half: str
) -> None:
    for path, body in {
        "/api/v1/events": '{"type":"upload.created","data":{"a":"%s"}}',
        "/api/v1/events/batch": '{"events":[{"type":"upload.created","data":{"a":"%s"}}]}',
    }.items():
        response = await sqlite_api.call("POST", path, content=(body % text).encode())
        assert response.status_code == 400
        assert f"`{half}`" in response.json()["detail"]
        assert "surrogate" in response.json()["detail"]


@pytest.mark.parametrize("text", [r"\ud83d\ude00", r"\\ud83d", r"\\\\ude00", "é", r"\u00e9"])
async def test_whole_pairs_and_escaped_backslashes_are_text(sqlite_api: ApiFixture, text: str) -> None:
    body = f'{{"type":"upload.created","data":{{"a":"{text}"}}}}'
    assert (await sqlite_api.call("POST", "/api/v1/events", content=body.encode())).status_code == 202


@pytest.mark.parametrize(
    ("value", "status"),
    [("9" * 4_300, 202), ("9" * 4_301, 400), ("-" + "1" * 5_000, 400), (json.dumps("9" * 9_000), 202), ("1e400", 202)],
)
async def test_a_number_that_receivers_cannot_read_is_a_400_that_says_so(
    sqlite_api: ApiFixture, value: str, status: int
) -> None:
    body = f'{{"type":"upload.created","data":{{"n":[{value}]}}}}'
    response = await sqlite_api.call("POST", "/api/v1/events", content=body.encode())
    assert response.status_code == status
    assert status == 202 or "receivers cannot read" in response.json()["detail"]


async def test_an_empty_cursor_is_the_first_page(sqlite_api: ApiFixture) -> None:
    for path in (path for method, path in CALLS if method == "GET" and path in LISTS):
        first = await sqlite_api.get(path)
        empty = await sqlite_api.get(f"{path}?cursor=")
        assert (empty.status_code, empty.json()) == (200, first.json())


LISTS = {"/api/v1/uploads"} | {
    f"/operator/v1/{name}"
    for name in ("dead-letters", "replays", "deliveries", "endpoints", "audit", "events", "organizations", "keys")
}


@pytest.mark.parametrize("path", sorted({path for method, path in CALLS.keys() | DIALBIRD if method == "GET"}))
async def test_head_is_answered_wherever_get_is_without_a_body(sqlite_api: ApiFixture, path: str) -> None:
    got = await sqlite_api.get(concrete(path))
    head = await sqlite_api.call("HEAD", concrete(path))
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["Content-Type"] == got.headers["Content-Type"]
