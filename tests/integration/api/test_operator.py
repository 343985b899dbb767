"""`/operator/v1`: what operators see, filter, send again and switch, across organizations."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from sendoff.operators.replays.replay import tick_replay
from sendoff.store.queries.traffic import delivery_history
from tests.integration.api.api_fixture import ApiFixture
from tests.support.exchange import Reply
from tests.support.receiver import Receiver

BASE = "/operator/v1"
DEAD_LETTER_FIELDS = {
    "id",
    "delivery_id",
    "event_id",
    "event_type",
    "endpoint_id",
    "endpoint_url",
    "organization_id",
    "reason",
    "last_response_status",
    "last_error",
    "attempt_count",
    "died_at",
    "state",
    "replayed_at",
}
REPLAY_FIELDS = {"id", "state", "total", "replayed", "succeeded", "failed", "created_at", "finished_at"}
ANY_ID = "0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11"


async def listed(api: ApiFixture, what: str, **params: Any) -> list[dict[str, Any]]:
    response = await api.get(f"{BASE}/{what}", params=params)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["data"]
    return found


@pytest.mark.parametrize("bound", ["since", "until"])
@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z"])
async def test_lists_take_any_time_that_can_be_written(api: ApiFixture, bound: str, moment: str) -> None:
    for listed in ("/operator/v1/deliveries", "/operator/v1/events", "/operator/v1/dead-letters", "/api/v1/deliveries"):
        assert (await api.get(f"{listed}?{bound}={moment}")).status_code == 200, listed


async def test_a_dead_letter_holds_the_exact_request_the_response_and_every_attempt(
    api: ApiFixture, receiver: Receiver
) -> None:
    receiver.program("/hook", 200, Reply(status=500, headers=(("X-A", "1"), ("X-A", "2")), body="out of order"))
    letter = await api.die(receiver.url("/hook"))
    assert set(letter) == DEAD_LETTER_FIELDS
    assert letter == letter | {
        "event_type": "upload.completed",
        "endpoint_url": receiver.url("/hook"),
        "organization_id": api.app.principal.organization_id,
        "reason": "retries_exhausted",
        "last_response_status": 500,
        "attempt_count": 6,
        "died_at": "2026-04-25T03:10:56.789+00:00",
        "state": "open",
        "replayed_at": None,
    }
    last = receiver.requests("/hook")[-1]
    response = await api.get(f"{BASE}/dead-letters/{letter['id']}")
    detail = response.json()
    assert set(detail) == DEAD_LETTER_FIELDS | {"request", "response", "attempts"}
    assert {name: detail[name] for name in DEAD_LETTER_FIELDS} == letter
    assert detail["request"]["url"] == receiver.url("/hook")
    assert detail["request"]["body"].encode() == last.body
    for name in ("X-OptimalDial-Signature", "X-OptimalDial-Attempt", "Content-Type", "User-Agent"):
        assert detail["request"]["headers"][name] == last.header(name)
    answered = detail["response"]
    assert (answered["status"], answered["body"], answered["truncated"]) == (500, "out of order", False)
    assert answered["body_base64"] is None
    assert answered["headers"]["x-a"] == "1, 2"
    assert [attempt["number"] for attempt in detail["attempts"]] == [1, 2, 3, 4, 5, 6]
    assert {attempt["response_status"] for attempt in detail["attempts"]} == {500}


async def test_a_binary_response_is_shown_in_base64_as_well(api: ApiFixture, receiver: Receiver) -> None:
    receiver.program("/hook", 200, 500)
    letter = await api.die(receiver.url("/hook"))
    async with api.app.context.database.write() as tx:
        exchange = await delivery_history.last_exchange_of(tx, letter["delivery_id"])
        assert exchange is not None
        exchange.response_body, exchange.response_truncated = b"\x00\xc3", True
    answered = (await api.get(f"{BASE}/dead-letters/{letter['id']}")).json()["response"]
    assert answered == answered | {"body": "\0\N{REPLACEMENT CHARACTER}", "body_base64": "AMM=", "truncated": True}


async def test_a_dead_letter_without_an_answer_has_no_response(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hook"))
    await api.publish()
    await api.post(f"{BASE}/endpoints/{webhook['id']}/disable")
    [letter] = await listed(api, "dead-letters")
    assert (letter["reason"], letter["attempt_count"]) == ("endpoint_disabled", 0)
    detail = (await api.get(f"{BASE}/dead-letters/{letter['id']}")).json()
    assert detail["response"] is None
    assert detail["attempts"] == []
    assert (detail["request"]["url"], detail["request"]["headers"]) == (webhook["url"], None)
    assert '"type":"upload.completed"' in detail["request"]["body"].replace(": ", ":")


async def test_dead_letters_are_filtered_by_every_field(api: ApiFixture, receiver: Receiver) -> None:
    # A search up to a time begins at the ids that were made then, by the machine's clock.
    api.app.clock.advance((datetime.now(UTC) - api.app.clock.now()).total_seconds())
    receiver.program("/a", 200, 500)
    receiver.program("/b", 200, 500)
    first = await api.die(receiver.url("/a"))
    second = await api.die(receiver.url("/b"))
    # The first endpoint is still subscribed: it got the second event, too.
    ids = [letter["id"] for letter in await listed(api, "dead-letters")]
    assert len(ids) == 3
    assert ids == sorted(ids, reverse=True)
    await api.post(f"{BASE}/dead-letters/{first['id']}/discard")
    cases: list[tuple[dict[str, str], set[str]]] = [
        ({"organization_id": first["organization_id"]}, set(ids)),
        ({"organization_id": ANY_ID}, set()),
        ({"endpoint_id": second["endpoint_id"]}, {second["id"]}),
        ({"event_type": "upload.completed"}, set(ids)),
        ({"event_type": "upload.failed"}, set()),
        ({"reason": "retries_exhausted"}, set(ids)),
        ({"reason": "endpoint_gone"}, set()),
        ({"state": "discarded"}, {first["id"]}),
        ({"state": "open"}, set(ids) - {first["id"]}),
        ({"since": second["died_at"]}, set(ids) - {first["id"]}),
        ({"until": second["died_at"]}, {first["id"]}),
        ({"since": first["died_at"], "until": second["died_at"], "state": "open"}, set()),
    ]
    for filters, expected in cases:
        assert {letter["id"] for letter in await listed(api, "dead-letters", **filters)} == expected, filters


async def test_a_discarded_dead_letter_is_kept_off_the_open_list(api: ApiFixture, receiver: Receiver) -> None:
    receiver.program("/hook", 200, 500)
    letter = await api.die(receiver.url("/hook"))
    response = await api.post(f"{BASE}/dead-letters/{letter['id']}/discard")
    assert (response.status_code, response.json()) == (200, letter | {"state": "discarded"})
    assert await listed(api, "dead-letters", state="open") == []
    assert await listed(api, "dead-letters") == [response.json()]
    again = await api.post(f"{BASE}/dead-letters/{letter['id']}/discard")
    assert (again.status_code, again.json()["detail"]) == (
        409,
        "This dead letter is already discarded; only open ones can be discarded.",
    )
    assert len(await listed(api, "audit", action="dead_letter.discard")) == 1


LISTS = ["dead-letters", "replays", "deliveries", "endpoints", "audit", "events", "organizations", "keys"]


@pytest.mark.parametrize("what", LISTS)
async def test_a_query_that_no_list_understands_is_a_400(sqlite_api: ApiFixture, what: str) -> None:
    queries = [
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "x"),
        ("cursor", "x"),
        ("cursor", "MDE5OWMxZjI"),
        ("cursor", "a\0"),
        ("endpoint", ANY_ID),
        ("Limit", "5"),
    ]
    for name, value in queries:
        response = await sqlite_api.get(f"{BASE}/{what}", params={name: value})
        assert (response.status_code, f"`{name}`" in response.json()["detail"]) == (400, True), (name, value)


async def test_a_filter_with_a_value_that_cannot_be_is_a_400_that_says_what_can(sqlite_api: ApiFixture) -> None:
    cases: list[tuple[str, dict[str, str], str]] = [
        ("dead-letters", {"reason": "bad_luck"}, "endpoint_gone"),
        ("dead-letters", {"state": "closed"}, "discarded"),
        ("dead-letters", {"since": "yesterday"}, "ISO 8601"),
        ("dead-letters", {"since": "1777034096"}, "ISO 8601"),
        ("dead-letters", {"until": "0001-01-01T00:00:00+14:00"}, "ISO 8601"),
        ("dead-letters", {"endpoint_id": "7"}, "UUID"),
        ("dead-letters", {"organization_id": ANY_ID + "\0"}, "UUID"),
        ("dead-letters", {"event_type": "a\0"}, "NUL"),
        ("deliveries", {"state": "exhausted"}, "in_flight"),
        ("deliveries", {"event_id": "a\0"}, "NUL"),
        ("endpoints", {"state": "off"}, "disabled"),
        ("audit", {"actor": "a\0"}, "NUL"),
    ]
    for what, params, expected in cases:
        response = await sqlite_api.get(f"{BASE}/{what}", params=params)
        assert (response.status_code, expected in response.json()["detail"]) == (400, True), (what, params)


async def test_pages_follow_each_other_without_gap_or_repetition(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/hook"))
    for _ in range(5):
        await api.publish()
    everything = await listed(api, "deliveries")
    assert len(everything) == 5
    pages: list[list[dict[str, Any]]] = []
    params = {"limit": "2"}
    while True:
        page = (await api.get(f"{BASE}/deliveries", params=params)).json()
        assert set(page) == {"data", "next_cursor"}
        pages.append(page["data"])
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [row for page in pages for row in page] == everything
    exactly = (await api.get(f"{BASE}/deliveries", params={"limit": "5"})).json()
    assert exactly == {"data": everything, "next_cursor": None}


async def test_a_replay_is_counted_first_and_then_sent(api: ApiFixture, receiver: Receiver) -> None:
    receiver.program("/hook", *[200] + [500] * 6 + [200])
    letter = await api.die(receiver.url("/hook"))
    chosen = {"filter": {"endpoint_id": letter["endpoint_id"], "reason": "retries_exhausted"}}
    dry = await api.post(f"{BASE}/replays", {**chosen, "dry_run": True})
    assert (dry.status_code, dry.json()) == (200, {"count": 1, "endpoints": 1})
    assert await listed(api, "replays") == []

    started = await api.post(f"{BASE}/replays", {**chosen, "rate": 10})
    assert (started.status_code, set(started.json())) == (202, REPLAY_FIELDS)
    replay = started.json()
    assert replay == replay | {"state": "running", "total": 1, "replayed": 0, "succeeded": 0, "failed": 0}
    for _ in range(3):
        api.app.clock.advance(1)
        await tick_replay(api.app.context, replay["id"])
        await api.app.work()
    done = (await api.get(f"{BASE}/replays/{replay['id']}")).json()
    assert done == done | {"state": "completed", "total": 1, "replayed": 1, "succeeded": 1, "failed": 0}
    assert done["finished_at"]
    assert await listed(api, "replays") == [done]
    [again] = await listed(api, "dead-letters")
    assert (again["state"], bool(again["replayed_at"])) == ("replayed", True)
    assert receiver.requests("/hook")[-1].header("X-OptimalDial-Attempt") == "7"
    conflict = await api.post(f"{BASE}/replays/{replay['id']}/cancel")
    assert conflict.status_code == 409


async def test_an_empty_filter_means_all_open_dead_letters(api: ApiFixture, receiver: Receiver) -> None:
    receiver.program("/hook", 200, 500)
    letter = await api.die(receiver.url("/hook"))
    dry_run = {"filter": {}, "dry_run": True}
    assert (await api.post(f"{BASE}/replays", dry_run)).json() == {"count": 1, "endpoints": 1}
    await api.post(f"{BASE}/dead-letters/{letter['id']}/discard")
    assert (await api.post(f"{BASE}/replays", dry_run)).json() == {"count": 0, "endpoints": 0}
    discarded = {"filter": {"state": "discarded"}, "dry_run": True}
    assert (await api.post(f"{BASE}/replays", discarded)).json() == {"count": 0, "endpoints": 0}  # never sent again


async def test_everything_is_replayed_only_if_it_is_said(api: ApiFixture, receiver: Receiver) -> None:
    receiver.program("/hook", 200, 500)
    await api.die(receiver.url("/hook"))
    refused = await api.post(f"{BASE}/replays", {"filter": {}})
    assert (refused.status_code, '"all": true' in refused.json()["detail"]) == (400, True)
    for body in ({"filter": {}, "all": True}, {"filter": {"all": True}}):
        assert (await api.post(f"{BASE}/replays", body)).json()["total"] == 1


async def test_dead_letters_are_discarded_by_a_filter(api: ApiFixture, receiver: Receiver) -> None:
    receiver.program("/a", 200, 500)
    receiver.program("/b", 200, 500)
    kept, gone = await api.die(receiver.url("/a")), await api.die(receiver.url("/b"))
    path = f"{BASE}/dead-letters/discard"
    for body, said in (
        ({"filter": {}}, '"all": true'),
        ({}, "`filter` is missing"),
        ({"filter": {"state": "replayed"}}, "`filter.state` must be open"),
    ):
        refused = await api.post(path, body)
        assert (refused.status_code, said in refused.json()["detail"]) == (400, True), refused.text
    discarded = await api.post(path, {"filter": {"endpoint_id": gone["endpoint_id"]}})
    assert discarded.json() == {"discarded": 1}
    left = await listed(api, "dead-letters", state="open")
    assert {one["endpoint_id"] for one in left} == {kept["endpoint_id"]}
    assert (await api.post(path, {"filter": {}, "all": True})).json() == {"discarded": len(left)}
    assert (await api.post(path, {"filter": {}, "all": True})).json() == {"discarded": 0}


async def test_a_dry_run_counts_missing_deliveries_apart(api: ApiFixture, receiver: Receiver) -> None:
    await api.publish()
    webhook = await api.register(receiver.url("/hook"))
    chosen = {"missing": True, "since": "2026-04-24T00:00:00Z", "endpoint_id": webhook["id"]}
    dry = await api.post(f"{BASE}/replays", {"filter": chosen, "dry_run": True})
    assert (dry.status_code, dry.json()) == (200, {"count": 0, "endpoints": 0, "missing": 1})
    for body in ({"filter": chosen, "include": ["dead", "pending"]}, {"filter": {**chosen, "include": ["dead"]}}):
        assert (await api.post(f"{BASE}/replays", body)).status_code == 202


async def test_finished_deliveries_are_replayed_by_their_ids(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/hook"))
    await api.publish()
    await api.app.work()
    await api.publish()  # not finished: not meant
    ids = [delivery["id"] for delivery in await listed(api, "deliveries")]
    body = {"filter": {"delivery_ids": [*ids, ids[0], ANY_ID]}}
    dry = await api.post(f"{BASE}/replays", {**body, "dry_run": True})
    assert dry.json() == {"count": 1, "endpoints": 1}
    started = (await api.post(f"{BASE}/replays", body)).json()
    assert started["total"] == 1
    cancelled = await api.post(f"{BASE}/replays/{started['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")


async def test_a_replay_that_is_not_fully_understood_replays_nothing(sqlite_api: ApiFixture) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "`filter`"),
        ({"dry_run": True}, "`filter`"),
        ({"filter": None}, "`filter`"),
        ({"filter": []}, "`filter`"),
        ({"filter": {"endpoint": ANY_ID}}, "`filter.endpoint`"),
        ({"filter": {"reason": "bad_luck"}}, "endpoint_gone"),
        ({"filter": {"state": "closed"}}, "discarded"),
        ({"filter": {"endpoint_id": 7}}, "`filter.endpoint_id`"),
        ({"filter": {"since": 1777034096}}, "ISO 8601"),
        ({"filter": {"limit": 5}}, "`filter.limit`"),
        ({"filter": {"delivery_ids": []}}, "`filter.delivery_ids`"),
        ({"filter": {"delivery_ids": ["7"]}}, "`filter.delivery_ids[0]`"),
        ({"filter": {"delivery_ids": [ANY_ID], "reason": "endpoint_gone"}}, "delivery_ids"),
        ({"filter": {}, "rate": 0}, "`rate`"),
        ({"filter": {}, "rate": 5_001}, "`rate`"),
        ({"filter": {}, "rate": "50"}, "`rate`"),
        ({"filter": {}, "rate": 1.5}, "`rate`"),
        ({"filter": {}, "dry_run": "yes"}, "`dry_run`"),
        ({"filter": {}, "dryrun": True}, "`dryrun`"),
        ({"filter": {}}, '"all": true'),
        ({"filter": {"missing": True, "endpoint_id": ANY_ID}}, "`filter.missing` needs a time range"),
        ({"filter": {"missing": True, "since": "2026-04-24T00:00:00Z"}}, "needs an organization or an endpoint"),
        ({"filter": {"since_event_id": "7"}}, "`filter.since_event_id`"),
        ({"filter": {"endpoint_id": ANY_ID}, "include": []}, "`include` is empty"),
        ({"filter": {"endpoint_id": ANY_ID}, "include": ["lost"]}, "`include[0]`"),
        ({"filter": {"reason": "endpoint_gone"}, "include": ["pending"]}, "`filter.reason` is of dead letters"),
        ({"filter": {"delivery_ids": [ANY_ID]}, "include": ["pending"]}, "stands alone"),
    ]
    for body, expected in cases:
        response = await sqlite_api.post(f"{BASE}/replays", body)
        assert (response.status_code, expected in response.json()["detail"]) == (400, True), (body, response.text)
    assert await listed(sqlite_api, "replays") == []


async def test_deliveries_are_filtered_and_shown_with_their_attempts(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hook"), events=["upload.completed", "upload.created"])
    receiver.program("/hook", 200, 500)
    delivered = await api.publish()
    await api.app.work()
    receiver.program("/hook", 500)
    other = await api.publish(type="upload.created")
    await api.app.work()
    first, second = await listed(api, "deliveries")
    assert (first["event_id"], first["event_type"], first["state"]) == (other["id"], "upload.created", "pending")
    assert (second["event_id"], second["attempt_count"]) == (delivered["id"], 1)
    cases: list[tuple[dict[str, str], int]] = [
        ({"endpoint_id": webhook["id"]}, 2),
        ({"endpoint_id": ANY_ID}, 0),
        ({"organization_id": webhook["organization_id"]}, 2),
        ({"event_type": "upload.created"}, 1),
        ({"event_id": delivered["id"]}, 1),
        ({"state": "pending"}, 1),
        ({"state": "delivered"}, 1),
        ({"state": "held"}, 0),
        ({"since": "2026-04-24T12:34:56.789Z", "until": "2026-04-24T12:34:57Z"}, 2),
        ({"since": "2026-04-24T14:34:57+02:00"}, 0),
        ({"until": "2026-04-24"}, 0),
    ]
    for filters, count in cases:
        assert len(await listed(api, "deliveries", **filters)) == count, filters
    detail = (await api.get(f"{BASE}/deliveries/{first['id']}")).json()
    assert {name: detail[name] for name in first} == first
    assert [(attempt["number"], attempt["response_status"]) for attempt in detail["attempts"]] == [(1, 500)]
    assert detail["response"]["status"] == 500


async def test_a_manual_retry_replaces_the_automatic_one(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/hook"))
    receiver.program("/hook", 500, 200)
    await api.publish()
    await api.app.work()
    [delivery] = await listed(api, "deliveries")
    retried = await api.post(f"{BASE}/deliveries/{delivery['id']}/retry")
    assert (retried.status_code, retried.json()["state"]) == (202, "pending")
    await api.app.work()
    detail = (await api.get(f"{BASE}/deliveries/{delivery['id']}")).json()
    assert (detail["state"], detail["attempt_count"]) == ("delivered", 2)
    conflict = await api.post(f"{BASE}/deliveries/{delivery['id']}/retry")
    assert (conflict.status_code, type(conflict.json()["detail"])) == (409, str)


async def test_endpoints_of_all_organizations_are_listed_and_switched(api: ApiFixture, receiver: Receiver) -> None:
    mine = await api.register(receiver.url("/mine"))
    stranger = await api.new_key(organization_id=await api.new_organization())
    theirs = (await api.post("/api/v1/webhooks", {"url": receiver.url("/theirs")}, key=stranger)).json()["webhook"]
    assert [endpoint["id"] for endpoint in await listed(api, "endpoints")] == [theirs["id"], mine["id"]]
    [found] = await listed(api, "endpoints", organization_id=theirs["organization_id"])
    assert (found["id"], found["state"], found["dialect"]) == (theirs["id"], "active", "default")

    path = f"{BASE}/endpoints/{theirs['id']}"
    off = await api.post(f"{path}/disable")
    assert (off.status_code, off.json()["state"], off.json()["is_active"]) == (200, "disabled", False)
    assert [endpoint["id"] for endpoint in await listed(api, "endpoints", state="disabled")] == [theirs["id"]]
    shown = (await api.get(f"/api/v1/webhooks/{theirs['id']}", key=stranger)).json()
    assert (shown["is_active"], bool(shown["disabled_at"])) == (False, True)
    on = await api.post(f"{path}/enable")
    assert (on.status_code, on.json()["state"], on.json()["disabled_at"]) == (200, "active", None)


async def test_the_owner_cannot_lift_an_operators_disable(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hook"))
    made = await api.post(
        "/api/v1/subscriptions",
        {"event_type": "message.incoming.received", "target_url": "https://receiver.example/hook"},
    )
    subscription = made.json()
    owners: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
        webhook["id"]: (f"/api/v1/webhooks/{webhook['id']}", {"is_active": False}, {"is_active": True}),
        subscription["id"]: (
            f"/api/v1/subscriptions/{subscription['id']}",
            {"status": "disabled"},
            {"status": "active"},
        ),
    }
    for identifier, (path, off, on) in owners.items():
        operators = f"{BASE}/endpoints/{identifier}"
        assert (await api.post(f"{operators}/disable")).json()["disabled_by_operator"] is True
        for body in (on, {**off}, on):
            refused = await api.patch(path, body)
            assert refused.status_code == (409 if body == on else 200), (path, refused.text)
        assert "operator" in (await api.patch(path, on)).text
        enabled = (await api.post(f"{operators}/enable")).json()
        assert (enabled["is_active"], "disabled_by_operator" in enabled) == (True, False)
        assert (await api.patch(path, off)).status_code == 200
        assert (await api.patch(path, on)).status_code == 200


async def test_an_operator_takes_over_what_was_paused_or_disabled(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hook"))
    path = f"/api/v1/webhooks/{webhook['id']}"
    await api.patch(path, {"is_active": False})
    assert (await api.post(f"{BASE}/endpoints/{webhook['id']}/disable")).json()["state"] == "disabled"
    assert (await api.patch(path, {"is_active": True})).status_code == 409
    again = await api.post(f"{BASE}/endpoints/{webhook['id']}/disable")
    assert (again.status_code, again.json()["disabled_by_operator"]) == (200, True)


async def test_the_lower_one_of_the_owners_and_the_operators_limit_counts(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hook"))
    path, operators = f"/api/v1/webhooks/{webhook['id']}", f"{BASE}/endpoints/{webhook['id']}"
    await api.patch(operators, {"rate_limit": 4})
    for own, counts in ((None, 4), (9, 4), (2, 2), (None, 4)):
        shown = (await api.patch(path, {"rate_limit": own})).json()
        assert (shown["rate_limit"], shown["operator_rate_limit"]) == (counts, 4)
        assert (await listed(api, "endpoints"))[0]["rate_limit"] == counts
    await api.patch(path, {"rate_limit": 9})
    lifted = (await api.patch(operators, {"rate_limit": None})).json()
    assert (lifted["rate_limit"], "operator_rate_limit" in lifted) == (9, False)


async def test_the_audit_log_names_actor_change_and_time_and_no_secret(api: ApiFixture, receiver: Receiver) -> None:
    created = await api.post("/api/v1/webhooks", {"url": receiver.url("/hook")})
    webhook, secret = created.json()["webhook"], created.json()["secret"]
    await api.patch(f"/api/v1/webhooks/{webhook['id']}", {"description": "New"})
    await api.delete(f"/api/v1/webhooks/{webhook['id']}")
    entries = await listed(api, "audit", target_id=webhook["id"])
    assert [entry["action"] for entry in entries] == ["endpoint.delete", "endpoint.update", "endpoint.create"]
    assert entries[1]["before"]["description"] is None
    assert entries[1]["after"]["description"] == "New"
    assert {entry["actor"] for entry in entries} == {f"key:{api.key[:12]}"}
    assert {entry["organization_id"] for entry in entries} == {webhook["organization_id"]}
    assert await listed(api, "audit", target_id=webhook["id"], action="endpoint.create") == entries[2:]
    assert await listed(api, "audit", since="2026-04-24T12:35:00Z") == []
    everything = (await api.get(f"{BASE}/audit", params={"limit": "100"})).text
    assert secret not in everything
    assert api.key not in everything


async def test_no_operators_answer_holds_a_secret(api: ApiFixture, receiver: Receiver) -> None:
    receiver.program("/hook", 200, 500)
    created = await api.post("/api/v1/webhooks", {"url": receiver.url("/hook")})
    await api.publish()
    await api.app.work()
    [delivery] = await listed(api, "deliveries")
    await api.post(f"{BASE}/endpoints/{delivery['endpoint_id']}/disable")
    [letter] = await listed(api, "dead-letters")
    for path in (
        *LISTS,
        f"dead-letters/{letter['id']}",
        f"deliveries/{delivery['id']}",
    ):
        text = (await api.get(f"{BASE}/{path}")).text
        assert created.json()["secret"] not in text
        assert "secret" not in text


async def test_a_number_of_attempts_that_no_column_holds_is_refused(api: ApiFixture) -> None:
    for path in ("/operator/v1/deliveries", "/operator/v1/dead-letters"):
        response = await api.get(path, params={"min_attempts": 2**63})
        assert (response.status_code, "min_attempts" in response.json()["detail"]) == (400, True)
    replay = {"filter": {"min_attempts": 2**63}, "dry_run": True}
    response = await api.post("/operator/v1/replays", replay)
    assert (response.status_code, "filter.min_attempts" in response.json()["detail"]) == (400, True)


async def test_an_event_type_is_answered_with_its_schema_by_writes_and_reads_alike(sqlite_api: ApiFixture) -> None:
    path, schema = "/operator/v1/event-types", {"type": "object"}
    created = (await sqlite_api.post(path, {"name": "order.paid", "schema": schema})).json()
    changed = (await sqlite_api.call("PATCH", f"{path}/order.paid", json={"schema": schema})).json()
    assert created == changed == (await sqlite_api.get(f"{path}/order.paid")).json()
    assert created["schema"] == schema
