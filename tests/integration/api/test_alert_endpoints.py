"""`/operator/v1/alert-endpoints`: the fields of a webhook, and for whom."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sendoff.policy.operational_events import OPERATORS
from sendoff.verify import verify
from tests.integration.api.api_fixture import ApiFixture
from tests.support.receiver import Receiver

PATH = "/operator/v1/alert-endpoints"


async def create(api: ApiFixture, **fields: Any) -> dict[str, Any]:
    response = await api.post(PATH, fields)
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.json()
    return created


async def test_an_alert_endpoint_is_pinged_saved_read_changed_and_deleted(api: ApiFixture, receiver: Receiver) -> None:
    own = api.app.principal.organization_id
    created = await create(api, url=receiver.url("/alerts"), events=["endpoint.*"], organization_ids=[own])
    [ping] = receiver.requests("/alerts")
    assert json.loads(ping.body)["type"] == "webhook.ping"
    secret = created.pop("secret")
    read = (await api.get(f"{PATH}/{created['id']}")).json()
    assert read == created
    assert (read["events"], read["organization_ids"], read["state"]) == (["endpoint.*"], [own], "active")
    assert "secret" not in read
    assert (await api.get(PATH)).json() == {"data": [read], "next_cursor": None}
    changed = (await api.patch(f"{PATH}/{created['id']}", {"organization_ids": None, "is_active": False})).json()
    assert (changed["organization_ids"], changed["state"]) == (None, "paused")
    await api.patch(f"{PATH}/{created['id']}", {"is_active": True})
    webhook = await api.register(receiver.url("/hook"))
    await api.app.work()
    told = receiver.requests("/alerts")[-1]
    event = verify("default", dict(told.headers), told.body, secret, now=int(api.app.clock.now().timestamp()))
    assert event["type"] == "endpoint.created"
    assert event["data"]["endpoint_id"] == webhook["id"]
    assert (await api.delete(f"{PATH}/{created['id']}")).status_code == 204
    assert (await api.get(f"{PATH}/{created['id']}")).status_code == 404
    assert (await api.get(PATH)).json()["data"] == []


async def test_nothing_is_saved_for_a_receiver_that_does_not_answer_the_ping(
    sqlite_api: ApiFixture, receiver: Receiver
) -> None:
    receiver.program("/alerts", 500)
    response = await sqlite_api.post(PATH, {"url": receiver.url("/alerts")})
    assert response.status_code == 400
    assert (await sqlite_api.get(PATH)).json()["data"] == []


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"events": ["endpoint.disable"]}, "did you mean endpoint.disabled"),
    ({"events": ["upload.*"]}, "Unknown operational event"),
    ({"organization_ids": ["0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11"]}, "There is no organization"),
    ({"organization_ids": [OPERATORS]}, "There is no organization"),
    ({"organization_ids": ["acme"]}, "not an organization's id"),
    ({"organization_ids": []}, "at least one organization"),
    ({"dialect": "email"}, "mailto:"),
    ({"dialect": "telegram"}, "Unknown dialect"),
    ({"colour": "red"}, "colour"),
    ({"url": "https://10.0.0.1/"}, "not public"),
    ({"url": "mailto:not an address"}, "plain e-mail address"),
    ({"url": "mailto:a@example.com,b@example.com"}, "plain e-mail address"),
    ({"url": "mailto:a@example.com", "dialect": "slack"}, "leave `dialect` out"),
]


async def test_wrong_values_are_refused_with_their_field_and_remedy(sqlite_api: ApiFixture, receiver: Receiver) -> None:
    for fields, words in REFUSED:
        response = await sqlite_api.post(PATH, {"url": receiver.url("/alerts"), **fields})
        assert (response.status_code, words in response.text) == (400, True), (fields, response.text)


async def test_customers_neither_see_alert_endpoints_nor_speak_their_dialects(
    sqlite_api: ApiFixture, receiver: Receiver
) -> None:
    created = await create(sqlite_api, url=receiver.url("/alerts"))
    assert (created["events"], created["organization_ids"]) == (["*"], None)
    assert (await sqlite_api.get(f"/api/v1/webhooks/{created['id']}")).status_code == 404
    assert (await sqlite_api.get("/api/v1/webhooks")).json() == []
    assert (await sqlite_api.get("/operator/v1/endpoints")).json()["data"] == []
    for dialect in ("slack", "email"):
        refused = await sqlite_api.post("/api/v1/webhooks", {"url": receiver.url("/hook"), "dialect": dialect})
        assert (refused.status_code, "alert endpoints" in refused.text) == (400, True)
    refused = await sqlite_api.post("/api/v1/webhooks", {"url": "mailto:ada@example.com"})
    assert refused.status_code == 400
    refused = await sqlite_api.post("/api/v1/webhooks", {"url": receiver.url("/hook"), "events": ["endpoint.*"]})
    assert refused.status_code == 400


async def test_a_test_call_shows_what_would_be_sent_and_what_the_receiver_answers(
    sqlite_api: ApiFixture, receiver: Receiver
) -> None:
    created = await create(sqlite_api, url=receiver.url("/slack"), dialect="slack", events=["endpoint.disabled"])
    trial = (await sqlite_api.post(f"{PATH}/{created['id']}/test", {"dry_run": True})).json()
    assert (trial["matched"], trial["response"]) == (True, None)
    assert "is disabled: 20 attempts failed in a row" in json.loads(trial["request"]["body"])["text"]
    assert len(receiver.requests("/slack")) == 1
    receiver.program("/slack", 403)
    sent = (await sqlite_api.post(f"{PATH}/{created['id']}/test")).json()
    assert sent["response"]["status"] == 403
    other = (await sqlite_api.post(f"{PATH}/{created['id']}/test", {"type": "endpoint.failing"})).json()
    assert (other["matched"], other["because"]) == (False, "The endpoint is subscribed to endpoint.disabled.")


async def test_no_keys_and_no_credits_are_given_to_the_operators_organization(
    sqlite_api: ApiFixture, receiver: Receiver
) -> None:
    await create(sqlite_api, url=receiver.url("/alerts"))
    with pytest.raises(Exception, match="There is no organization"):
        await sqlite_api.new_key(organization_id=OPERATORS)
