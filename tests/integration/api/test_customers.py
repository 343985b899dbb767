"""What customers see and do by themselves: deliveries, retries, recovery, event types, test calls, duplicates."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sendoff.operators.replays.replay import tick_replay
from tests.integration.api.api_fixture import ApiFixture
from tests.support.exchange import Reply
from tests.support.receiver import Receiver


async def own_deliveries(api: ApiFixture, query: str = "", **request: Any) -> list[dict[str, Any]]:
    """The first page of the organization's deliveries."""
    response = await api.get(f"/api/v1/deliveries{query}", **request)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["data"]
    return found


async def test_deliveries_are_listed_by_filters_and_pages(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/a"))
    await api.register(receiver.url("/b"), events=["upload.failed"])
    first = await api.publish()
    await api.publish(type="upload.failed")
    assert len(await own_deliveries(api)) == 3
    of_one = await own_deliveries(api, f"?endpoint_id={webhook['id']}&event_id={first['id']}")
    assert [one["event_type"] for one in of_one] == ["upload.completed"]
    assert await own_deliveries(api, "?state=delivered") == []
    page = (await api.get("/api/v1/deliveries?limit=2")).json()
    rest = (await api.get(f"/api/v1/deliveries?limit=2&cursor={page['next_cursor']}")).json()
    assert (len(page["data"]), len(rest["data"]), rest["next_cursor"]) == (2, 1, None)
    unknown = await api.get("/api/v1/deliveries?endpoint=x")
    assert unknown.status_code == 400
    assert "endpoint_id" in unknown.json()["detail"]


async def test_a_delivery_shows_its_attempts_request_and_response_and_can_be_retried(
    api: ApiFixture, receiver: Receiver
) -> None:
    await api.register(receiver.url("/hook"))
    receiver.program("/hook", 503, 200)
    await api.publish({"n": 1})
    await api.app.work()
    [listed] = await own_deliveries(api)
    detailed = (await api.get(f"/api/v1/deliveries/{listed['id']}")).json()
    assert [attempt["response_status"] for attempt in detailed["attempts"]] == [503]
    assert json.loads(detailed["request"]["body"])["data"] == {"n": 1}
    assert detailed["response"]["status"] == 503
    retried = await api.post(f"/api/v1/deliveries/{listed['id']}/retry")
    assert retried.status_code == 202
    await api.app.work()
    assert (await own_deliveries(api))[0]["state"] == "delivered"


async def test_a_delivered_delivery_is_sent_once_more_only_when_that_is_asked_for(
    api: ApiFixture, receiver: Receiver
) -> None:
    webhook = await api.register(receiver.url("/hook"))
    event = await api.publish({"n": 1})
    await api.app.work()
    [delivered] = await own_deliveries(api)
    retry = f"/api/v1/deliveries/{delivered['id']}/retry"
    refused = await api.post(retry)
    assert (refused.status_code, '{"again": true}' in refused.json()["detail"]) == (409, True)
    assert (await api.post(retry, {"agian": True})).status_code == 400
    assert (await api.post(retry, {"again": True})).status_code == 202
    [replay] = api.app.queue.replays
    api.app.clock.advance(1)
    await tick_replay(api.app.context, replay)
    await api.app.work()
    sent = [json.loads(request.body)["id"] for request in receiver.requests("/hook")[-2:]]
    assert sent == [event["id"]] * 2
    assert (await own_deliveries(api))[0]["attempt_count"] == 2
    await api.patch(f"/api/v1/webhooks/{webhook['id']}", {"is_active": False})
    off = await api.post(retry, {"again": True})
    assert (off.status_code, "not active" in off.json()["detail"]) == (409, True)


async def test_another_organizations_deliveries_are_not_found(api: ApiFixture, receiver: Receiver) -> None:
    receiver.program("/hook", 200, 500)
    letter = await api.die(receiver.url("/hook"))
    stranger = await api.new_key(organization_id=await api.new_organization())
    path = f"/api/v1/deliveries/{letter['delivery_id']}"
    recover = f"/api/v1/webhooks/{letter['endpoint_id']}/recover"
    assert await own_deliveries(api, key=stranger) == []
    assert await own_deliveries(api, f"?endpoint_id={letter['endpoint_id']}", key=stranger) == []
    assert (await api.get(path, key=stranger)).status_code == 404
    assert (await api.post(f"{path}/retry", key=stranger)).status_code == 404
    assert (await api.post(recover, {"since": "2026-01-01T00:00:00Z"}, key=stranger)).status_code == 404
    assert (await api.post(f"/api/v1/webhooks/{letter['endpoint_id']}/test", key=stranger)).status_code == 404
    for key in (await api.new_key("events:write"), await api.new_key("operator")):
        assert (await api.get(path, key=key)).status_code == 403


async def test_an_endpoint_recovers_what_it_missed_in_a_time_range(api: ApiFixture, receiver: Receiver) -> None:
    receiver.program("/hook", 200, 500)
    letter = await api.die(receiver.url("/hook"))
    receiver.program("/hook", 200)
    path = f"/api/v1/webhooks/{letter['endpoint_id']}/recover"
    later = {"since": "2027-01-01T00:00:00Z", "dry_run": True}
    assert (await api.post(path, later)).json() == {"count": 0, "endpoints": 0}
    counted = await api.post(path, {"since": "2026-01-01T00:00:00Z", "dry_run": True})
    assert (counted.status_code, counted.json()) == (200, {"count": 1, "endpoints": 1})
    started = await api.post(path, {"since": "2026-01-01T00:00:00Z", "until": "2026-12-31T00:00:00+00:00"})
    assert (started.status_code, started.json()["total"]) == (202, 1)
    api.app.clock.advance(1)
    await tick_replay(api.app.context, started.json()["id"])
    await api.app.work()
    assert [one["state"] for one in await own_deliveries(api)] == ["delivered"]
    for refused in ({}, {"since": "yesterday"}, {"since": "2026-01-01T00:00:00Z", "untill": None}):
        assert (await api.post(path, refused)).status_code == 400


async def test_event_types_are_listed_with_schema_and_example(api: ApiFixture) -> None:
    listed = (await api.get("/api/v1/event-types")).json()["data"]
    by_name = {one["name"]: one for one in listed}
    assert by_name["upload.completed"]["example"]["upload"]["status"] == "completed"
    assert by_name["upload.completed"]["schema"] is None


async def test_a_test_call_shows_what_would_be_sent_and_what_was_answered(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(
        receiver.url("/hook"), filter="data.amount > 10", transform="{'n': data.amount}", events=["upload.*"]
    )
    receiver.program("/hook", 418)
    path = f"/api/v1/webhooks/{webhook['id']}/test"
    sent = len(receiver.requests("/hook"))
    dry = (await api.post(path, {"data": {"amount": 11}, "dry_run": True})).json()
    assert (dry["matched"], dry["response"], dry["error"]) == (True, None, None)
    assert json.loads(dry["request"]["body"])["data"] == {"n": 11}
    assert "X-OptimalDial-Signature" in dry["request"]["headers"]
    assert len(receiver.requests("/hook")) == sent

    real = (await api.post(path, {"type": "upload.failed", "data": {"amount": 11}})).json()
    assert real["response"]["status"] == 418
    assert receiver.requests("/hook")[-1].header("X-OptimalDial-Event") == "upload.failed"

    unmatched = (await api.post(path, {"data": {"amount": 1}})).json()
    assert (unmatched["matched"], unmatched["request"]) == (False, None)
    assert unmatched["because"] == "The endpoint's filter is false for it."
    failed = (await api.post(path)).json()
    assert failed["because"] == "The endpoint's filter failed: the event has no 'amount'."
    other = (await api.post(path, {"type": "message.incoming.received"})).json()
    assert other["because"] == "The endpoint is subscribed to upload.*."
    assert (await api.post(path, {"type": "nonsense"})).status_code == 400
    assert await own_deliveries(api) == []
    assert (await api.get(f"/api/v1/webhooks/{webhook['id']}")).json()["consecutive_failures"] == 0


async def test_a_test_call_takes_integers_of_any_size(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hook"))
    data = b'{"number":' + b"9" * 400 + b',"word":"\xc3\xa9"}'
    answer = await api.post(
        f"/api/v1/webhooks/{webhook['id']}/test",
        content=b'{"dry_run":true,"data":' + data + b"}",
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 200, answer.text
    assert data.decode() in answer.json()["request"]["body"]


async def test_a_test_call_that_cannot_be_answered_says_why(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hook"))
    receiver.program("/hook", Reply(reset=True))
    answer = (await api.post(f"/api/v1/webhooks/{webhook['id']}/test")).json()
    assert answer["response"] is None
    assert answer["error"]


@pytest.mark.parametrize("unique", [False, True])
async def test_a_url_that_is_registered_already_is_said_so(
    api: ApiFixture, receiver: Receiver, *, unique: bool
) -> None:
    first = await api.register(receiver.url("/hook"))
    pings = len(receiver.requests("/hook"))
    again = await api.post("/api/v1/webhooks", {"url": receiver.url("/hook"), "unique": unique})
    if unique:
        assert again.status_code == 409
        assert first["id"] in again.json()["detail"]
        assert len(receiver.requests("/hook")) == pings
    else:
        [warning] = again.json()["warnings"]
        assert first["id"] in warning
    fresh = await api.post("/api/v1/webhooks", {"url": receiver.url("/other"), "unique": unique})
    assert fresh.status_code == 200
    assert "warnings" not in fresh.json()
