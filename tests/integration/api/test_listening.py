"""`/api/v1/listen`: events as an endpoint gets them, each once, whichever process answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sendoff.endpoints import listening
from sendoff.endpoints.listening import MOST_SEEN, Cursor
from sendoff.errors import Invalid
from sendoff.ids import new_event_id
from sendoff.store.queries.traffic import events
from sendoff.store.tables import Event
from sendoff.verify import SCHEMES, VerificationError, verify
from tests.integration.api.api_fixture import ApiFixture
from tests.support.polling import eventually
from tests.support.receiver import Receiver

LISTEN = "/api/v1/listen"


async def ask(api: ApiFixture, cursor: str | None, **query: Any) -> dict[str, Any]:
    answer = await api.get(LISTEN, params={**query, **({"cursor": cursor} if cursor else {})})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def publish(api: ApiFixture, event_type: str = "upload.completed", **data: Any) -> str:
    accepted = await api.post("/api/v1/events", {"type": event_type, "data": data})
    assert accepted.status_code == 202, accepted.text
    identifier: str = accepted.json()["id"]
    return identifier


def verify_now(api: ApiFixture, headers: list[tuple[str, str]], body: bytes, secret: str) -> dict[str, Any]:
    return verify(SCHEMES["default"], headers, body, [secret], now=api.app.context.clock.now().timestamp())


async def test_events_are_shown_once_and_their_signature_holds(api: ApiFixture) -> None:
    await publish(api, n=0)
    first = await ask(api, None)
    assert first["data"] == []
    published = [await publish(api, n=n) for n in (1, 2)]
    page = await ask(api, first["cursor"])
    assert [one["id"] for one in page["data"]] == published
    request = page["data"][0]["request"]
    event = verify_now(api, list(request["headers"].items()), request["body"].encode(), first["secret"])
    assert (event["id"], event["data"]) == (published[0], {"n": 1})
    with pytest.raises(VerificationError):
        verify_now(api, list(request["headers"].items()), request["body"].encode() + b" ", first["secret"])
    again = await ask(api, page["cursor"])
    assert (again["data"], again["secret"]) == ([], first["secret"])


async def test_an_answer_waits_for_an_event_and_ends_with_the_process(api: ApiFixture) -> None:
    cursor = (await ask(api, None))["cursor"]
    waiting = asyncio.create_task(ask(api, cursor, wait_seconds=20))
    published = await publish(api)
    page = await asyncio.wait_for(waiting, 15)
    assert [one["id"] for one in page["data"]] == [published]
    ending = asyncio.create_task(ask(api, page["cursor"], wait=20))
    feed = api.app.context.service(listening.EventFeed)
    await eventually(lambda: feed.listeners, within=10, what="a listener that waits")
    await feed.aclose()
    assert (await asyncio.wait_for(ending, 10))["data"] == []


async def test_an_event_that_is_committed_late_is_shown_all_the_same(api: ApiFixture) -> None:
    cursor = (await ask(api, None))["cursor"]
    early = new_event_id()
    later = await publish(api)
    page = await ask(api, cursor)
    assert [one["id"] for one in page["data"]] == [later]
    async with api.app.context.database.write() as tx:
        known = await events.find(tx, later)
        assert known is not None
        tx.add(Event(**known.model_dump() | {"id": early}))
    page = await ask(api, page["cursor"])
    assert [one["id"] for one in page["data"]] == [early]
    assert (await ask(api, page["cursor"]))["data"] == []


async def test_only_the_types_that_are_asked_for_are_shown(api: ApiFixture) -> None:
    cursor = (await ask(api, None))["cursor"]
    await publish(api, "upload.created")
    failed = await publish(api, "upload.failed")
    page = await ask(api, cursor, event_type=["upload.failed", "number.*"])
    assert [one["id"] for one in page["data"]] == [failed]
    assert (await ask(api, page["cursor"]))["data"] == []


async def test_as_an_endpoint_it_shows_what_the_endpoint_gets(api: ApiFixture, receiver: Receiver) -> None:
    registered = await api.post(
        "/api/v1/webhooks",
        {
            "url": receiver.url("/hook"),
            "events": ["upload.completed"],
            "filter": "data.n > 1",
            "transform": "{'twice': data.n * 2}",
        },
    )
    endpoint, secret = registered.json()["webhook"]["id"], registered.json()["secret"]
    first = await ask(api, None, endpoint_id=endpoint)
    assert first["secret"] is None
    await publish(api, n=1)
    shown = await publish(api, n=2)
    page = await ask(api, first["cursor"], endpoint_id=endpoint)
    assert [one["id"] for one in page["data"]] == [shown]
    again = (await api.get(f"{LISTEN}/{shown}", params={"endpoint_id": endpoint})).json()
    for one in (page["data"][0], again):
        headers, body = list(one["request"]["headers"].items()), one["request"]["body"].encode()
        assert verify_now(api, headers, body, secret)["data"] == {"twice": 4}
    delivery = (await api.get("/api/v1/deliveries", params={"event_id": shown})).json()["data"][0]
    assert delivery["attempt_count"] == 0


async def test_listeners_of_an_organization_are_limited(api: ApiFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MOST_OF_AN_ORGANIZATION", 1)
    cursor = (await ask(api, None))["cursor"]
    waiting = asyncio.create_task(ask(api, cursor, wait=20))
    feed = api.app.context.service(listening.EventFeed)
    await eventually(lambda: feed.listeners, within=10, what="a listener that waits")
    refused = await api.get(LISTEN, params={"cursor": cursor})
    assert refused.status_code == 429
    assert refused.json()["detail"]["limit"] == 1
    await publish(api)
    assert len((await asyncio.wait_for(waiting, 15))["data"]) == 1


async def test_a_cursor_of_long_ago_skips_what_is_old_and_says_so(
    api: ApiFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(api, n=1)
    monkeypatch.setattr(listening, "LOOK_BACK_SECONDS", 0.0)
    page = await ask(api, Cursor.ago(24 * 3600).write())
    assert (page["data"], page["skipped"]) == ([], 1)


async def test_an_invalid_or_foreign_cursor_is_refused(api: ApiFixture) -> None:
    for cursor in ("x", "AAAA", "é"):
        refused = await api.get(LISTEN, params={"cursor": cursor})
        assert refused.status_code == 400
        assert "cursor" in refused.json()["detail"]
    assert (await api.get(f"{LISTEN}/evt_{'0' * 24}")).status_code == 404
    assert (await api.get(LISTEN, params={"endpoint_id": "0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11"})).status_code == 404
    own = await publish(api)
    for event_id, status, code in ((own, 200, 204), (own, None, 204), (own, 99, 400), (new_event_id(), 200, 404)):
        reported = await api.post(f"{LISTEN}/{event_id}/answer", {"status": status, "duration_ms": 3})
        assert reported.status_code == code


def test_a_cursor_stays_short_and_forgets_only_what_lies_below_its_floor() -> None:
    start = Cursor.ago(100)
    ids = [Cursor.ago(100 - n / 1000).floor for n in range(1_000)]
    cursor = start
    for at in range(0, 1_000, 50):
        cursor = cursor.after(ids[at : at + 50], start)
        assert Cursor.read(cursor.write()) == cursor
        assert len(cursor.seen) <= MOST_SEEN
        assert all(one in cursor.seen for one in ids[: at + 50] if one >= cursor.floor)
    assert cursor.after([], Cursor.ago(0)).seen == ()
    with pytest.raises(Invalid):
        Cursor.read("")


async def test_an_answer_holds_large_events_a_few_at_a_time(api: ApiFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MOST_BYTES", 1_000)
    cursor = (await ask(api, None))["cursor"]
    published = [await publish(api, text="x" * size) for size in (400, 400, 2_000, 10)]
    pages = []
    for _ in range(3):
        page = await ask(api, cursor)
        cursor = page["cursor"]
        pages.append([one["id"] for one in page["data"]])
    assert pages == [published[:2], published[2:3], published[3:]]


async def test_a_cursor_names_no_more_events_than_an_answer_gives(api: ApiFixture) -> None:
    ids = [new_event_id() for _ in range(MOST_SEEN + 1)]
    assert len(Cursor.read(Cursor(ids[0], tuple(ids[1:])).write()).seen) == MOST_SEEN
    refused = await api.get(LISTEN, params={"cursor": Cursor(ids[0], (*ids[1:], new_event_id())).write()})
    assert (refused.status_code, "`cursor`" in refused.text) == (400, True)
