"""`/operator/v1/organizations` and `/operator/v1/keys`: tenants, and the keys that let them in."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.integration.api.api_fixture import ApiFixture

ORGANIZATIONS, KEYS = "/operator/v1/organizations", "/operator/v1/keys"


async def put(api: ApiFixture, external_id: str, **body: Any) -> Any:
    return await api.call("PUT", f"{ORGANIZATIONS}/{external_id}", json=body)


async def test_an_organization_is_made_and_found_by_either_id(api: ApiFixture) -> None:
    created = await api.post(ORGANIZATIONS, {"name": " Beta ", "external_id": "b-1", "credits": 7})
    assert created.status_code == 201
    beta = created.json()
    assert beta == beta | {"name": "Beta", "external_id": "b-1", "credits": 7, "suspended_at": None}
    for identifier in (beta["id"], "b-1"):
        assert (await api.get(f"{ORGANIZATIONS}/{identifier}")).json() == beta
    taken = await api.post(ORGANIZATIONS, {"name": "Gamma", "external_id": "b-1"})
    assert taken.status_code == 409
    head = (await api.get(ORGANIZATIONS, params={"limit": 1})).json()
    assert head["data"] == [beta]
    rest = (await api.get(ORGANIZATIONS, params={"cursor": head["next_cursor"]})).json()
    assert [one["name"] for one in rest["data"]] == ["Acme"]
    for body, field in (
        ({"name": ""}, "name"),
        ({"name": "x", "external_id": "a b"}, "external_id"),
        ({"name": "x", "credits": -1}, "credits"),
        ({"nam": "x"}, "name"),
    ):
        refused = await api.post(ORGANIZATIONS, body)
        assert (refused.status_code, field in refused.json()["detail"]) == (400, True), refused.text


async def test_putting_by_external_id_makes_it_once_and_then_changes_it(api: ApiFixture) -> None:
    answers = await asyncio.gather(*(put(api, "customer-42", name="Delta") for _ in range(4)))
    assert {answer.status_code for answer in answers} == {200}
    [identifier] = {answer.json()["id"] for answer in answers}
    changed = (await put(api, "customer-42", name="Delta Ltd", credits=5)).json()
    assert (changed["id"], changed["name"], changed["credits"]) == (identifier, "Delta Ltd", 5)
    assert (await put(api, "customer-42", name="Delta Ltd")).json() == changed
    entries = (await api.get("/operator/v1/audit", params={"target_id": identifier})).json()["data"]
    assert [entry["action"] for entry in entries] == ["organization.update", "organization.create"]
    assert entries[0]["before"] == {"name": "Delta", "credits": None}
    assert (await put(api, "a%20b", name="x")).status_code == 400


async def test_a_suspended_organization_gets_nothing_done_until_it_is_resumed(api: ApiFixture) -> None:
    made = (await put(api, "customer-7", name="Epsilon")).json()
    minted = await api.post(
        KEYS, {"organization_id": made["id"], "user": "eve@example.com", "scopes": ["events:write"]}
    )
    key, event = minted.json()["key"], {"type": "upload.completed", "data": {}}
    assert (await api.post("/api/v1/events", event, key=key)).status_code == 202
    suspended = await api.post(f"{ORGANIZATIONS}/customer-7/suspend")
    assert suspended.json()["suspended_at"] is not None
    assert (await api.post("/api/v1/events", event, key=key)).status_code == 403
    assert (await api.get(f"/api/v1/events/{'evt_' + '0' * 24}", key=key)).status_code == 403
    resumed = await api.post(f"{ORGANIZATIONS}/{made['id']}/resume")
    assert resumed.json()["suspended_at"] is None
    assert (await api.post("/api/v1/events", event, key=key)).status_code == 202


async def test_a_key_is_shown_once_listed_by_its_prefix_and_revoked(api: ApiFixture) -> None:
    organization = await api.new_organization()
    body = {"organization_id": organization, "user": "Eve@Example.com", "scopes": ["webhooks:manage"]}
    minted = (await api.post(KEYS, body | {"expires_at": "2126-01-01T00:00:00Z"})).json()
    key = minted.pop("key")
    assert minted == minted | {"prefix": key[:12], "user": "eve@example.com", "scopes": ["webhooks:manage"]}
    [listed] = (await api.get(KEYS, params={"organization_id": organization})).json()["data"]
    assert listed == minted
    assert key not in json.dumps((await api.get(KEYS)).json())
    assert (await api.get("/api/v1/webhooks", key=key)).status_code == 200
    revoked = await api.post(f"{KEYS}/{listed['id']}/revoke")
    assert revoked.json()["revoked_at"] is not None
    assert (await api.get("/api/v1/webhooks", key=key)).status_code == 401
    for wrong, status, field in (
        ({"scopes": ["everything"]}, 400, "everything"),
        ({"scopes": []}, 400, "scope"),
        ({"user": "nobody"}, 400, "e-mail"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 400, "past"),
        ({"organization_id": "0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11"}, 404, "organization"),
    ):
        refused = await api.post(KEYS, body | wrong)
        assert (refused.status_code, field in refused.json()["detail"]) == (status, True), refused.text
