"""Subscriptions: made, listed, switched, removed; one for each event type and URL."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from sendoff.publishing import event_types
from sendoff.verify import verify
from tests.integration.dialbird.client import SUBSCRIPTIONS, TYPE, DialbirdClient, code_of
from tests.support.app_fixture import ACTOR
from tests.support.receiver import Receiver

URL = "https://example.com/hook"


async def test_a_subscription_is_answered_with_a_secret_that_no_later_answer_shows(
    dialbird: DialbirdClient, receiver: Receiver
) -> None:
    answer = await dialbird.post({"event_type": TYPE, "target_url": receiver.url("/hook")})
    made = answer.json()
    assert answer.status_code == 201
    assert list(made) == ["id", "event_type", "target_url", "signing_secret", "status", "created_at"]
    assert (made["event_type"], made["target_url"], made["status"]) == (TYPE, receiver.url("/hook"), "active")
    assert re.fullmatch("whsec_[0-9a-f]{64}", made["signing_secret"])
    listed = (await dialbird.get()).json()
    assert listed == [{name: value for name, value in made.items() if name != "signing_secret"}]
    assert (await dialbird.get(f"{SUBSCRIPTIONS}/{made['id']}")).json() == listed[0]
    assert receiver.requests() == []  # the contract knows no ping


async def test_its_events_are_delivered_in_dialbirds_envelope_with_its_headers(
    dialbird: DialbirdClient, receiver: Receiver
) -> None:
    made = await dialbird.subscribe(receiver.url("/hook"))
    event_id = await dialbird.happen(data={"text": "Hi", "n": 1.50})
    await dialbird.happen("call.incoming.completed")
    await dialbird.api.app.work()
    [request] = receiver.requests()
    assert list(request.event) == ["id", "type", "api_version", "occurred_at", "business_id", "data"]
    assert request.event["business_id"] == dialbird.api.app.principal.organization_id
    assert request.header("X-Dialbird-Event-Id") == request.event["id"] == event_id
    assert request.header("X-Dialbird-Event-Type") == request.event["type"] == TYPE
    now = dialbird.api.app.clock.now().timestamp()
    assert verify("dialbird", request.headers, request.body, made["signing_secret"], now=now)


async def test_a_removed_subscription_is_gone_from_the_list_and_gets_nothing_more(
    dialbird: DialbirdClient, receiver: Receiver
) -> None:
    made = await dialbird.subscribe(receiver.url("/hook"))
    answer = await dialbird.delete(made["id"])
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await dialbird.get()).json() == []
    assert code_of(await dialbird.delete(made["id"])) == "not_found"
    await dialbird.happen()
    await dialbird.api.app.work()
    assert receiver.requests() == []


async def test_the_same_event_type_and_url_can_be_subscribed_once(dialbird: DialbirdClient) -> None:
    made = await dialbird.subscribe(URL)
    assert code_of(await dialbird.post({"event_type": TYPE, "target_url": URL})) == "conflict"
    await dialbird.subscribe(URL, "call.incoming.completed")
    await dialbird.subscribe(f"{URL}/2")
    await dialbird.delete(made["id"])
    await dialbird.subscribe(URL)


async def test_of_many_who_subscribe_the_same_at_once_one_does(dialbird: DialbirdClient) -> None:
    body = {"event_type": TYPE, "target_url": URL}
    answers = await asyncio.gather(*(dialbird.post(body) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert len((await dialbird.get()).json()) == 1


async def test_subscriptions_and_webhooks_do_not_see_each_other(dialbird: DialbirdClient, receiver: Receiver) -> None:
    made = await dialbird.subscribe(receiver.url("/hook"))
    webhook = await dialbird.api.register(receiver.url("/webhook"))
    assert [one["id"] for one in (await dialbird.get()).json()] == [made["id"]]
    assert [one["id"] for one in (await dialbird.api.get("/api/v1/webhooks")).json()] == [webhook["id"]]
    for method, path in [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/deliveries")]:
        body: dict[str, Any] = {"json": {"description": "x"}} if method == "PATCH" else {}
        answer = await dialbird.api.call(method, f"/api/v1/webhooks/{made['id']}{path}", **body)
        assert answer.status_code == 404
    assert code_of(await dialbird.delete(webhook["id"])) == "not_found"
    assert code_of(await dialbird.get(f"{SUBSCRIPTIONS}/{webhook['id']}")) == "not_found"
    assert code_of(await dialbird.patch(webhook["id"], {"status": "disabled"})) == "not_found"


async def test_another_business_sees_and_changes_nothing(dialbird: DialbirdClient, receiver: Receiver) -> None:
    made = await dialbird.subscribe(receiver.url("/hook"))
    organization_id = await dialbird.api.new_organization()
    stranger = await dialbird.api.new_key("api:webhooks", organization_id=organization_id)
    assert (await dialbird.get(key=stranger)).json() == []
    for call in (
        dialbird.get(f"{SUBSCRIPTIONS}/{made['id']}", key=stranger),
        dialbird.patch(made["id"], {"status": "disabled"}, key=stranger),
        dialbird.delete(made["id"], key=stranger),
    ):
        assert code_of(await call) == "not_found"
    assert await dialbird.status(made["id"]) == "active"


async def test_it_is_failing_past_the_warning_threshold_disabled_past_the_limit_and_active_after_a_success(
    dialbird: DialbirdClient, receiver: Receiver
) -> None:
    made = await dialbird.subscribe(receiver.url("/hook"))
    statuses = []
    for attempt in range(1, 12):
        receiver.program("/hook", 200 if attempt == 11 else 500)
        await dialbird.happen()
        await dialbird.api.app.work()
        statuses.append(await dialbird.status(made["id"]))
    assert statuses == ["active"] * 9 + ["failing", "active"]
    receiver.program("/hook", 500)
    for _ in range(20):
        await dialbird.happen()
    await dialbird.api.app.work()
    assert await dialbird.status(made["id"]) == "disabled"
    assert (await dialbird.patch(made["id"], {"status": "active"})).json()["status"] == "active"


async def test_a_410_disables_at_once_and_for_good(dialbird: DialbirdClient, receiver: Receiver) -> None:
    made = await dialbird.subscribe(receiver.url("/hook"))
    receiver.program("/hook", 410)
    await dialbird.happen()
    await dialbird.api.app.work()
    assert await dialbird.status(made["id"]) == "disabled"
    for status in ("active", "disabled"):
        assert code_of(await dialbird.patch(made["id"], {"status": status})) == "gone"
    await dialbird.happen()
    await dialbird.api.app.work()
    assert len(receiver.requests()) == 1


async def test_a_subscription_whose_receiver_answered_410_is_replaced_by_a_new_one(
    dialbird: DialbirdClient, receiver: Receiver
) -> None:
    old = await dialbird.subscribe(receiver.url("/hook"))
    receiver.program("/hook", 410, 200)
    await dialbird.happen()
    await dialbird.api.app.work()
    new = await dialbird.subscribe(receiver.url("/hook"))
    assert [one["id"] for one in (await dialbird.get()).json()] == [new["id"]] != [old["id"]]


async def test_a_subscription_can_be_switched_off_and_on(dialbird: DialbirdClient, receiver: Receiver) -> None:
    made = await dialbird.subscribe(receiver.url("/hook"))
    assert (await dialbird.patch(made["id"], {"status": "disabled"})).json()["status"] == "disabled"
    await dialbird.happen()
    await dialbird.api.app.work()
    assert receiver.requests() == []
    assert (await dialbird.patch(made["id"], {"status": "active"})).json()["status"] == "active"
    await dialbird.happen()
    await dialbird.api.app.work()
    assert len(receiver.requests()) == 1


async def test_registered_event_types_can_be_subscribed_to_as_well(small_dialbird: DialbirdClient) -> None:
    body = {"event_type": "fax.received", "target_url": URL}
    assert code_of(await small_dialbird.post(body)) == "invalid_event_type"
    context = small_dialbird.api.app.context
    await event_types.create_event_type(context, ACTOR, name="fax.received", data_schema=None)
    assert (await small_dialbird.post(body)).status_code == 201


async def test_changes_are_in_the_audit_log_under_the_request_id(small_dialbird: DialbirdClient) -> None:
    made = await small_dialbird.subscribe(URL, headers={"X-Request-Id": "made-it"})
    await small_dialbird.delete(made["id"], headers={"X-Request-Id": "ended-it"})
    entries = (await small_dialbird.api.get("/operator/v1/audit", params={"target_id": made["id"]})).json()["data"]
    assert [(entry["action"], entry["request_id"]) for entry in entries] == [
        ("endpoint.delete", "ended-it"),
        ("endpoint.create", "made-it"),
    ]
    assert {entry["actor"] for entry in entries} == {f"key:{small_dialbird.key[:12]}"}
    assert made["signing_secret"] not in json.dumps(entries)


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "https://10.0.0.1/hook",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://user:password@example.com/",
        "https://example.com:22/",
        "https://example.com/#x",
        "ftp://example.com/",
        "example.com",
        "",
        "https://",
        "https://example.com/\n",
        "https://example.com/" + "a" * 3000,
    ],
)
async def test_an_unsafe_url_is_a_validation_error_of_target_url(small_dialbird: DialbirdClient, url: str) -> None:
    answer = await small_dialbird.post({"event_type": TYPE, "target_url": url})
    assert (code_of(answer), answer.json()["error"]["field"]) == ("validation_error", "target_url")
    assert answer.json()["error"]["message"].startswith("target_url ")
    assert (await small_dialbird.get()).json() == []
