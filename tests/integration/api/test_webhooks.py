"""`/api/v1/webhooks`, as customers of OptimalDial code against it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from tests.integration.api.api_fixture import ApiFixture
from tests.support.exchange import Reply
from tests.support.receiver import Receiver
from tests.support.reference_signatures import timestamped_marks

FIELDS = {
    "id",
    "user_id",
    "organization_id",
    "url",
    "description",
    "events",
    "is_active",
    "verified_at",
    "last_success_at",
    "last_failure_at",
    "consecutive_failures",
    "disabled_at",
    "created_at",
    "updated_at",
}
DELIVERY_FIELDS = {
    "id",
    "webhook_endpoint_id",
    "event_id",
    "event_type",
    "status",
    "attempt_count",
    "next_retry_at",
    "created_at",
    "last_attempt_at",
    "last_response_status",
    "last_error",
    "delivered_at",
}
NOW = "2026-04-24T12:34:56.789+00:00"


async def test_a_registered_endpoint_is_answered_once_with_its_secret(api: ApiFixture, receiver: Receiver) -> None:
    response = await api.post("/api/v1/webhooks", {"url": receiver.url("/hook"), "description": "Ours"})
    assert response.status_code == 200
    answer = response.json()
    assert set(answer) == {"webhook", "secret"}
    assert re.fullmatch("[0-9a-f]{64}", answer["secret"])
    webhook = answer["webhook"]
    assert set(webhook) == FIELDS
    assert webhook == {
        **webhook,
        "url": receiver.url("/hook"),
        "organization_id": api.app.principal.organization_id,
        "user_id": api.app.principal.user_id,
        "description": "Ours",
        "events": ["upload.completed", "upload.failed"],
        "is_active": True,
        "verified_at": NOW,
        "last_success_at": None,
        "last_failure_at": None,
        "consecutive_failures": 0,
        "disabled_at": None,
        "created_at": NOW,
        "updated_at": NOW,
    }
    assert (await api.get(f"/api/v1/webhooks/{webhook['id']}")).json() == webhook
    assert (await api.get("/api/v1/webhooks")).json() == [webhook]


async def test_registration_sends_one_signed_ping(api: ApiFixture, receiver: Receiver) -> None:
    response = await api.post("/api/v1/webhooks", {"url": receiver.url("/hook")})
    [ping] = receiver.requests("/hook")
    assert ping.header("X-OptimalDial-Event") == ping.event["type"] == "webhook.ping"
    assert ping.event["data"]["challenge"]
    assert timestamped_marks(ping.header("X-OptimalDial-Signature"), ping.body, [response.json()["secret"]])


@pytest.mark.parametrize("status", [300, 400, 401, 404, 410, 500, 503])
async def test_a_ping_that_is_not_answered_with_a_2xx_saves_nothing(
    sqlite_api: ApiFixture, receiver: Receiver, status: int
) -> None:
    receiver.program("/hook", status)
    response = await sqlite_api.post("/api/v1/webhooks", {"url": receiver.url("/hook")})
    assert response.status_code == 400
    detail = response.json()["detail"]
    assert detail == {
        "error": "ping_failed",
        "message": detail["message"],
        "status_code": status,
        "underlying_error": None,
    }
    assert (await sqlite_api.get("/api/v1/webhooks")).json() == []


async def test_a_failed_ping_is_reported_with_the_network_error(sqlite_api: ApiFixture, receiver: Receiver) -> None:
    receiver.program("/hook", Reply(close=True))
    response = await sqlite_api.post("/api/v1/webhooks", {"url": receiver.url("/hook")})
    assert response.status_code == 400
    detail = response.json()["detail"]
    assert (detail["error"], detail["status_code"]) == ("ping_failed", None)
    assert detail["underlying_error"]
    assert (await sqlite_api.get("/api/v1/webhooks")).json() == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": None},
        {"url": 7},
        {"url": ""},
        {"url": "ftp://example.com/"},
        {"url": "https://user:password@example.com/"},
        {"url": "https://10.0.0.1/"},
        {"url": "https://169.254.169.254/latest"},
        {"url": "https://example.com/\0"},
        {"url": "{receiver}", "events": []},
        {"url": "{receiver}", "events": ["upload.exploded"]},
        {"url": "{receiver}", "events": ["webhook.ping"]},
        {"url": "{receiver}", "events": "upload.completed"},
        {"url": "{receiver}", "events": [1]},
        {"url": "{receiver}", "events": {"a": 1}},
        {"url": "{receiver}", "description": 1},
        {"url": "{receiver}", "description": "x" * 501},
        {"url": "{receiver}", "description": "a\0b"},
    ],
)
async def test_a_body_that_violates_a_constraint_is_a_400_with_a_sentence_and_sends_no_ping(
    sqlite_api: ApiFixture, receiver: Receiver, body: dict[str, Any]
) -> None:
    if body.get("url") == "{receiver}":
        body = {**body, "url": receiver.url("/hook")}
    response = await sqlite_api.post("/api/v1/webhooks", body)
    assert response.status_code == 400
    assert isinstance(response.json()["detail"], str)
    assert receiver.requests() == []
    assert (await sqlite_api.get("/api/v1/webhooks")).json() == []


async def test_a_description_of_500_characters_is_accepted(sqlite_api: ApiFixture, receiver: Receiver) -> None:
    webhook = await sqlite_api.register(receiver.url("/hook"), description="ü" * 500)
    assert webhook["description"] == "ü" * 500


async def test_a_changed_url_is_pinged_before_it_is_saved(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/old"))
    receiver.program("/new", 500, 204)
    path = f"/api/v1/webhooks/{webhook['id']}"

    refused = await api.patch(path, {"url": receiver.url("/new"), "description": "New"})
    assert (refused.status_code, refused.json()["detail"]["error"]) == (400, "ping_failed")
    assert (await api.get(path)).json() == webhook

    api.app.clock.advance(1)
    changed = await api.patch(path, {"url": receiver.url("/new"), "description": "New"})
    assert changed.status_code == 200
    later = "2026-04-24T12:34:57.789+00:00"
    assert changed.json() == webhook | {
        "url": receiver.url("/new"),
        "description": "New",
        "verified_at": later,
        "updated_at": later,
    }
    assert (await api.get(path)).json() == changed.json()


async def test_an_unchanged_url_is_not_pinged_again(sqlite_api: ApiFixture, receiver: Receiver) -> None:
    webhook = await sqlite_api.register(receiver.url("/hook"))
    receiver.forget()
    body = {"url": webhook["url"], "events": ["upload.created", "upload.created"]}
    changed = await sqlite_api.patch(f"/api/v1/webhooks/{webhook['id']}", body)
    assert (changed.status_code, changed.json()["events"]) == (200, ["upload.created"])
    assert receiver.requests() == []


async def test_null_clears_the_description_and_nothing_else(sqlite_api: ApiFixture, receiver: Receiver) -> None:
    webhook = await sqlite_api.register(receiver.url("/hook"), description="Ours")
    path = f"/api/v1/webhooks/{webhook['id']}"
    assert (await sqlite_api.patch(path, {"description": None})).json()["description"] is None
    for field in ("url", "events", "is_active"):
        refused = await sqlite_api.patch(path, {field: None})
        assert (refused.status_code, field in refused.json()["detail"]) == (400, True)


@pytest.mark.parametrize(
    "body", [{"is_active": "yes"}, {"is_active": 1}, {"events": []}, {"events": ["x"]}, {"url": "http://[::1]/"}]
)
async def test_a_change_that_violates_a_constraint_changes_nothing(
    sqlite_api: ApiFixture, receiver: Receiver, body: dict[str, Any]
) -> None:
    webhook = await sqlite_api.register(receiver.url("/hook"))
    path = f"/api/v1/webhooks/{webhook['id']}"
    refused = await sqlite_api.patch(path, {"description": "New", **body})
    assert (refused.status_code, type(refused.json()["detail"])) == (400, str)
    assert (await sqlite_api.get(path)).json() == webhook


async def test_twenty_failures_disable_an_endpoint_and_its_owner_enables_it_again(
    api: ApiFixture, receiver: Receiver
) -> None:
    webhook = await api.register(receiver.url("/hook"))
    path = f"/api/v1/webhooks/{webhook['id']}"
    receiver.program("/hook", 500)
    for _ in range(20):
        await api.publish()
    await api.app.work()
    disabled = (await api.get(path)).json()
    assert (disabled["is_active"], disabled["consecutive_failures"]) == (False, 20)
    assert disabled["disabled_at"] == disabled["last_failure_at"] == NOW

    enabled = (await api.patch(path, {"is_active": True})).json()
    assert (enabled["is_active"], enabled["consecutive_failures"], enabled["disabled_at"]) == (True, 0, None)


async def test_a_deleted_endpoint_is_gone_and_gets_no_more(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hook"))
    path = f"/api/v1/webhooks/{webhook['id']}"
    deleted = await api.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert "content-type" not in deleted.headers
    for answer in (
        await api.get(path),
        await api.patch(path, {"description": "x"}),
        await api.delete(path),
        await api.get(f"{path}/deliveries"),
    ):
        assert answer.status_code == 404
    assert (await api.get("/api/v1/webhooks")).json() == []
    assert (await api.publish())["deliveries"] == 0


async def test_deliveries_are_listed_most_recent_first_in_the_words_of_the_contract(
    api: ApiFixture, receiver: Receiver
) -> None:
    webhook = await api.register(receiver.url("/hook"))
    path = f"/api/v1/webhooks/{webhook['id']}/deliveries"
    receiver.program("/hook", 200, 500)
    delivered = await api.publish()
    await api.app.work()
    retried = await api.publish()
    await api.app.work()
    fresh = await api.publish()

    response = await api.get(path)
    assert response.status_code == 200
    found = response.json()
    assert [set(delivery) for delivery in found] == [DELIVERY_FIELDS] * 3
    assert [delivery["event_id"] for delivery in found] == [fresh["id"], retried["id"], delivered["id"]]
    assert [delivery["status"] for delivery in found] == ["pending", "pending", "delivered"]
    assert [delivery["attempt_count"] for delivery in found] == [0, 1, 1]
    assert {delivery["webhook_endpoint_id"] for delivery in found} == {webhook["id"]}
    assert found[1]["next_retry_at"] == "2026-04-24T12:35:56.789+00:00"
    assert (found[1]["last_response_status"], found[1]["last_attempt_at"]) == (500, NOW)
    assert found[1]["last_error"]
    assert (found[2]["delivered_at"], found[2]["next_retry_at"]) == (NOW, None)
    assert (await api.get(path, params={"limit": 1})).json() == found[:1]


async def test_a_delivery_that_was_given_up_is_exhausted(api: ApiFixture, receiver: Receiver) -> None:
    receiver.program("/hook", 200, 500)
    letter = await api.die(receiver.url("/hook"))
    [delivery] = (await api.get(f"/api/v1/webhooks/{letter['endpoint_id']}/deliveries")).json()
    assert (delivery["status"], delivery["attempt_count"], delivery["next_retry_at"]) == ("exhausted", 6, None)


@pytest.mark.parametrize("limit", ["0", "101", "-1", "many", "", "1.5"])
async def test_a_limit_outside_1_to_100_is_a_400(sqlite_api: ApiFixture, receiver: Receiver, limit: str) -> None:
    webhook = await sqlite_api.register(receiver.url("/hook"))
    response = await sqlite_api.get(f"/api/v1/webhooks/{webhook['id']}/deliveries", params={"limit": limit})
    assert (response.status_code, "limit" in response.json()["detail"]) == (400, True)


@pytest.mark.parametrize("identifier", ["1", "0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11", "%00", "evt_1", "x" * 500])
async def test_an_unknown_id_is_a_404(sqlite_api: ApiFixture, identifier: str) -> None:
    path = f"/api/v1/webhooks/{identifier}"
    answers = [
        await sqlite_api.get(path),
        await sqlite_api.patch(path, {}),
        await sqlite_api.delete(path),
        await sqlite_api.get(f"{path}/deliveries"),
    ]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert len({answer.text for answer in answers}) == 1


async def test_a_rotated_secret_is_shown_once_and_signs_together_with_the_former_one(
    api: ApiFixture, receiver: Receiver
) -> None:
    created = (await api.post("/api/v1/webhooks", {"url": receiver.url("/hook")})).json()
    path = f"/api/v1/webhooks/{created['webhook']['id']}"
    response = await api.post(f"{path}/rotate-secret")
    assert response.status_code == 200
    rotated = response.json()
    assert set(rotated) == {"webhook", "secret"}
    assert re.fullmatch("[0-9a-f]{64}", rotated["secret"])
    assert rotated["webhook"] == (await api.get(path)).json()
    receiver.forget()
    await api.publish()
    await api.app.work()
    [request] = receiver.requests("/hook")
    signature = request.header("X-OptimalDial-Signature")
    assert timestamped_marks(signature, request.body, [rotated["secret"], created["secret"]])


@pytest.mark.parametrize("overlap", [-1, 1.5, "1", 2_592_001, True])
async def test_an_overlap_outside_0_to_30_days_of_seconds_is_refused(
    sqlite_api: ApiFixture, receiver: Receiver, overlap: object
) -> None:
    webhook = await sqlite_api.register(receiver.url("/hook"))
    path = f"/api/v1/webhooks/{webhook['id']}/rotate-secret"
    refused = await sqlite_api.post(path, {"overlap_seconds": overlap})
    assert (refused.status_code, "overlap_seconds" in refused.json()["detail"]) == (400, True)
    assert (await sqlite_api.post(path, {"overlap_seconds": 0})).status_code == 200


METADATA = {"team": "billing", "k" * 40: "v" * 500, **{f"key{number}": "" for number in range(18)}}


async def test_metadata_is_kept_shown_changed_and_cleared(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hook"), metadata=METADATA)
    path = f"/api/v1/webhooks/{webhook['id']}"
    assert webhook["metadata"] == METADATA
    assert (await api.get(path)).json()["metadata"] == METADATA
    assert (await api.get("/api/v1/webhooks")).json()[0]["metadata"] == METADATA
    assert (await api.get("/operator/v1/endpoints")).json()["data"][0]["metadata"] == METADATA
    assert (await api.patch(path, {"description": "New"})).json()["metadata"] == METADATA
    assert (await api.patch(path, {"metadata": {"team": "sales"}})).json()["metadata"] == {"team": "sales"}
    assert "metadata" not in (await api.patch(path, {"metadata": None})).json()
    assert "metadata" not in await api.register(receiver.url("/other"))


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": 1},
        {"a": None},
        {"": "x"},
        {"k" * 41: "x"},
        {"a": "v" * 501},
        {f"key{number}": "" for number in range(21)},
        {"a": {"b": "c"}},
        {"a\0": "x"},
        ["a"],
        "a",
    ],
    ids=str,
)
async def test_metadata_that_is_not_a_few_short_strings_is_refused_by_its_name(
    sqlite_api: ApiFixture, receiver: Receiver, metadata: object
) -> None:
    webhook = await sqlite_api.register(receiver.url("/hook"))
    receiver.forget()
    refused = [
        await sqlite_api.post("/api/v1/webhooks", {"url": receiver.url("/hook"), "metadata": metadata}),
        await sqlite_api.patch(f"/api/v1/webhooks/{webhook['id']}", {"metadata": metadata}),
    ]
    assert [(answer.status_code, "metadata" in answer.json()["detail"]) for answer in refused] == [(400, True)] * 2
    assert receiver.requests() == []


@pytest.mark.parametrize("surface", ["webhooks", "subscriptions"])
async def test_the_number_of_endpoints_of_an_organization_is_limited_over_both_surfaces(
    sqlite_api: ApiFixture, receiver: Receiver, surface: str
) -> None:
    context = sqlite_api.app.context
    limited = replace(context, settings=context.settings.model_copy(update={"max_endpoints_per_organization": 3}))
    sqlite_api.asgi.state.context = limited
    webhook = await sqlite_api.register(receiver.url("/1"))
    subscription = {"event_type": "message.incoming.received", "target_url": "https://receiver.example/"}
    assert (await sqlite_api.post("/api/v1/subscriptions", subscription)).status_code == 201
    await sqlite_api.register(receiver.url("/2"))
    receiver.forget()
    bodies = {
        "webhooks": {"url": receiver.url("/3")},
        "subscriptions": subscription | {"target_url": "https://receiver.example/3"},
    }
    refused = await sqlite_api.post(f"/api/v1/{surface}", bodies[surface])
    assert (refused.status_code, "3 is the limit" in refused.text) == (409, True)
    assert receiver.requests() == []
    stranger = await sqlite_api.new_key(organization_id=await sqlite_api.new_organization())
    assert (await sqlite_api.post(f"/api/v1/{surface}", bodies[surface], key=stranger)).status_code in (200, 201)
    await sqlite_api.delete(f"/api/v1/webhooks/{webhook['id']}")
    assert (await sqlite_api.post(f"/api/v1/{surface}", bodies[surface])).status_code in (200, 201)


async def test_registrations_at_once_do_not_exceed_the_limit(api: ApiFixture, receiver: Receiver) -> None:
    context = api.app.context
    api.asgi.state.context = replace(
        context, settings=context.settings.model_copy(update={"max_endpoints_per_organization": 3})
    )
    answers = await asyncio.gather(
        *(api.post("/api/v1/webhooks", {"url": receiver.url(f"/{number}")}) for number in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [409] * 5


async def test_event_types_are_folded_and_at_most_a_hundred(sqlite_api: ApiFixture, receiver: Receiver) -> None:
    webhook = await sqlite_api.register(receiver.url("/"), events=["upload.failed", "upload.created"] * 100)
    assert webhook["events"] == ["upload.failed", "upload.created"]
    many = [f"type.number_{number}" for number in range(101)]
    for answer in (
        await sqlite_api.post("/api/v1/webhooks", {"url": receiver.url("/"), "events": many}),
        await sqlite_api.patch(f"/api/v1/webhooks/{webhook['id']}", {"events": many}),
    ):
        assert (answer.status_code, "at most 100" in answer.json()["detail"]) == (400, True)


@pytest.mark.parametrize("wanted", ["order.paid", "order.*"])
async def test_a_subscription_to_an_unknown_type_names_both_remedies(sqlite_api: ApiFixture, wanted: str) -> None:
    refused = await sqlite_api.post("/api/v1/webhooks", {"url": "https://hooks.example/hook", "events": [wanted]})
    assert refused.status_code == 400
    assert "`sendoff event-types create`" in refused.json()["detail"]
    assert "`sendoff event-types list`" in refused.json()["detail"]
