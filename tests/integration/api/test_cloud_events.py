"""CloudEvents 1.0 at `POST /api/v1/events`, and as a dialect."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tests.integration.api.api_fixture import ApiFixture
from tests.support.receiver import Receiver
from tests.support.reference_signatures import standard_marks

TYPE = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}
EVENT = {"specversion": "1.0", "id": "7", "source": "https://shop.example/orders", "type": "upload.completed"}
HEADERS = {f"ce-{name}": value for name, value in EVENT.items()}


async def publish(api: ApiFixture, text: str, **headers: str) -> Any:
    return await api.post("/api/v1/events", content=text.encode(), headers=TYPE | headers)


async def test_both_forms_publish_the_bytes_of_their_data_at_their_time(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/hook"))
    receiver.forget()
    data = '{ "price": 1.50, "name": "Fr\\u00fch" }'
    document = json.dumps(EVENT | {"time": "2026-04-01T10:00:00.5Z", "subject": "s", "traceparent": "00-1"})
    structured = await publish(api, f'{document[:-1]}, "data": {data}}}')
    headers = {**HEADERS, "ce-id": "8", "ce-time": "2026-04-01T12:00:00.5+02:00", "Content-Type": "application/json"}
    binary = await api.post("/api/v1/events", content=data.encode(), headers=headers)
    for answer in (structured, binary):
        assert (answer.status_code, answer.json()["type"], answer.json()["deliveries"]) == (202, "upload.completed", 1)
    await api.app.work()
    bodies = [request.body.decode() for request in receiver.requests("/hook")]
    assert len(bodies) == 2
    assert all(body.endswith(f'"created_at":"2026-04-01T10:00:00.500+00:00","data":{data}}}') for body in bodies)


async def test_the_same_source_and_id_are_published_once_in_whatever_form(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/hook"))
    first = await publish(api, json.dumps(EVENT | {"data": {"n": 1}}))
    again = await publish(api, json.dumps(EVENT | {"time": "2026-04-01T10:00:00Z", "data": {"n": 1}}))
    binary = await api.post("/api/v1/events", {"n": 1}, headers=HEADERS)
    assert first.json() == again.json() == binary.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == binary.headers["Idempotency-Replayed"] == "true"
    others = [EVENT | {"id": "8"}, EVENT | {"source": "/other"}]
    ids = {(await publish(api, json.dumps(other))).json()["id"] for other in others}
    assert len(ids | {first.json()["id"]}) == 3
    keyed = [await publish(api, json.dumps(EVENT), **{"Idempotency-Key": key}) for key in ("a", "b")]
    assert len({one.json()["id"] for one in keyed} | ids | {first.json()["id"]}) == 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": None}, "`id` is missing"),
        ({"source": ""}, "`source` is missing"),
        ({"type": 7}, "`type` must be a string"),
        ({"specversion": "0.3"}, "`specversion` must be 1.0"),
        ({"source": "two words"}, "`source` must be a URI"),
        ({"time": "yesterday"}, "`time` must be a time with a UTC offset"),
        ({"time": "2026-04-01T10:00:00"}, "`time` must be a time with a UTC offset"),
        ({"datacontenttype": "text/xml"}, "`datacontenttype` must be application/json"),
        ({"data_base64": "e30="}, "`data_base64` is for data that is not JSON"),
        ({"data": [1]}, "`data` must be a JSON object"),
        ({"Type": "x"}, "`Type` is not a known attribute; the nearest one is `type`"),
        ({"trace-parent": "x"}, "`trace-parent` is not the name of an attribute"),
        ({"id": "7" * 2_001}, "`id` has more than 2,000 characters"),
        ({"type": "order.unknown"}, "order.unknown"),
    ],
)
async def test_a_structured_event_that_is_not_one_is_refused_by_its_attribute(
    sqlite_api: ApiFixture, changes: dict[str, Any], said: str
) -> None:
    refused = await publish(sqlite_api, json.dumps(EVENT | changes))
    assert refused.status_code == 400
    assert said in refused.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        ({"ce-id": ""}, "{}", "`ce-id` is missing"),
        ({"ce-specversion": "2.0"}, "{}", "`ce-specversion` must be 1.0"),
        ({"ce-time": "1"}, "{}", "`ce-time` must be a time"),
        ({"ce-datacontenttype": "application/json"}, "{}", "`ce-datacontenttype` is `Content-Type`"),
        ({"Content-Type": "text/plain"}, "{}", "`Content-Type` must be application/json"),
        ({}, "{", "not valid JSON"),
        ({}, "[]", "`data` must be a JSON object"),
    ],
)
async def test_a_binary_event_that_is_not_one_is_refused_by_its_header(
    sqlite_api: ApiFixture, headers: dict[str, str], body: str, said: str
) -> None:
    refused = await sqlite_api.post("/api/v1/events", content=body.encode(), headers=HEADERS | headers)
    assert refused.status_code == 400
    assert said in refused.json()["detail"]


@pytest.mark.parametrize("path", ["/api/v1/events", "/api/v1/events/batch"])
async def test_a_batch_publishes_each_event_once_for_its_source_and_id(
    api: ApiFixture, receiver: Receiver, path: str
) -> None:
    await api.register(receiver.url("/hook"))
    receiver.forget()
    alone = (await publish(api, json.dumps(EVENT | {"data": {"n": 7}}))).json()
    batch = [EVENT | {"id": str(number), "data": {"n": number}} for number in (9, 7, 8, 9)]
    answers = [
        await api.post(path, content=json.dumps(some).encode(), headers=BATCH) for some in (batch, batch[:3], batch[1:])
    ]
    first, again, partly = ([event["id"] for event in answer.json()["events"]] for answer in answers)
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert (first[1], first[3], len(set(first))) == (alone["id"], first[0], 3)
    assert (again, partly) == (first[:3], first[1:])
    replayed = [answer.headers.get("Idempotency-Replayed") for answer in answers]
    assert replayed == [None, "true", "true"]
    single = await publish(api, json.dumps(batch[2]))
    assert (single.json()["id"], single.headers["Idempotency-Replayed"]) == (first[2], "true")
    await api.app.work()
    assert sorted(request.event["data"]["n"] for request in receiver.requests("/hook")) == [7, 8, 9]


async def test_a_batch_with_an_idempotency_key_is_done_once_for_the_key(api: ApiFixture) -> None:
    content = json.dumps([EVENT, EVENT]).encode()
    keyed = [
        (await api.post("/api/v1/events", content=content, headers=BATCH | {"Idempotency-Key": "k"})).json()
        for _ in range(2)
    ]
    assert keyed[0] == keyed[1]
    assert len({event["id"] for event in keyed[0]["events"]}) == 2


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ([], "1 to 1,000 CloudEvents, not 0"),
        ([EVENT] * 1_001, "1 to 1,000 CloudEvents, not 1,001"),
        ({}, "array"),
        ([EVENT, 7], "[1]"),
        ([EVENT, EVENT | {"id": None}], "`events[1].id` is missing"),
        ([EVENT | {"data": 7}], "`events[0].data` must be a JSON object"),
        ([EVENT | {"Source": "/x"}], "`events[0].Source` is not a known attribute; the nearest one is `source`"),
        ([EVENT, EVENT | {"id": "8", "type": "order.unknown"}], "in `events[1].type`"),
    ],
)
async def test_a_batch_with_something_wrong_publishes_nothing_and_names_the_place(
    sqlite_api: ApiFixture, batch: Any, said: str
) -> None:
    refused = await sqlite_api.post("/api/v1/events/batch", content=json.dumps(batch).encode(), headers=BATCH)
    assert (refused.status_code, said in refused.json()["detail"]) == (400, True), refused.text
    fresh = await publish(sqlite_api, json.dumps(EVENT))
    assert (fresh.status_code, fresh.headers.get("Idempotency-Replayed")) == (202, None)


async def test_another_format_of_cloud_events_is_refused_with_those_that_are_taken(sqlite_api: ApiFixture) -> None:
    headers = {"Content-Type": "application/cloudevents+avro"}
    refused = await sqlite_api.post("/api/v1/events", content=b"x", headers=headers)
    assert refused.status_code == 415
    assert "application/cloudevents-batch+json" in refused.json()["detail"]


async def test_the_trace_of_an_event_reaches_its_receivers(sqlite_api: ApiFixture, receiver: Receiver) -> None:
    await sqlite_api.register(receiver.url("/hook"))
    receiver.forget()
    parents = [f"00-{'4' * 32}-{number * 16}-01" for number in "12"]
    await publish(sqlite_api, json.dumps(EVENT | {"traceparent": parents[0], "tracestate": "vendor=a"}))
    await publish(sqlite_api, json.dumps(EVENT | {"id": "8", "traceparent": parents[0]}), traceparent=parents[1])
    await publish(sqlite_api, json.dumps(EVENT | {"id": "9", "traceparent": "no"}))
    batch = [EVENT | {"id": f"b{number}", "traceparent": parent} for number, parent in enumerate((*parents, "no"))]
    for headers in ({}, {"traceparent": f"00-{'5' * 32}-{'3' * 16}-01"}):
        content = json.dumps([one | {"id": one["id"] + str(len(headers))} for one in batch]).encode()
        await sqlite_api.post("/api/v1/events", content=content, headers=BATCH | headers)
    await sqlite_api.app.work()
    sent = [dict(request.headers) for request in receiver.requests("/hook")]
    found = Counter((one.get("traceparent"), one.get("tracestate")) for one in sent)
    assert found == {
        (parents[0], "vendor=a"): 1,
        (parents[0], None): 1,
        (parents[1], None): 2,
        (None, None): 2,
        (f"00-{'5' * 32}-{'3' * 16}-01", None): 3,
    }


async def test_an_event_without_data_gets_an_empty_object(sqlite_api: ApiFixture, receiver: Receiver) -> None:
    await sqlite_api.register(receiver.url("/hook"))
    accepted = [await publish(sqlite_api, json.dumps(EVENT | {"data": None}))]
    accepted.append(await sqlite_api.call("POST", "/api/v1/events", headers=HEADERS | {"ce-id": "8"}))
    await sqlite_api.app.work()
    assert [one.status_code for one in accepted] == [202, 202]
    assert [request.event["data"] for request in receiver.requests("/hook")[1:]] == [{}, {}]


async def test_the_key_is_asked_for_before_the_event(sqlite_api: ApiFixture) -> None:
    answer = await sqlite_api.post("/api/v1/events", content=b"{", headers=TYPE, key="")
    assert answer.status_code == 401
    wrong = await sqlite_api.post(
        "/api/v1/events", content=b"{", headers=TYPE, key=await sqlite_api.new_key("operator")
    )
    assert wrong.status_code == 403


async def test_an_endpoint_gets_cloud_events_signed_as_standard_webhooks(api: ApiFixture, receiver: Receiver) -> None:
    made = await api.post("/api/v1/webhooks", {"url": receiver.url("/hook"), "dialect": "cloudevents"})
    secret = made.json()["secret"]
    event = await api.publish({"b": 1.5}, occurred_at="2026-04-01T10:00:00+00:00")
    await api.app.work()
    ping, request = receiver.requests("/hook")
    assert request.event == {
        "specversion": "1.0",
        "id": event["id"],
        "source": f"urn:optimaldial:organization:{api.app.principal.organization_id}",
        "type": "upload.completed",
        "time": "2026-04-01T10:00:00.000+00:00",
        "datacontenttype": "application/json",
        "data": {"b": 1.5},
    }
    for one in (ping, request):
        assert one.header("Content-Type") == "application/cloudevents+json"
        timestamp, identifier = one.header("webhook-timestamp"), one.header("webhook-id")
        assert standard_marks(identifier, timestamp, one.header("webhook-signature"), one.body, [secret])
    # What an endpoint gets can be published again as it is.
    republished = await publish(api, request.body.decode())
    assert republished.status_code == 202
