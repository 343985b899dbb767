"""Nobody gets in: every route, without a key, with a bad one, without its scope, and with another organization's."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from sendoff.accounts import organizations
from sendoff.accounts.authentication import SCOPES
from tests.integration.api.api_fixture import ApiFixture
from tests.integration.api.every_route import ANY_ID, CALLS, Call, concrete, uncovered
from tests.support.app_fixture import ACTOR
from tests.support.receiver import Receiver

GUARDED = {route: call for route, call in CALLS.items() if call.scope is not None}
SINGLE = {route: call for route, call in GUARDED.items() if "{" in route[1]}


def request_of(call: Call) -> dict[str, Any]:
    return {} if call.body is None else {"json": call.body}


async def test_these_tests_call_every_route(sqlite_api: ApiFixture) -> None:
    assert uncovered(sqlite_api.asgi) == []


async def test_without_a_valid_key_the_answer_is_401(sqlite_api: ApiFixture) -> None:
    expired = await sqlite_api.new_key(expires_at=sqlite_api.app.clock.now() + timedelta(seconds=1))
    revoked = await sqlite_api.new_key()
    for listed in await organizations.list_keys(sqlite_api.app.context, sqlite_api.app.principal.organization_id):
        if revoked.startswith(listed.key.prefix):
            await organizations.revoke_key(sqlite_api.app.context, ACTOR, listed.key.id)
    sqlite_api.app.clock.advance(1)
    good = sqlite_api.key
    bad = [
        {},
        {"Authorization": good},
        {"Authorization": f"Basic {good}"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer od_live_"},
        {"Authorization": f"Bearer {good[:-1]}"},
        {"Authorization": f"Bearer {good}x"},
        {"Authorization": f"Bearer {good.swapcase()}"},
        {"Authorization": "Bearer od_live_" + "A" * 32},
        {"Authorization": f"Bearer {expired}"},
        {"Authorization": f"Bearer {revoked}"},
    ]
    for (method, path), call in GUARDED.items():
        answers = [
            await sqlite_api.client.request(method, concrete(path), headers=headers, **request_of(call))
            for headers in bad
        ]
        assert [answer.status_code for answer in answers] == [401] * len(bad), path
        assert {answer.headers["WWW-Authenticate"] for answer in answers} == {"Bearer"}
        assert {answer.text for answer in answers} == {answers[0].text}
        assert isinstance(answers[0].json()["detail"], str)


async def test_a_key_in_the_query_is_refused_even_with_one_in_the_header(sqlite_api: ApiFixture) -> None:
    in_query = {"access_token": sqlite_api.key}
    for (method, path), call in GUARDED.items():
        answer = await sqlite_api.call(method, concrete(path), params=in_query, **request_of(call))
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), path


async def test_a_key_with_every_scope_but_the_needed_one_is_a_403(sqlite_api: ApiFixture) -> None:
    for (method, path), call in GUARDED.items():
        key = await sqlite_api.new_key(*(scope for scope in SCOPES if scope not in call.granted_by))
        answer = await sqlite_api.call(method, concrete(path), key=key, **request_of(call))
        assert (answer.status_code, str(call.scope) in answer.json()["detail"]) == (403, True), path


async def test_the_needed_scope_alone_is_enough(sqlite_api: ApiFixture) -> None:
    for (method, path), call in GUARDED.items():
        key = await sqlite_api.new_key(str(call.scope))
        answer = await sqlite_api.call(method, concrete(path), key=key, **request_of(call))
        assert answer.status_code not in (401, 403), path


async def test_uploads_of_another_organization_are_answered_like_unknown_ones(
    api: ApiFixture, receiver: Receiver
) -> None:
    webhook = await api.register(receiver.url("/hook"))
    event = await api.publish()
    theirs = {"webhook_id": webhook["id"], "event_id": event["id"]}
    stranger = await api.new_key(organization_id=await api.new_organization())
    for (method, path), call in SINGLE.items():
        if call.across:
            continue
        real = await api.call(method, concrete(path, **theirs), key=stranger, **request_of(call))
        unreal = await api.call(method, concrete(path), key=stranger, **request_of(call))
        assert (real.status_code, real.text) == (404, unreal.text), (method, path)
    assert (await api.get("/api/v1/webhooks", key=stranger)).json() == []
    assert (await api.get(f"/api/v1/webhooks/{webhook['id']}")).json() == webhook


async def test_operators_get_404_for_unknown_ids(api: ApiFixture) -> None:
    for (method, path), call in SINGLE.items():
        for identifier in (ANY_ID, "1", "%00", "evt_1"):
            if call.across and method != "PUT":
                options = {} if call.body is None else {"json": call.body}
                answer = await api.call(method, re.sub(r"\{\w+\}", identifier, path), **options)
                assert (answer.status_code, type(answer.json()["detail"])) == (404, str), path


async def test_removing_a_user_ends_the_keys_that_this_user_minted(sqlite_api: ApiFixture) -> None:
    organization_id = sqlite_api.app.principal.organization_id
    assert (await sqlite_api.get("/api/v1/webhooks")).status_code == 200
    await organizations.remove_member(
        sqlite_api.app.context, ACTOR, organization_id=organization_id, email="dev@example.com"
    )
    assert (await sqlite_api.get("/api/v1/webhooks")).status_code == 401


async def test_events_reach_the_own_organization_alone(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/hook"))
    stranger = await api.new_key(organization_id=await api.new_organization())
    body = {"type": "upload.completed", "data": {}}
    accepted = await api.post("/api/v1/events", body, key=stranger)
    assert accepted.json()["deliveries"] == 0
