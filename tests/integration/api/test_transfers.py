"""What concerns the whole installation over the API: export, import, and the keys that encrypt secrets."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sendoff.store.vault import Vault
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.support.receiver import Receiver

SEAL = {"Sendoff-Seal-Key": "s" * 40}


async def test_an_installation_moves_by_its_api_once(
    sqlite_api: ApiFixture, postgres_url: str, valkey_url: str, receiver: Receiver
) -> None:
    api = sqlite_api
    auth = {"type": "bearer", "token": "bearer-value"}
    webhook = await api.register(
        receiver.url("/hook"), headers={"X-Own": "own-value"}, auth=auth, filter="data.n > 0", rate_limit=7
    )
    await api.post("/operator/v1/alert-endpoints", {"url": receiver.url("/alerts"), "events": ["endpoint.*"]})
    exported = await api.get("/operator/v1/export", headers=SEAL)
    assert exported.headers["Content-Type"] == "application/x-ndjson"
    kinds = [json.loads(line)["kind"] for line in exported.text.splitlines()]
    assert kinds[0] == "sendoff_export"
    assert {"organization", "key", "endpoint"} <= set(kinds)
    assert not any(secret in exported.text for secret in ("own-value", "bearer-value"))
    async with open_api(postgres_url, valkey_url, secret_keys="other" * 10) as other:
        content, once = exported.content, SEAL | {"Idempotency-Key": "once"}
        answers = [
            await other.post(f"/operator/v1/import{query}", content=content, headers=headers)
            for query, headers in (("?dry_run=true", SEAL), ("", once), ("", once), ("", SEAL))
        ]
        reports = [answer.json() for answer in answers]
        assert [(report["dry_run"], report["created"].get("endpoint")) for report in reports] == [
            (True, 2),
            (False, 2),
            (False, 2),
            (False, None),
        ]
        assert answers[2].headers["Idempotency-Replayed"] == "true"
        assert reports[3]["existing"]["endpoint"] == 2
        audit = (await other.get("/operator/v1/audit", params={"limit": 100})).json()["data"]
        assert [entry["action"] for entry in audit].count("import") == 1
        moved = (await other.get(f"/api/v1/webhooks/{webhook['id']}", key=api.key)).json()
        assert (moved["filter"], moved["rate_limit"]) == ("data.n > 0", 7)
        [alerts] = (await other.get("/operator/v1/alert-endpoints")).json()["data"]
        assert alerts["events"] == ["endpoint.*"]
        receiver.forget()
        await other.post(f"/api/v1/webhooks/{webhook['id']}/test", {"data": {"n": 1}}, key=api.key)
        [request] = receiver.requests("/hook")
        assert (request.header("X-Own"), request.header("Authorization")) == ("own-value", "Bearer bearer-value")
    [entry] = [
        one
        for one in (await api.get("/operator/v1/audit", params={"limit": 100})).json()["data"]
        if one["action"] == "export"
    ]
    assert entry["actor"] == f"key:{api.key[:12]}"


@pytest.mark.parametrize(
    ("method", "path", "headers", "content", "said"),
    [
        ("GET", "/operator/v1/export", {}, None, "`Sendoff-Seal-Key` is missing"),
        ("GET", "/operator/v1/export", {"Sendoff-Seal-Key": "short"}, None, "32 or more"),
        ("GET", "/operator/v1/export?organization_id=x", SEAL, None, "UUID"),
        ("POST", "/operator/v1/import", {}, b"", "`Sendoff-Seal-Key` is missing"),
        ("POST", "/operator/v1/import", SEAL, b"{}", "Line 1"),
        ("POST", "/operator/v1/import", SEAL, b"", "empty"),
    ],
)
async def test_records_that_cannot_be_moved_are_a_400_in_words(
    sqlite_api: ApiFixture, method: str, path: str, headers: dict[str, str], content: bytes | None, said: str
) -> None:
    refused = await sqlite_api.call(method, path, headers=headers, content=content)
    assert (refused.status_code, said in refused.text) == (400, True), refused.text


async def test_readers_export_nothing(sqlite_api: ApiFixture) -> None:
    reader = await sqlite_api.new_key("operator:read")
    assert (await sqlite_api.get("/operator/v1/export", headers=SEAL, key=reader)).status_code == 403


async def test_secrets_are_counted_by_key_and_encrypted_with_the_newest(
    sqlite_api: ApiFixture, receiver: Receiver
) -> None:
    await sqlite_api.register(receiver.url("/hook"))
    context = sqlite_api.app.context
    older = [key.get_secret_value() for key in context.settings.secret_keys]
    sqlite_api.asgi.state.context = replace(context, vault=Vault(["new" * 12, *older]))
    before = (await sqlite_api.get("/operator/v1/secret-keys")).json()["keys"]
    assert [(key["newest"], key["known"], key["secrets"]) for key in before] == [(True, True, 0), (False, True, 1)]
    rotated = await sqlite_api.post("/operator/v1/secret-keys/rotate")
    assert rotated.json() == {"resealed": 1, "current": 0, "unopenable": 0}
    after = (await sqlite_api.get("/operator/v1/secret-keys")).json()["keys"]
    assert [key["secrets"] for key in after] == [1, 0]
