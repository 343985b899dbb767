"""Publishing: committed before it is answered, `data` left the bytes that it is, repeated safely."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.observability.metrics import EVENTS_ACCEPTED
from sendoff.publishing import event_types
from sendoff.publishing.event_types import create_event_type
from sendoff.publishing.incoming.json_limits import DEEPEST_NESTING, is_nested_deeper
from sendoff.store.tables import EventType
from tests.integration.api.api_fixture import ApiFixture
from tests.support.app_fixture import ACTOR
from tests.support.receiver import Receiver

DATA = '{ "b" : 1.50,\n"a":"\\u00e9\\uD83D\\uDE00é","b":1e400 , "z":\t-0.0, "n":12345678901234567890123, "c":"\\u0000"}'


def count_accepted() -> float:
    return next(iter(EVENTS_ACCEPTED.collect())).samples[0].value


async def post_bytes(api: ApiFixture, body: str | bytes, path: str = "/api/v1/events", **headers: str) -> Any:
    content = body.encode() if isinstance(body, str) else body
    return await api.call("POST", path, content=content, headers={"Content-Type": "application/json", **headers})


async def test_data_reaches_receivers_as_the_bytes_that_were_sent(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/hook"))
    receiver.forget()
    response = await post_bytes(api, '{"data":\n ' + DATA + ' , "type":"upload.completed"}')
    assert response.status_code == 202
    assert response.json() == {"id": response.json()["id"], "type": "upload.completed", "deliveries": 1}
    await api.app.work()
    [delivery] = receiver.requests("/hook")
    assert delivery.body.endswith(b'"data":' + DATA.encode() + b"}")
    shown = await api.get(f"/api/v1/events/{response.json()['id']}")
    assert DATA.encode() in shown.content


async def test_an_event_is_shown_with_the_state_of_each_delivery(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/good"))
    await api.register(receiver.url("/bad"))
    receiver.program("/bad", 500)
    accepted = await api.publish({"upload": {"id": "7"}}, occurred_at="2026-04-24T12:00:00+02:00")
    await api.app.work()
    event = (await api.get(f"/api/v1/events/{accepted['id']}")).json()
    deliveries = event.pop("deliveries")
    assert event.pop("request_id").startswith("req_")
    assert event == {
        "id": accepted["id"],
        "type": "upload.completed",
        "occurred_at": "2026-04-24T10:00:00.000+00:00",
        "created_at": "2026-04-24T12:34:56.789+00:00",
        "tags": [],
        "data": {"upload": {"id": "7"}},
    }
    by_state = {delivery["state"]: delivery for delivery in deliveries}
    assert set(by_state) == {"delivered", "pending"}
    assert by_state["delivered"]["next_attempt_at"] is None
    assert by_state["delivered"]["delivered_at"] == "2026-04-24T12:34:56.789+00:00"
    assert by_state["pending"]["next_attempt_at"] == "2026-04-24T12:35:56.789+00:00"
    assert by_state["pending"]["last_response_status"] == 500


async def test_occurred_at_reaches_the_envelope(sqlite_api: ApiFixture, receiver: Receiver) -> None:
    await sqlite_api.register(receiver.url("/hook"))
    receiver.forget()
    await sqlite_api.publish(occurred_at="2026-04-24T12:34:56.123456789-07:00")
    await sqlite_api.publish(occurred_at=None)
    await sqlite_api.app.work()
    times = {request.event["created_at"] for request in receiver.requests("/hook")}
    assert times == {"2026-04-24T19:34:56.123+00:00", "2026-04-24T12:34:56.789+00:00"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"data":{}}', "type"),
        ('{"type":null,"data":{}}', "type"),
        ('{"type":7,"data":{}}', "type"),
        ('{"type":"","data":{}}', "type"),
        ('{"type":"upload.exploded","data":{}}', "type"),
        ('{"type":"webhook.ping","data":{}}', "type"),
        ('{"type":"upload.completed\\u0000","data":{}}', "type"),
        ('{"type":"upload.completed"}', "data"),
        ('{"type":"upload.completed","data":null}', "data"),
        ('{"type":"upload.completed","data":[]}', "data"),
        ('{"type":"upload.completed","data":"{}"}', "data"),
        ('{"type":"upload.completed","data":1}', "data"),
        ('{"type":"upload.completed","data":{"a":' + "[" * 64 + "]" * 64 + "}}", "data"),
        ('{"type":"upload.completed","data":{},"occurred_at":"2026-04-24T12:34:56"}', "occurred_at"),
        ('{"type":"upload.completed","data":{},"occurred_at":"2026-04-24"}', "occurred_at"),
        ('{"type":"upload.completed","data":{},"occurred_at":"yesterday"}', "occurred_at"),
        ('{"type":"upload.completed","data":{},"occurred_at":1777034096}', "occurred_at"),
        ('{"type":"upload.completed","data":{},"occurred_at":"0001-01-01T00:00:00+14:00"}', "occurred_at"),
        ('{"type":"upload.completed","data":{},"occurred_at":"1969-12-31T23:59:59Z"}', "occurred_at"),
        ('{"type":"upload.completed","data":{},"occurred_at":"9999-12-31T23:59:59.999999-23:59"}', "occurred_at"),
        ('{"type":"upload.completed","data":{},"occured_at":"2026-04-24T12:34:56Z"}', "occured_at"),
    ],
)
async def test_an_event_that_violates_a_constraint_is_a_400_that_names_the_field(
    sqlite_api: ApiFixture, body: str, field: str
) -> None:
    response = await post_bytes(sqlite_api, body)
    assert response.status_code == 400
    assert f"`{field}`" in response.json()["detail"]
    batch = await post_bytes(
        sqlite_api, '{"events":[{"type":"upload.failed","data":{}},' + body + "]}", "/api/v1/events/batch"
    )
    assert batch.status_code == 400
    assert f"`events[1].{field}`" in batch.json()["detail"]


async def test_data_that_is_not_utf8_is_a_400(sqlite_api: ApiFixture) -> None:
    for text in (b"\xff", b"\xed\xa0\x80", b"\xc0\x80"):
        response = await post_bytes(sqlite_api, b'{"type":"upload.completed","data":{"a":"' + text + b'"}}')
        assert (response.status_code, "UTF-8" in response.json()["detail"]) == (400, True)


async def test_half_of_a_surrogate_pair_in_data_is_a_400(sqlite_api: ApiFixture) -> None:
    for text in (r"\ud83d", r"\ude00", r"\ud83dxxxxxx", r"\ude00\ud83d"):
        response = await post_bytes(sqlite_api, '{"type":"upload.completed","data":{"a":"' + text + '"}}')
        assert response.status_code == 400


async def test_a_schema_of_the_type_is_held_to(sqlite_api: ApiFixture) -> None:
    schema = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}
    await create_event_type(sqlite_api.app.context, ACTOR, name="order.paid", data_schema=schema)
    good = await post_bytes(sqlite_api, '{"type":"order.paid","data":{"id":7}}')
    assert (good.status_code, good.json()["type"]) == (202, "order.paid")
    bad = await post_bytes(sqlite_api, '{"type":"order.paid","data":{"id":"7"}}')
    assert (bad.status_code, "`data.id`" in bad.json()["detail"]) == (400, True)


async def test_a_check_of_many_values_lets_other_requests_through(sqlite_api: ApiFixture) -> None:
    """The steps of a check are bounded: costly ones are made in slices, and those beyond the bound are refused."""
    context = sqlite_api.app.context
    rules = {"properties": {"l": {"items": {"allOf": [{"type": "integer"}] * 100}}}}
    await create_event_type(context, ACTOR, name="list.sent", data_schema=rules)
    events = [{"type": "list.sent", "data": {"l": list(range(2_000))}}] * 20
    costly = asyncio.create_task(sqlite_api.post("/api/v1/events/batch", {"events": events}))
    await asyncio.sleep(0)
    assert (await post_bytes(sqlite_api, '{"type":"upload.completed","data":{}}')).status_code == 202
    assert (await costly).status_code == 202
    many = {"type": "list.sent", "data": {"l": [1] * 60_000}}
    assert (await sqlite_api.post("/api/v1/events", many)).status_code == 202
    bad = {"type": "list.sent", "data": {"l": [1] * 60_000 + ["x"]}}
    refused = await sqlite_api.post("/api/v1/events", bad)
    assert (refused.status_code, "`data.l.60000`" in refused.json()["detail"]) == (400, True)


async def test_an_event_whose_check_takes_too_long_is_a_400(
    sqlite_api: ApiFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_types, "CHECK_CPU_SECONDS", 0.2)
    context = sqlite_api.app.context
    rules = {"properties": {"l": {"items": {"allOf": [{"type": "integer"}] * 1_900}}}}
    await create_event_type(context, ACTOR, name="list.sent", data_schema=rules)
    body = {"type": "list.sent", "data": {"l": [1] * 100_000}}
    for headers in ({}, {"Idempotency-Key": "k"}):
        refused = await sqlite_api.post("/api/v1/events", body, headers=headers)
        assert (refused.status_code, "too many values" in refused.json()["detail"]) == (400, True)


async def test_a_schema_of_an_earlier_release_that_cannot_be_resolved_is_a_400(sqlite_api: ApiFixture) -> None:
    context = sqlite_api.app.context
    async with context.database.write() as tx:
        tx.add(EventType(name="old.type", data_schema={"$ref": "#/nope"}, created_at=context.clock.now()))
    for path, body in (
        ("/api/v1/events", {"type": "old.type", "data": {}}),
        ("/api/v1/events/batch", {"events": [{"type": "old.type", "data": {}}]}),
    ):
        for headers in ({}, {"Idempotency-Key": "k" + path}):
            response = await sqlite_api.post(path, body, headers=headers)
            assert response.status_code == 400
            assert "#/nope" in response.json()["detail"]


async def test_an_unknown_type_is_answered_with_the_nearest_names_only(sqlite_api: ApiFixture) -> None:
    context = sqlite_api.app.context
    for number in range(300):
        await create_event_type(context, ACTOR, name=f"invoice.kind_{number}", data_schema=None)
    subscription = {"url": "https://x.example", "events": ["invoice.kind_1x"]}
    detail = (await sqlite_api.post("/api/v1/webhooks", subscription)).json()["detail"]
    assert "invoice.kind_1" in detail
    assert len(detail) < 300
    detail = (await sqlite_api.post("/api/v1/events", {"type": "upload.complete", "data": {}})).json()["detail"]
    assert "upload.completed" in detail
    detail = (await sqlite_api.post("/api/v1/events", {"type": "x" * 100_000, "data": {}})).json()["detail"]
    assert len(detail) < 500


async def test_a_batch_is_accepted_in_its_order(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/hook"), events=["upload.completed"])
    before = count_accepted()
    kinds = ["upload.completed", "upload.failed", "upload.created", "upload.completed"]
    body = {"events": [{"type": kind, "data": {"n": n}} for n, kind in enumerate(kinds)]}
    response = await api.post("/api/v1/events/batch", body)
    assert response.status_code == 202
    events = response.json()["events"]
    assert [event["type"] for event in events] == kinds
    assert [event["deliveries"] for event in events] == [1, 0, 0, 1]
    shown = [(await api.get(f"/api/v1/events/{event['id']}")).json()["data"]["n"] for event in events]
    assert shown == [0, 1, 2, 3]
    assert count_accepted() == before + 4


async def test_a_batch_with_one_bad_event_leaves_nothing(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/hook"))
    body = {"events": [{"type": "upload.completed", "data": {}}, {"type": "no.such", "data": {}}]}
    assert (await api.post("/api/v1/events/batch", body)).status_code == 400
    assert (await api.get("/operator/v1/deliveries")).json()["data"] == []


@pytest.mark.parametrize(("count", "status"), [(0, 400), (1, 202), (1_000, 202), (1_001, 400)])
async def test_a_batch_holds_1_to_1000_events(sqlite_api: ApiFixture, count: int, status: int) -> None:
    body = {"events": [{"type": "upload.completed", "data": {}}] * count}
    response = await sqlite_api.post("/api/v1/events/batch", body)
    assert response.status_code == status


async def test_a_batch_may_be_larger_than_other_bodies_but_not_its_events(sqlite_api: ApiFixture) -> None:
    limit = sqlite_api.app.context.settings.body_limit_bytes
    event = {"type": "upload.completed", "data": {"a": "x" * (limit - 8)}}
    assert (await sqlite_api.post("/api/v1/events/batch", {"events": [event] * 3})).status_code == 202
    event["data"] = {"a": "x" * (limit - 7)}
    refused = await sqlite_api.call(
        "POST", "/api/v1/events/batch", content=json.dumps({"events": [event]}, separators=(",", ":"))
    )
    assert (refused.status_code, "`events[0].data`" in refused.json()["detail"]) == (413, True)


async def test_a_repeated_key_is_answered_with_the_first_answer(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/hook"))
    body = '{"type":"upload.completed","data":{"a":1}}'
    first = await post_bytes(api, body, **{"Idempotency-Key": "k" * 255})
    again = await post_bytes(api, body, **{"Idempotency-Key": "k" * 255})
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.content == again.content
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len((await api.get("/operator/v1/deliveries")).json()["data"]) == 1

    other = await post_bytes(api, body + " ", **{"Idempotency-Key": "k" * 255})
    batch = await post_bytes(api, f'{{"events":[{body}]}}', "/api/v1/events/batch", **{"Idempotency-Key": "k" * 255})
    assert [other.status_code, batch.status_code] == [409, 409]
    stranger = await api.new_key(organization_id=await api.new_organization())
    theirs = await api.call(
        "POST", "/api/v1/events", key=stranger, content=body, headers={"Idempotency-Key": "k" * 255}
    )
    assert (theirs.status_code, theirs.content != first.content) == (202, True)


async def test_a_refused_event_frees_its_key(api: ApiFixture) -> None:
    headers = {"Idempotency-Key": "a"}
    assert (await post_bytes(api, '{"type":"no.such","data":{}}', **headers)).status_code == 400
    assert (await post_bytes(api, '{"type":"upload.created","data":{}}', **headers)).status_code == 202


async def test_the_same_key_many_times_at_once_publishes_once(api: ApiFixture) -> None:
    body = '{"type":"upload.completed","data":{}}'
    answers = await asyncio.gather(*(post_bytes(api, body, **{"Idempotency-Key": "once"}) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_that_is_empty_or_too_long_is_a_400(sqlite_api: ApiFixture, key: str) -> None:
    response = await post_bytes(sqlite_api, '{"type":"upload.created","data":{}}', **{"Idempotency-Key": key})
    assert (response.status_code, "Idempotency-Key" in response.json()["detail"]) == (400, True)


@pytest.mark.parametrize("identifier", ["evt_0123456789abcdef01234567", "evt_", "%00", "x" * 300])
async def test_an_unknown_event_is_a_404(api: ApiFixture, identifier: str) -> None:
    assert (await api.get(f"/api/v1/events/{identifier}")).status_code == 404


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('ab"\\[]{}é\0')),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('"[]{}\\'), inner, max_size=3),
    max_leaves=40,
)


def depth(value: Any) -> int:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, inner), default=0)
    return 0


@given(JSON, st.integers(0, 8), st.booleans())
def test_nesting_is_measured_as_a_parser_would(value: Any, levels: int, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped).encode()
    assert is_nested_deeper(text, levels) == (depth(value) > levels)


def test_nesting_at_the_limit_is_allowed() -> None:
    assert not is_nested_deeper(b"[" * DEEPEST_NESTING + b"]" * DEEPEST_NESTING, DEEPEST_NESTING)
    assert is_nested_deeper(b"[" * (DEEPEST_NESTING + 1) + b"]" * (DEEPEST_NESTING + 1), DEEPEST_NESTING)
