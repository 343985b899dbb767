"""Every change of configuration and every manual send stands in the audit log: who, when, what before, what after."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from sendoff.accounts import organizations
from sendoff.operators.installation.workers import Heartbeat
from tests.integration.api.api_fixture import ApiFixture
from tests.integration.api.every_route import api_routes
from tests.support.app_fixture import ACTOR
from tests.support.receiver import Receiver

ACTIONS = {
    ("POST", "/api/v1/webhooks"): "endpoint.create",
    ("PATCH", "/api/v1/webhooks/{webhook_id}"): "endpoint.update",
    ("POST", "/api/v1/webhooks/{webhook_id}/rotate-secret"): "endpoint.rotate_secret",
    ("DELETE", "/api/v1/webhooks/{webhook_id}"): "endpoint.delete",
    ("POST", "/api/v1/subscriptions"): "endpoint.create",
    ("PATCH", "/api/v1/subscriptions/{subscription_id}"): "endpoint.update",
    ("DELETE", "/api/v1/subscriptions/{subscription_id}"): "endpoint.delete",
    ("PATCH", "/operator/v1/endpoints/{endpoint_id}"): "endpoint.update",
    ("POST", "/operator/v1/endpoints/{endpoint_id}/disable"): "endpoint.disable",
    ("POST", "/operator/v1/endpoints/{endpoint_id}/enable"): "endpoint.enable",
    ("POST", "/operator/v1/alert-endpoints"): "endpoint.create",
    ("PATCH", "/operator/v1/alert-endpoints/{alert_endpoint_id}"): "endpoint.update",
    ("POST", "/operator/v1/alert-endpoints/{alert_endpoint_id}/rotate-secret"): "endpoint.rotate_secret",
    ("DELETE", "/operator/v1/alert-endpoints/{alert_endpoint_id}"): "endpoint.delete",
    ("POST", "/operator/v1/deliveries/{delivery_id}/retry"): "delivery.retry",
    ("POST", "/api/v1/deliveries/{delivery_id}/retry"): "delivery.retry",
    ("POST", "/api/v1/webhooks/{webhook_id}/recover"): "replay.start",
    ("POST", "/operator/v1/dead-letters/{dead_letter_id}/discard"): "dead_letter.discard",
    ("POST", "/operator/v1/dead-letters/discard"): "dead_letters.discard",
    ("POST", "/operator/v1/replays"): "replay.start",
    ("POST", "/operator/v1/replays/{replay_id}/cancel"): "replay.cancel",
    ("POST", "/operator/v1/workers/{worker_id}/drain"): "worker.drain",
    ("POST", "/operator/v1/organizations"): "organization.create",
    ("PUT", "/operator/v1/organizations/{organization}"): "organization.update",
    ("PATCH", "/operator/v1/organizations/{organization}"): "organization.set_credits",
    ("DELETE", "/operator/v1/organizations/{organization}/members/{user}"): "member.remove",
    ("POST", "/operator/v1/event-types"): "event_type.create",
    ("PATCH", "/operator/v1/event-types/{name}"): "event_type.update",
    ("DELETE", "/operator/v1/event-types/{name}"): "event_type.delete",
    ("POST", "/operator/v1/secret-keys/rotate"): "secrets.rotate_keys",
    ("POST", "/operator/v1/import"): "import",
    ("POST", "/operator/v1/organizations/{organization}/suspend"): "organization.suspend",
    ("POST", "/operator/v1/organizations/{organization}/resume"): "organization.resume",
    ("POST", "/operator/v1/keys"): "key.create",
    ("POST", "/operator/v1/keys/{key_id}/revoke"): "key.revoke",
    ("POST", "/api/v1/portal-links"): "page_link.create",
    ("POST", "/operator/v1/portal-links"): "page_link.create",
    ("DELETE", "/api/v1/portal-sessions"): "page_sessions.end",
}
"""Routes that change configuration or send by hand, with what the log calls it."""

OF_THE_INSTALLATION = {"secrets.rotate_keys", "import"}
"""What changes something only beside a second key or a second installation, which `test_transfers.py` has."""

TRAFFIC = {
    ("POST", "/api/v1/events"),
    ("POST", "/api/v1/events/batch"),
    ("POST", "/api/v1/uploads"),
    ("DELETE", "/api/v1/uploads/{upload_id}"),
    ("DELETE", "/api/v1/uploads/{upload_id}/files"),
    ("POST", "/api/v1/webhooks/{webhook_id}/test"),
    ("POST", "/operator/v1/alert-endpoints/{alert_endpoint_id}/test"),
    ("POST", "/api/v1/listen/{event_id}/answer"),
}
"""Routes that write what the product is for; their rows are their own record."""

READS = {"GET", "HEAD"}


async def test_every_route_that_writes_is_audited_or_known_to_be_traffic(sqlite_api: ApiFixture) -> None:
    writing = {(route.method, route.path) for route in api_routes(sqlite_api.asgi) if route.method not in READS}
    assert writing == ACTIONS.keys() | TRAFFIC


async def logged(api: ApiFixture, **chosen: str) -> list[dict[str, Any]]:
    """Entries, oldest first."""
    found: list[dict[str, Any]] = (await api.get("/operator/v1/audit", params=chosen)).json()["data"]
    return found[::-1]


async def start_worker(api: ApiFixture) -> str:
    """The id of a worker that says that it is alive."""
    await Heartbeat(api.app.context, slots=1).beat(in_flight=0)
    [worker] = (await api.get("/operator/v1/workers")).json()["data"]
    return str(worker["id"])


async def do_everything(api: ApiFixture, receiver: Receiver) -> list[str]:  # noqa: PLR0915 - a call for each route
    """Call each of the routes so that it succeeds; what was done, in its order."""
    done: list[str] = []
    ids = {"worker_id": await start_worker(api)}

    async def do(method: str, path: str, body: Any = None) -> Any:
        options = {} if body is None else {"json": body}
        headers = {"X-Request-Id": f"request-{len(done)}"}
        answer = await api.call(method, path.format(**ids), headers=headers, **options)
        assert answer.is_success, (method, path, answer.text)
        done.append(ACTIONS[method, path])
        return answer.json() if answer.content else None

    created = await do("POST", "/api/v1/webhooks", {"url": receiver.url("/hook?token=hush")})
    ids["webhook_id"] = ids["endpoint_id"] = created["webhook"]["id"]
    await do("POST", "/operator/v1/workers/{worker_id}/drain")
    await do("PATCH", "/api/v1/webhooks/{webhook_id}", {"description": "New"})
    await do("POST", "/api/v1/webhooks/{webhook_id}/rotate-secret")
    subscription = {"event_type": "call.incoming.completed", "target_url": receiver.url("/calls")}
    ids["subscription_id"] = (await do("POST", "/api/v1/subscriptions", subscription))["id"]
    await do("PATCH", "/api/v1/subscriptions/{subscription_id}", {"status": "disabled"})
    await do("DELETE", "/api/v1/subscriptions/{subscription_id}")
    alert = {"url": receiver.url("/alerts"), "events": ["replay.finished"]}
    ids["alert_endpoint_id"] = (await do("POST", "/operator/v1/alert-endpoints", alert))["id"]
    await do("PATCH", "/operator/v1/alert-endpoints/{alert_endpoint_id}", {"description": "Pager"})
    await do("POST", "/operator/v1/alert-endpoints/{alert_endpoint_id}/rotate-secret")
    await do("DELETE", "/operator/v1/alert-endpoints/{alert_endpoint_id}")

    receiver.program("/hook", 500)
    await api.publish()
    for wait in (0.0, *api.app.context.settings.retry_schedule):
        api.app.clock.advance(wait)
        await api.app.work()
    [letter] = (await api.get("/operator/v1/dead-letters")).json()["data"]
    ids["delivery_id"] = letter["delivery_id"]
    await do("POST", "/operator/v1/deliveries/{delivery_id}/retry")
    await api.app.work()
    await do("POST", "/api/v1/deliveries/{delivery_id}/retry")
    await api.app.work()
    await do("POST", "/api/v1/webhooks/{webhook_id}/recover", {"since": "2100-01-01T00:00:00Z"})
    again = {"filter": {"delivery_ids": [letter["delivery_id"]]}, "rate": 1}
    api.app.clock.advance(100_000)
    await api.app.work()
    ids["replay_id"] = (await do("POST", "/operator/v1/replays", again))["id"]
    await do("POST", "/operator/v1/replays/{replay_id}/cancel")
    [letter] = (await api.get("/operator/v1/dead-letters", params={"state": "open"})).json()["data"]
    ids["dead_letter_id"] = letter["id"]
    await do("POST", "/operator/v1/dead-letters/{dead_letter_id}/discard")
    await do("POST", "/operator/v1/dead-letters/discard", {"filter": {}, "all": True})
    await do("PATCH", "/operator/v1/endpoints/{endpoint_id}", {"rate_limit": 5})
    await do("POST", "/operator/v1/endpoints/{endpoint_id}/disable")
    await do("POST", "/operator/v1/endpoints/{endpoint_id}/enable")
    await do("DELETE", "/api/v1/webhooks/{webhook_id}")
    await do_to_a_tenant(do, ids)
    await do("POST", "/api/v1/portal-links")
    await do("POST", "/operator/v1/portal-links", {"organization_id": api.app.principal.organization_id})
    await do("DELETE", "/api/v1/portal-sessions")
    return done


async def do_to_a_tenant(do: Callable[..., Awaitable[Any]], ids: dict[str, str]) -> None:
    """The part about organizations and their keys."""
    tenant = await do("POST", "/operator/v1/organizations", {"name": "Other", "external_id": "customer-42"})
    ids["organization"] = "customer-42"
    await do("PUT", "/operator/v1/organizations/{organization}", {"name": "Another"})
    await do("POST", "/operator/v1/organizations/{organization}/suspend")
    await do("POST", "/operator/v1/organizations/{organization}/resume")
    new_key = {"organization_id": tenant["id"], "user": "eve@example.com", "scopes": ["events:write"]}
    ids["key_id"] = (await do("POST", "/operator/v1/keys", new_key))["id"]
    await do("POST", "/operator/v1/keys/{key_id}/revoke")
    await do("PATCH", "/operator/v1/organizations/{organization}", {"credits": 7})
    ids |= {"user": "eve@example.com", "name": "invoice.paid"}
    await do("DELETE", "/operator/v1/organizations/{organization}/members/{user}")
    await do("POST", "/operator/v1/event-types", {"name": "invoice.paid", "schema": {"type": "object"}})
    await do("PATCH", "/operator/v1/event-types/{name}", {"schema": None})
    await do("DELETE", "/operator/v1/event-types/{name}")


async def test_every_write_is_logged_with_its_actor_its_request_and_what_changed(
    api: ApiFixture, receiver: Receiver
) -> None:
    done = await do_everything(api, receiver)
    assert set(done) == set(ACTIONS.values()) - OF_THE_INSTALLATION
    entries = await logged(api, actor=f"key:{api.key[:12]}")
    assert [entry["action"] for entry in entries] == done
    assert [entry["request_id"] for entry in entries] == [f"request-{number}" for number in range(len(done))]
    by_action = {entry["action"]: entry for entry in entries}
    assert by_action["endpoint.enable"]["before"] == {"state": "disabled"}
    assert by_action["endpoint.enable"]["after"] == {"state": "active"}
    assert by_action["dead_letter.discard"]["before"] == {"state": "open"}
    assert by_action["replay.cancel"]["after"] == {"state": "cancelled", "replayed": 0}
    update = next(entry for entry in entries if entry["action"] == "endpoint.update")
    assert (update["before"]["description"], update["after"]["description"]) == (None, "New")
    limited = [entry for entry in entries if entry["action"] == "endpoint.update"][-1]
    assert (limited["before"]["rate_limit"], limited["after"]["rate_limit"]) == (None, 5)
    assert all(entry["before"] or entry["after"] for entry in entries)
    assert "hush" not in json.dumps(entries)


async def test_an_endpoint_that_the_product_switches_off_is_logged_as_its_own_doing(
    api: ApiFixture, receiver: Receiver
) -> None:
    webhook = await api.register(receiver.url("/hook"))
    receiver.program("/hook", 410)
    await api.publish()
    await api.app.work()
    [entry] = await logged(api, actor="worker")
    assert (entry["action"], entry["target_id"]) == ("endpoint.disable", webhook["id"])
    assert entry["organization_id"] == webhook["organization_id"]
    assert (entry["before"], entry["after"]["state"]) == ({"state": "active"}, "gone")


async def test_refused_changes_are_not_logged(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hook"))
    before = await logged(api)
    receiver.program("/bad", 500)
    path = f"/api/v1/webhooks/{webhook['id']}"
    assert (await api.patch(path, {"url": receiver.url("/bad")})).status_code == 400
    assert (await api.patch(path, {"events": ["no.such.type"]})).status_code == 400
    assert (await api.post("/api/v1/webhooks", {"url": receiver.url("/bad")})).status_code == 400
    stranger = await api.new_key(organization_id=await api.new_organization())
    assert (await api.delete(path, key=stranger)).status_code == 404
    assert (await api.post(f"{path}/rotate-secret", key=stranger)).status_code == 404
    assert [entry for entry in await logged(api) if entry["target_type"] == "endpoint"] == [
        entry for entry in before if entry["target_type"] == "endpoint"
    ]


async def test_commands_are_in_the_audit_log_and_keys_are_not(sqlite_api: ApiFixture) -> None:
    context = sqlite_api.app.context
    organization = await organizations.create_organization(context, ACTOR, name="New", credits=None)
    await organizations.set_credits(context, ACTOR, organization.id, 5)
    mail = "ada@example.com"
    minted = await organizations.create_key(
        context, ACTOR, organization_id=organization.id, email=mail, scopes=["webhooks:manage"]
    )
    await organizations.revoke_key(context, ACTOR, minted.id)
    await organizations.suspend_organization(context, ACTOR, organization.id, suspended=True)
    await organizations.suspend_organization(context, ACTOR, organization.id, suspended=False)
    await organizations.remove_member(context, ACTOR, organization_id=organization.id, email=mail)
    entries = await logged(sqlite_api, organization_id=organization.id)
    assert [entry["action"] for entry in entries] == [
        "organization.create",
        "organization.set_credits",
        "key.create",
        "key.revoke",
        "organization.suspend",
        "organization.resume",
        "member.remove",
    ]
    assert minted.key not in json.dumps(entries)
    assert entries[2]["after"]["prefix"] == minted.key[:12]
    assert (entries[1]["before"], entries[1]["after"]) == ({"credits": None}, {"credits": 5})
