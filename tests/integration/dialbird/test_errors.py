"""Every code of the contract's table, and one envelope for whatever can go wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi import APIRouter
from structlog.testing import capture_logs

from api.dialbird.errors import CODES
from api.http.server.allow_header import Methods
from sendoff import errors
from sendoff.accounts import organizations
from sendoff.accounts.authentication import SCOPES
from tests.integration.api.every_route import ANY_ID, DIALBIRD
from tests.integration.dialbird.client import ME, STATUSES, SUBSCRIPTIONS, TYPE, DialbirdClient, code_of
from tests.support.app_fixture import ACTOR

URL = "https://example.com/hook"
BODY = {"event_type": TYPE, "target_url": URL}
ROUTES = [
    ("POST", SUBSCRIPTIONS, BODY),
    ("GET", SUBSCRIPTIONS, None),
    ("GET", f"{SUBSCRIPTIONS}/{ANY_ID}", None),
    ("PATCH", f"{SUBSCRIPTIONS}/{ANY_ID}", {"status": "active"}),
    ("DELETE", f"{SUBSCRIPTIONS}/{ANY_ID}", None),
    ("GET", ME, None),
]
WRITES = [route for route in ROUTES if route[2] is not None]

assert {(method, path.replace(ANY_ID, "{subscription_id}")) for method, path, _ in ROUTES} == DIALBIRD


async def test_no_token_is_missing_token(small_dialbird: DialbirdClient) -> None:
    for method, path, body in ROUTES:
        answer = await small_dialbird.call(method, path, key="", json=body)
        assert code_of(answer) == "missing_token"


async def test_a_malformed_unknown_or_revoked_token_is_invalid_token(small_dialbird: DialbirdClient) -> None:
    for method, path, body in ROUTES:
        api = small_dialbird.api
        revoked = await api.new_key("api:webhooks")
        [listed, *_] = await organizations.list_keys(api.app.context, api.app.principal.organization_id)
        await organizations.revoke_key(api.app.context, ACTOR, listed.key.id)
        good = small_dialbird.key
        for authorization in (
            good,
            f"Basic {good}",
            "Bearer",
            f"Bearer {good}x",
            f"Bearer {good.swapcase()}",
            f"Bearer {revoked}",
            "Bearer od_live_" + "A" * 32,
            "Bearer a.b.c",
        ):
            headers = {"Authorization": authorization}
            answer = await small_dialbird.call(method, path, key="", json=body, headers=headers)
            assert code_of(answer) == "invalid_token", authorization


async def test_a_token_past_its_expiry_is_expired_token(small_dialbird: DialbirdClient) -> None:
    for method, path, body in ROUTES:
        clock = small_dialbird.api.app.clock
        key = await small_dialbird.api.new_key("api:webhooks", expires_at=clock.now() + timedelta(seconds=1))
        clock.advance(1)
        assert code_of(await small_dialbird.call(method, path, key=key, json=body)) == "expired_token"


async def test_a_token_in_the_query_is_refused_even_with_one_in_the_header(small_dialbird: DialbirdClient) -> None:
    for method, path, body in [*ROUTES, ("GET", "/health", None)]:
        for value in (small_dialbird.key, "", "x"):
            answer = await small_dialbird.call(method, path, json=body, params={"access_token": value})
            assert code_of(answer) == "invalid_token"


async def test_a_token_with_every_scope_but_the_needed_one_is_insufficient_scope(
    small_dialbird: DialbirdClient,
) -> None:
    for method, path, body in [route for route in ROUTES if route[1] != ME]:
        key = await small_dialbird.api.new_key(*(scope for scope in SCOPES if scope != "api:webhooks"))
        assert code_of(await small_dialbird.call(method, path, key=key, json=body)) == "insufficient_scope"
        assert (await small_dialbird.get(ME, key=key)).status_code == 200


async def test_a_suspended_business_is_answered_business_suspended(small_dialbird: DialbirdClient) -> None:
    for method, path, body in ROUTES:
        api = small_dialbird.api
        organization_id = api.app.principal.organization_id
        await organizations.suspend_organization(api.app.context, ACTOR, organization_id, suspended=True)
        assert code_of(await small_dialbird.call(method, path, json=body)) == "business_suspended"
        assert (await api.get("/api/v1/webhooks")).status_code == 403
        await organizations.suspend_organization(api.app.context, ACTOR, organization_id, suspended=False)
        assert (await api.get("/api/v1/webhooks")).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"target_url": URL}, "event_type"),
        ({"event_type": TYPE}, "target_url"),
        ({"event_type": None, "target_url": URL}, "event_type"),
        ({"event_type": 7, "target_url": URL}, "event_type"),
        ({"event_type": [TYPE], "target_url": URL}, "event_type"),
        ({"event_type": TYPE, "target_url": 7}, "target_url"),
        ({"event_type": TYPE, "target_url": None}, "target_url"),
        ({"event_type": TYPE, "target_url": {"url": URL}}, "target_url"),
        ({"event_type": TYPE, "target_url": "https://a.example.com/\0"}, "target_url"),
    ],
    ids=str,
)
async def test_a_wrong_field_is_a_validation_error_that_names_it(
    small_dialbird: DialbirdClient, body: Any, field: str
) -> None:
    answer = await small_dialbird.post(body)
    assert (code_of(answer), answer.json()["error"]["field"]) == ("validation_error", field)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000])
async def test_a_body_other_than_a_json_object_is_a_validation_error_without_a_field(
    small_dialbird: DialbirdClient, content: bytes
) -> None:
    for method, path, _ in WRITES:
        answer = await small_dialbird.call(method, path, content=content)
        assert (answer.status_code, code_of(answer)) == (400, "validation_error")
        assert "field" not in answer.json()["error"]


async def test_a_body_that_is_too_large_or_no_json_by_its_type_is_a_validation_error(
    small_dialbird: DialbirdClient,
) -> None:
    for method, path, _ in WRITES:
        limit = small_dialbird.api.app.context.settings.body_limit_bytes
        assert (await small_dialbird.call(method, path, content=b" " * (limit + 1))).status_code == 413
        form = await small_dialbird.call(method, path, data={"event_type": TYPE})
        assert form.status_code == 415


@pytest.mark.parametrize("name", ["message.deleted", "upload.completed", "webhook.ping", "*", "", "x" * 500, "a\nb"])
async def test_an_unknown_event_type_is_invalid_event_type(small_dialbird: DialbirdClient, name: str) -> None:
    answer = await small_dialbird.post({"event_type": name, "target_url": URL})
    assert (code_of(answer), answer.json()["error"]["field"]) == ("invalid_event_type", "event_type")


async def test_a_status_that_only_deliveries_lead_to_is_unprocessable_and_another_word_is_a_validation_error(
    small_dialbird: DialbirdClient,
) -> None:
    made = await small_dialbird.subscribe(URL)
    assert code_of(await small_dialbird.patch(made["id"], {"status": "failing"})) == "unprocessable_entity"
    for body in ({"status": "on"}, {"status": 1}, {}):
        answer = await small_dialbird.patch(made["id"], body)
        assert (code_of(answer), answer.json()["error"]["field"]) == ("validation_error", "status")
    assert await small_dialbird.status(made["id"]) == "active"


@pytest.mark.parametrize(
    "path",
    [
        f"{SUBSCRIPTIONS}/{ANY_ID}",
        f"{SUBSCRIPTIONS}/1",
        f"{SUBSCRIPTIONS}/%00",
        f"{SUBSCRIPTIONS}/",
        f"{SUBSCRIPTIONS}/{ANY_ID}/deliveries",
        f"{ME}/",
        f"{ME}/business",
        "/health/",
        "/health/x",
    ],
)
async def test_unknown_ids_are_answered_404_in_the_envelope(small_dialbird: DialbirdClient, path: str) -> None:
    assert code_of(await small_dialbird.get(path)) == "not_found"


@pytest.mark.parametrize("path", ["/api/v1/subscription", "/api/v1/subscriptionsx", "/api/v1/mex", "/healthy", "/api"])
async def test_neighbouring_paths_are_not_this_surfaces(small_dialbird: DialbirdClient, path: str) -> None:
    answer = await small_dialbird.api.get(path)
    assert (answer.status_code, list(answer.json())) == (404, ["detail"])
    assert "X-RateLimit-Limit" not in answer.headers


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (SUBSCRIPTIONS, "GET, HEAD, POST"),
        (f"{SUBSCRIPTIONS}/{ANY_ID}", "DELETE, GET, HEAD, PATCH"),
        (ME, "GET, HEAD"),
        ("/health", "GET, HEAD"),
    ],
)
async def test_a_method_that_a_path_does_not_answer_is_a_405_that_names_those_it_does(
    small_dialbird: DialbirdClient, path: str, allowed: str
) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - set(allowed.split(", ")):
        answer = await small_dialbird.call(method, path)
        assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)


async def test_without_the_database_it_is_a_503_with_retry_after(small_dialbird: DialbirdClient) -> None:
    for method, path, body in ROUTES:
        async with small_dialbird.api.without_database():
            answer = await small_dialbird.call(method, path, json=body)
        assert answer.status_code == 503


class _Broken:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("the password is hunter2")


async def test_an_unexpected_error_is_internal_error_and_logged_with_the_request_id(
    small_dialbird: DialbirdClient,
) -> None:
    for method, path, body in ROUTES:
        app = small_dialbird.api.asgi
        before = app.state.context
        app.state.context = replace(before, database=_Broken())
        with capture_logs() as logs:
            answer = await small_dialbird.call(method, path, json=body, headers={"X-Request-Id": "mine"})
        app.state.context = before
        assert (code_of(answer), answer.headers["X-Request-Id"]) == ("internal_error", "mine")
        assert "hunter2" not in answer.text
        assert [log["event"] for log in logs] == ["request_failed"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidPhoneNumber("`from` is not valid E.164.", field="from"), "invalid_phone_number"),
        (errors.Forbidden(), "forbidden"),
        (errors.Gone(), "gone"),
        (errors.Conflict(), "conflict"),
        (errors.IdempotencyInProgress(), "idempotency_in_progress"),
        (errors.SendoffError(), "internal_error"),
    ],
    ids=str,
)
async def test_errors_of_added_operations_get_their_codes(
    small_dialbird: DialbirdClient, error: errors.SendoffError, code: str
) -> None:
    router = APIRouter()

    @router.get(f"{SUBSCRIPTIONS}/added/operation")
    async def operation() -> None:
        raise error

    app = small_dialbird.api.asgi
    app.include_router(router)
    app.state.methods = Methods.of(app)
    assert code_of(await small_dialbird.get(f"{SUBSCRIPTIONS}/added/operation")) == code


def test_every_code_of_the_table_is_one_of_ours_and_no_other_is() -> None:
    tokens = {f"{problem}_token" for problem in errors.TokenProblem}
    assert {*CODES.values(), *tokens, "internal_error"} == set(STATUSES)


async def test_a_callers_request_id_is_kept_and_one_of_another_form_is_replaced(
    small_dialbird: DialbirdClient,
) -> None:
    for path in (SUBSCRIPTIONS, ME, "/health", f"{SUBSCRIPTIONS}/1"):
        assert (await small_dialbird.get(path, headers={"X-Request-Id": "a-B_9"})).headers["X-Request-Id"] == "a-B_9"
        assert (await small_dialbird.get(path, headers={"X-Request-Id": "a.b"})).headers["X-Request-Id"] != "a.b"
