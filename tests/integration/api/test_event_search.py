"""Events are found: by tag, request, Idempotency-Key, text in their data, and by what an operator pastes."""

from __future__ import annotations

from typing import Any

import pytest

from sendoff.ids import new_event_id, new_request_id, requested_at
from sendoff.maintenance.purge import purge_expired
from sendoff.store.queries.traffic import event_lists
from sendoff.store.tables import EventTag
from tests.integration.api.api_fixture import ApiFixture
from tests.support.receiver import Receiver

EVENTS, SEARCH = "/operator/v1/events", "/operator/v1/search"


async def page(api: ApiFixture, **params: Any) -> dict[str, Any]:
    response = await api.get(EVENTS, params=params)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def found(api: ApiFixture, **params: Any) -> list[str]:
    """The ids of the events of the first page."""
    return [event["id"] for event in (await page(api, **params))["data"]]


async def searched(api: ApiFixture, q: str) -> tuple[str, list[tuple[str, str]]]:
    """What the text was taken for, and type and id of what was found."""
    response = await api.get(SEARCH, params={"q": q})
    assert response.status_code == 200, response.text
    answer = response.json()
    return answer["kind"], [(one["type"], one["id"]) for one in answer["data"]]


async def test_tags_find_exactly_the_events_that_have_them(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/hook"))
    first = await api.publish(tags=["order:42", "eu"])
    second = await api.publish(tags=["order:420", "eu", "eu"])
    batch = await api.post(
        "/api/v1/events/batch",
        {"events": [{"type": "upload.failed", "data": {}, "tags": ["eu"]}, {"type": "upload.failed", "data": {}}]},
    )
    third = batch.json()["events"][0]
    keyed = await api.post(
        "/api/v1/events", {"type": "upload.failed", "data": {}, "tags": ["k"]}, headers={"Idempotency-Key": "k-1"}
    )
    await api.publish()
    organization = api.app.principal.organization_id
    assert await found(api, tag="order:42") == [first["id"]]
    assert await found(api, tag="eu") == [third["id"], second["id"], first["id"]]
    assert await found(api, tag="eu", organization_id=organization, event_type="upload.failed") == [third["id"]]
    assert await found(api, tag="eu", organization_id=await api.new_organization()) == []
    assert await found(api, tag="order") == []
    assert await found(api, tag="k") == [keyed.json()["id"]]
    head = await page(api, tag="eu", limit=2)
    assert await found(api, tag="eu", limit=2, cursor=head["next_cursor"]) == [first["id"]]
    shown = (await api.get(f"/api/v1/events/{second['id']}")).json()
    assert (shown["tags"], shown["deliveries"][0]["state"]) == (["eu", "order:420"], "pending")
    await api.app.work()
    assert len(receiver.requests("/hook")) == 6 + 1  # and the ping


@pytest.mark.parametrize(
    ("tags", "field"),
    [
        (["a"] * 6, "tags"),
        ([""], "tags[0]"),
        (["ok", "x" * 65], "tags[1]"),
        (["a\nb"], "tags[0]"),
        ("a", "tags"),
        ([1], "tags"),
    ],
)
async def test_bad_tags_are_named(sqlite_api: ApiFixture, tags: Any, field: str) -> None:
    event = {"type": "upload.completed", "data": {}, "tags": tags}
    for path, body, prefix in (("", event, ""), ("/batch", {"events": [event]}, "events[0].")):
        refused = await sqlite_api.post(f"/api/v1/events{path}", body)
        assert (refused.status_code, f"`{prefix}{field}" in refused.json()["detail"]) == (400, True), refused.text


async def test_tags_leave_with_their_event(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/hook"), events=["upload.completed"])
    await api.publish(tags=["delivered"])
    await api.publish(type="upload.failed", tags=["nobody's"])
    await api.app.work()
    api.app.clock.advance(400 * 86_400)
    await purge_expired(api.app.context)
    async with api.app.transaction() as tx:
        assert (await tx.execute(EventTag.__table__.select())).all() == []  # type: ignore[attr-defined]


async def test_events_are_found_by_request_and_by_idempotency_key(api: ApiFixture) -> None:
    own = await api.post(
        "/api/v1/events", {"type": "upload.failed", "data": {}}, headers={"X-Request-Id": "checkout-17"}
    )
    made = await api.post("/api/v1/events", {"type": "upload.failed", "data": {}})
    keyed = await api.post(
        "/api/v1/events/batch",
        {"events": [{"type": "upload.failed", "data": {}}] * 2},
        headers={"Idempotency-Key": "order-9"},
    )
    assert await found(api, request_id="checkout-17") == [own.json()["id"]]
    assert await found(api, request_id=made.headers["X-Request-Id"]) == [made.json()["id"]]
    assert await found(api, request_id=new_request_id()) == []
    both = {event["id"] for event in keyed.json()["events"]}
    assert set(await found(api, idempotency_key="order-9")) == both
    assert set(await found(api, idempotency_key="order-9", organization_id=api.app.principal.organization_id)) == both
    assert await found(api, idempotency_key="order-9", organization_id=await api.new_organization()) == []
    assert await found(api, idempotency_key="order-10") == []
    assert await searched(api, made.headers["X-Request-Id"]) == ("request_id", [("event", made.json()["id"])])


def test_a_request_id_tells_its_time_and_an_event_id_sorts_by_it() -> None:
    seconds = requested_at(new_request_id())
    assert seconds is not None
    assert seconds == pytest.approx(int(new_event_id()[4:16], 16) / 1000, abs=2)
    assert requested_at("checkout-17") is None


async def test_text_in_data_is_searched_within_an_organization_and_a_budget(
    api: ApiFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_lists, "SCANNED_AT_MOST", 3)
    organization = api.app.principal.organization_id
    wanted = await api.publish({"order": "order-42"})
    for number in range(7):
        await api.publish({"order": f"order-{number}"})
    refused = await api.get(EVENTS, params={"q": "order-42"})
    assert (refused.status_code, "organization_id" in refused.json()["detail"]) == (400, True)

    pages, ids = 0, list[str]()
    cursor: str | None = ""
    while cursor is not None:
        answer = await page(api, q="order-42", organization_id=organization, cursor=cursor)
        ids += [event["id"] for event in answer["data"]]
        cursor = answer["next_cursor"]
        pages += 1
        assert (answer["scanned"], answer["scanned_back_to"] is None) == ((3, False) if cursor else (None, True))
    assert (pages, ids) == (3, [wanted["id"]])
    assert await found(api, q="order-6", organization_id=organization, limit=1) != []
    assert await found(api, q="order-6", organization_id=await api.new_organization()) == []


async def test_a_time_window_bounds_a_search(api: ApiFixture) -> None:
    event = await api.publish()
    at = api.app.clock.now()
    api.app.clock.advance(3_600)
    later = await api.publish()
    assert await found(api, since=at.isoformat()) == [later["id"], event["id"]]
    assert await found(api, since="2026-04-24T13:00:00Z") == [later["id"]]
    assert await found(api, since="2100-01-01T00:00:00Z") == []
    assert await found(api, until="2026-04-01T00:00:00Z") == []


async def test_an_event_shows_its_data_as_it_was_sent_and_its_deliveries(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/hook"))
    sent = b'{"type":"upload.completed","data":{"b":1.10,"a":"\\u00e9"},"tags":["x"]}'
    event = await api.post("/api/v1/events", content=sent, headers={"Content-Type": "application/json"})
    await api.app.work()
    shown = await api.get(f"{EVENTS}/{event.json()['id']}")
    assert '"data":{"b":1.10,"a":"\\u00e9"}' in shown.text
    [delivery] = shown.json()["deliveries"]
    assert (delivery["endpoint_url"], delivery["state"]) == (receiver.url("/hook"), "delivered")
    [listed] = (await page(api))["data"]
    assert (listed["tags"], listed["deliveries"], "data" in listed) == (["x"], 1, False)


async def test_search_takes_what_is_pasted_for_what_it_looks_like(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hooks/acme"), description="Billing of ACME")
    event = await api.publish({"order": "needle-7"}, tags=["order:7"])
    organization = api.app.principal.organization_id
    [delivery] = (await api.get("/operator/v1/deliveries")).json()["data"]
    of_event, of_endpoint = ("event", event["id"]), ("endpoint", webhook["id"])
    assert await searched(api, f" {event['id']} ") == ("event_id", [of_event])
    assert await searched(api, delivery["id"].upper()) == ("uuid", [("delivery", delivery["id"])])
    assert await searched(api, webhook["id"]) == ("uuid", [of_endpoint])
    assert await searched(api, organization) == ("uuid", [("organization", organization)])
    assert await searched(api, receiver.url("/hooks")) == ("url", [of_endpoint])
    assert await searched(api, "unknown.example") == ("url", [])
    assert await searched(api, "order:7") == ("tag", [of_event])
    assert await searched(api, "needle-7") == ("text", [of_event])
    assert await searched(api, "billing") == ("text", [of_endpoint])
    assert await searched(api, "100%_\\'") == ("text", [])
    kind, results = await searched(api, "Dev@Example.com")
    assert (kind, results[0]) == ("email", ("organization", organization))
    kind, results = await searched(api, api.key[:12])
    assert (kind, [one for one, _ in results]) == ("key", ["key"])
    assert (await searched(api, api.key))[1] == results
    assert api.key not in (await api.get(SEARCH, params={"q": api.key})).text
    for params in ({}, {"q": ""}, {"q": "x" * 10_000}):
        assert (await api.get(SEARCH, params=params)).status_code == 400


async def test_deliveries_and_dead_letters_are_filtered_by_what_was_answered(
    api: ApiFixture, receiver: Receiver
) -> None:
    receiver.program("/hook", 200, 503)
    letter = await api.die(receiver.url("/hook"))
    await api.register(receiver.url("/fine"))
    published = await api.post("/api/v1/events", {"type": "upload.completed", "data": {}})
    await api.app.work()

    async def count(what: str, **params: Any) -> int:
        return len((await api.get(f"/operator/v1/{what}", params=params)).json()["data"])

    assert await count("deliveries", status_class="5xx") == await count("deliveries", response_status=503) == 2
    assert await count("deliveries", status_class="2xx") == await count("deliveries", state="delivered") == 1
    assert await count("deliveries", min_attempts=letter["attempt_count"]) == 1
    assert await count("deliveries", request_id=published.headers["X-Request-Id"]) == 2
    organization = api.app.principal.organization_id
    assert await count("deliveries", request_id=published.headers["X-Request-Id"], organization_id=organization) == 2
    assert await count("dead-letters", status_class="5xx", min_attempts=2) == 1
    assert await count("dead-letters", status_class="4xx") == 0
    refused = await api.get("/operator/v1/deliveries", params={"status_class": "9xx"})
    assert (refused.status_code, "status_class" in refused.json()["detail"]) == (400, True)


async def test_one_endpoint_shows_what_waits_for_it(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hook"), ordered=True)
    for _ in range(3):
        await api.publish()
    shown = (await api.get(f"/operator/v1/endpoints/{webhook['id']}")).json()
    assert shown["waiting"] == {"pending": 1, "held": 0, "queued": 2, "in_flight": 0}
    assert (shown["url"], shown["last_hour"]["attempts"]) == (receiver.url("/hook"), 0)
    types = (await api.get("/operator/v1/event-types")).json()["data"]
    assert "upload.completed" in [one["name"] for one in types]
