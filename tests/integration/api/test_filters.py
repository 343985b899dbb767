"""Filters, transforms and wildcards of endpoints (contracts/sendoff.md §4), from their registration to what arrives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sendoff.operators.replays.replay import tick_replay
from sendoff.publishing import evaluation, publish
from tests.integration.api.api_fixture import ApiFixture
from tests.support.receiver import Receiver

CHEAP = "data.amount > 100"
LIST = {"items": [{"id": number, "name": "x" * 20} for number in range(2_000)]}
"""Data for which an expression is evaluated in the sandbox."""


async def arrived(api: ApiFixture, receiver: Receiver, path: str) -> list[Any]:
    """The `data` of the events that arrived at a path, without the ping."""
    await api.app.work()
    return [json.loads(request.body)["data"] for request in receiver.requests(path)[1:]]


async def replay(api: ApiFixture, chosen: dict[str, Any]) -> None:
    """Replay what the filter matches, as the worker does."""
    started = await api.post("/operator/v1/replays", {"filter": chosen})
    assert started.status_code == 202, started.text
    api.app.clock.advance(1)
    await tick_replay(api.app.context, started.json()["id"])


@pytest.mark.parametrize("in_batch", [False, True])
async def test_only_events_that_match_the_filter_make_a_delivery(
    api: ApiFixture, receiver: Receiver, *, in_batch: bool
) -> None:
    await api.register(receiver.url("/all"))
    webhook = await api.register(receiver.url("/large"), filter=CHEAP)
    assert webhook["filter"] == CHEAP
    amounts: list[dict[str, Any]] = [{"amount": 5}, {"amount": 500}, {"other": 1}, {"amount": "much"}]
    if in_batch:
        events = [{"type": "upload.completed", "data": data} for data in amounts]
        answer = (await api.post("/api/v1/events/batch", {"events": events})).json()["events"]
        counts = [event["deliveries"] for event in answer]
    else:
        counts = [(await api.publish(data))["deliveries"] for data in amounts]
    assert counts == [1, 2, 1, 1]
    assert await arrived(api, receiver, "/all") == amounts
    assert await arrived(api, receiver, "/large") == [{"amount": 500}]


async def test_a_transform_makes_the_data_of_its_endpoint_alone(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/raw"))
    transform = "{'id': data.order.id, 'at': occurred_at}"
    await api.register(receiver.url("/small"), filter="data.order.id != ''", transform=transform)
    await api.publish({"order": {"id": "o_1", "lines": [1, 2]}}, occurred_at="2026-04-24T12:34:56.789+00:00")
    assert await arrived(api, receiver, "/raw") == [{"order": {"id": "o_1", "lines": [1, 2]}}]
    assert await arrived(api, receiver, "/small") == [{"id": "o_1", "at": "2026-04-24T12:34:56.789+00:00"}]


async def test_every_attempt_and_replay_carries_the_bytes_of_the_first_evaluation(
    api: ApiFixture, receiver: Receiver
) -> None:
    webhook = await api.register(receiver.url("/hook"), transform="{'first': data.n}")
    receiver.program("/hook", 500, 200)
    event = await api.publish({"n": 1})
    await api.app.work()
    await api.patch(f"/api/v1/webhooks/{webhook['id']}", {"transform": "{'second': data.n}"})
    api.app.clock.advance(120)
    assert await arrived(api, receiver, "/hook") == [{"first": 1}, {"first": 1}]
    [delivery] = (await api.get(f"/api/v1/events/{event['id']}")).json()["deliveries"]
    await replay(api, {"delivery_ids": [delivery["id"]]})
    assert (await arrived(api, receiver, "/hook"))[-1] == {"first": 1}


async def test_a_transform_that_fails_is_a_dead_letter_that_a_replay_evaluates_again(
    api: ApiFixture, receiver: Receiver
) -> None:
    webhook = await api.register(receiver.url("/hook"), transform="{'id': data.id}")
    event = await api.publish({"number": 7})
    assert event["deliveries"] == 1
    [letter] = (await api.get("/operator/v1/dead-letters?reason=transform_failed")).json()["data"]
    assert letter["last_error"] == "The endpoint's transform failed: the event has no 'id'."
    assert (letter["attempt_count"], letter["state"]) == (0, "open")
    assert await arrived(api, receiver, "/hook") == []

    retry = f"/operator/v1/deliveries/{letter['delivery_id']}/retry"
    refused = await api.post(retry)
    assert refused.status_code == 409
    assert "the event has no 'id'. Change the transform" in refused.json()["detail"]

    await api.patch(f"/api/v1/webhooks/{webhook['id']}", {"transform": "{'id': data.number}"})
    await replay(api, {"reason": "transform_failed"})
    assert await arrived(api, receiver, "/hook") == [{"id": 7}]
    [letter] = (await api.get("/operator/v1/dead-letters?reason=transform_failed")).json()["data"]
    assert letter["state"] == "replayed"


async def test_large_data_is_evaluated_aside_with_the_same_result(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/one"), filter="data.items.exists(item, item.id == 1999)")
    await api.register(receiver.url("/none"), filter="data.items.exists(item, item.id == 2000)")
    await api.register(receiver.url("/count"), transform="{'count': size(data.items)}")
    body = {"type": "upload.completed", "data": LIST}
    plain = (await api.post("/api/v1/events", body)).json()
    once = (await api.post("/api/v1/events", body, headers={"Idempotency-Key": "k-1"})).json()
    assert (plain["deliveries"], once["deliveries"]) == (2, 2)
    assert await arrived(api, receiver, "/count") == [{"count": 2_000}] * 2
    assert await arrived(api, receiver, "/none") == []


@pytest.mark.parametrize(
    ("field", "expression", "reason"),
    [
        ("filter", "data.amount >", "`filter`: The expression does not compile at character 14"),
        ("filter", "size(data)", "`filter`: The expression always gives a number; it must give a bool."),
        ("transform", "'text'", "`transform`: The expression always gives a string; it must give a map."),
        ("filter", "x" * 1_001, "`filter`"),
        ("filter", 5, "`filter`"),
    ],
)
async def test_an_expression_that_cannot_be_used_is_refused_before_the_ping(
    api: ApiFixture, receiver: Receiver, field: str, expression: object, reason: str
) -> None:
    body = {"url": receiver.url("/hook"), field: expression}
    refused = await api.post("/api/v1/webhooks", body)
    assert reason in refused.json()["detail"]
    assert receiver.requests("/hook") == []


async def test_null_takes_an_expression_away(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hook"), filter="false")
    assert (await api.publish())["deliveries"] == 0
    changed = (await api.patch(f"/api/v1/webhooks/{webhook['id']}", {"filter": None})).json()
    assert "filter" not in changed
    assert (await api.publish())["deliveries"] == 1


async def test_wildcards_match_the_types_that_begin_with_them(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/uploads"), events=["upload.*"])
    await api.register(receiver.url("/everything"), events=["*"])
    await api.register(receiver.url("/messages"), events=["message.incoming.*"])
    assert (await api.publish(type="upload.created"))["deliveries"] == 2
    assert (await api.publish(type="message.incoming.received"))["deliveries"] == 2
    assert (await api.publish(type="message.outgoing.delivered"))["deliveries"] == 1
    for unknown in ("uplaod.*", "upload.completed.*", "up*", "*.*", "webhook.*"):
        refused = await api.post("/api/v1/webhooks", {"url": receiver.url("/x"), "events": [unknown]})
        assert unknown in refused.json()["detail"]


async def test_explain_tells_which_filter_refused_the_event(api: ApiFixture, receiver: Receiver) -> None:
    strict = await api.register(receiver.url("/a"), filter=CHEAP)
    failing = await api.register(receiver.url("/b"), filter="data.nothing.here == 1")
    event = await api.publish({"amount": 5})
    api.app.clock.advance(1)
    await api.patch(f"/api/v1/webhooks/{strict['id']}", {"filter": "true"})
    found = (await api.get(f"/operator/v1/events/{event['id']}/explain")).json()["endpoints"]
    because = {one["endpoint_id"]: (one["verdict"], one["because"]) for one in found}
    assert because == {
        strict["id"]: ("filtered", f"The endpoint's filter is false for it: {CHEAP}"),
        failing["id"]: (
            "filtered",
            "The endpoint's filter failed: the event has no 'nothing': data.nothing.here == 1",
        ),
    }


async def test_transforms_that_make_too_much_of_an_event_fail_and_of_a_batch_refuse_it(
    api: ApiFixture, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "MAX_TRANSFORMED_CHARACTERS", 2_500)
    monkeypatch.setattr(evaluation, "MAX_EVALUATED_CHARACTERS", 5_000)
    for path in ("/a", "/b", "/c"):
        await api.register(receiver.url(path), transform="{'text': data.text + data.text}")
    event = {"type": "upload.completed", "data": {"text": "x" * 500}}
    alone = await api.post("/api/v1/events", event)
    assert (alone.status_code, alone.json()["deliveries"]) == (202, 3)
    letters = (await api.get("/operator/v1/dead-letters")).json()["data"]
    assert [letter["reason"] for letter in letters] == ["transform_failed"]
    batch = await api.post("/api/v1/events/batch", {"events": [event] * 2})
    assert (batch.status_code, "transforms" in batch.text) == (413, True)
