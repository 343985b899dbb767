"""Rate limits: counted in Redis for all API processes, by the minutes of the wall clock."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import IPv4Address

import pytest

from api.http import limits
from sendoff.accounts import authentication, organizations
from sendoff.accounts.authentication import hash_key
from sendoff.clock import FakeClock
from sendoff.endpoints import ping_limits
from sendoff.errors import RateLimited
from sendoff.observability.metrics import RATE_LIMITS_SKIPPED
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.support.polling import eventually
from tests.support.receiver import Receiver

UNKNOWN = "/api/v1/webhooks/0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11"


def skipped() -> float:
    return next(iter(RATE_LIMITS_SKIPPED.collect())).samples[0].value


async def statuses(api: ApiFixture, count: int, *, key: str | None = None) -> list[int]:
    return [(await api.delete(UNKNOWN, key=key)).status_code for _ in range(count)]


async def test_the_61st_write_of_a_key_in_a_minute_is_a_429(api: ApiFixture) -> None:
    assert await statuses(api, 60) == [404] * 60
    refused = await api.delete(UNKNOWN)
    assert refused.status_code == 429
    # The app's clock stands at 56.789 s past the minute.
    assert refused.json() == {
        "detail": {"error": "rate_limit_exceeded", "limit": 60, "observed": 61, "retry_after_seconds": 4}
    }
    assert refused.headers["Retry-After"] == "4"
    assert (await api.delete(UNKNOWN)).json()["detail"]["observed"] == 62


async def test_both_counters_start_again_at_the_top_of_the_minute(sqlite_api: ApiFixture) -> None:
    await statuses(sqlite_api, 61)
    sqlite_api.app.clock.advance(3.2)
    assert await statuses(sqlite_api, 1) == [429]
    sqlite_api.app.clock.advance(0.011)
    assert await statuses(sqlite_api, 61) == [404] * 60 + [429]
    assert (await sqlite_api.delete(UNKNOWN)).json()["detail"]["retry_after_seconds"] == 60


async def test_the_601st_write_of_an_organization_is_a_429_whatever_its_keys(sqlite_api: ApiFixture) -> None:
    for _ in range(10):
        assert await statuses(sqlite_api, 60, key=await sqlite_api.new_key()) == [404] * 60
    refused = await sqlite_api.delete(UNKNOWN)
    assert refused.status_code == 429
    assert (refused.json()["detail"]["limit"], refused.json()["detail"]["observed"]) == (600, 601)
    stranger = await sqlite_api.new_key(organization_id=await sqlite_api.new_organization())
    assert await statuses(sqlite_api, 1, key=stranger) == [404]


async def test_a_write_counts_whatever_becomes_of_it_once_it_is_authenticated(
    sqlite_api: ApiFixture, receiver: Receiver
) -> None:
    webhook = await sqlite_api.register(receiver.url("/hook"))
    for _ in range(20):
        assert (await sqlite_api.post("/api/v1/webhooks", {})).status_code == 400
        assert (await sqlite_api.call("POST", "/api/v1/webhooks", content=b"{")).status_code == 400
        assert (await sqlite_api.patch(f"/api/v1/webhooks/{webhook['id']}", {"url": 1})).status_code in (400, 429)
    assert await statuses(sqlite_api, 1) == [429]


async def test_a_key_whose_writes_are_refused_is_not_looked_up_until_the_minute_ends(sqlite_api: ApiFixture) -> None:
    await statuses(sqlite_api, 61)
    async with sqlite_api.without_database():
        assert await statuses(sqlite_api, 1) == [429]
        assert (await sqlite_api.get(UNKNOWN)).status_code == 503
    sqlite_api.app.clock.advance(60)
    assert await statuses(sqlite_api, 1) == [404]


async def test_a_key_whose_reads_are_refused_is_not_looked_up_until_the_minute_ends(
    sqlite_url: str, valkey_url: str
) -> None:
    async with open_api(sqlite_url, valkey_url, read_rate_limit=2) as api:
        assert [(await api.get(UNKNOWN)).status_code for _ in range(3)] == [404, 404, 429]
        async with api.without_database():
            refused = await api.get("/api/v1/uploads")
            assert (refused.status_code, refused.json()["detail"]["observed"]) == (429, 4)
            assert (await api.delete(UNKNOWN)).status_code == 503
        assert (await api.delete(UNKNOWN)).status_code == 404
        api.app.clock.advance(60)
        assert (await api.get(UNKNOWN)).status_code == 404


async def test_of_a_flood_with_one_key_few_requests_are_authenticated_at_once(
    sqlite_api: ApiFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "AUTHENTICATED_AT_ONCE", 1)
    monkeypatch.setattr(limits, "WRITES_PER_MINUTE_BY_KEY", 2)
    other = await sqlite_api.new_key()
    context, key_hash = sqlite_api.app.context, hash_key(sqlite_api.key)
    async with limits.key_turn(context, key_hash, counts_as_write=True):
        waiting = asyncio.create_task(sqlite_api.delete(UNKNOWN))
        turns = context.service(limits.key_turns)
        await eventually(lambda: turns.count((key_hash, True)) == 2, what="the second write waits")
        refused = await sqlite_api.delete(UNKNOWN)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert (await sqlite_api.get(UNKNOWN)).status_code == 404
        assert (await sqlite_api.delete(UNKNOWN, key=other)).status_code == 404
    assert (await waiting).status_code == 404


async def test_a_publisher_waits_for_others_of_its_key_no_longer_than_for_the_database(
    sqlite_api: ApiFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those before it may all wait for a database that is cut off."""
    monkeypatch.setattr(limits, "AUTHENTICATED_AT_ONCE", 1)
    monkeypatch.setattr(authentication, "ANSWER_SECONDS", 0.05)
    async with limits.key_turn(sqlite_api.app.context, hash_key(sqlite_api.key), counts_as_write=False):
        refused = await sqlite_api.post("/api/v1/events", {}, headers={"Idempotency-Key": "1"})
    assert refused.status_code == 503
    assert "Retry-After" in refused.headers


async def test_a_refused_write_never_pings(sqlite_api: ApiFixture, receiver: Receiver) -> None:
    await statuses(sqlite_api, 60)
    assert (await sqlite_api.post("/api/v1/webhooks", {"url": receiver.url("/hook")})).status_code == 429
    assert receiver.requests() == []


async def test_reads_and_unauthenticated_writes_are_not_counted(sqlite_api: ApiFixture) -> None:
    outsider = await sqlite_api.new_key("uploads:read")
    for _ in range(70):
        assert (await sqlite_api.get("/api/v1/webhooks")).status_code == 200
        assert (await sqlite_api.delete(UNKNOWN, key="")).status_code == 401
        assert (await sqlite_api.delete(UNKNOWN, key=outsider)).status_code == 403
    assert await statuses(sqlite_api, 60) == [404] * 60


async def test_processes_share_the_counters_however_many_requests_come_at_once(
    sqlite_api: ApiFixture, valkey_url: str, sqlite_url: str
) -> None:
    async with open_api(sqlite_url, valkey_url) as other:
        answers = []
        for _ in range(4):
            calls = [process.delete(UNKNOWN, key=sqlite_api.key) for _ in range(10) for process in (sqlite_api, other)]
            answers += [response.status_code for response in await asyncio.gather(*calls)]
    assert sorted(answers) == [404] * 60 + [429] * 20


async def test_without_redis_a_process_counts_writes_alone_and_a_metric_counts_them(
    sqlite_api: ApiFixture, receiver: Receiver
) -> None:
    webhook = await sqlite_api.register(receiver.url("/hook"))
    path = f"/api/v1/webhooks/{webhook['id']}"
    before = skipped()
    async with sqlite_api.without_redis():
        assert await statuses(sqlite_api, 2) == [404] * 2
        assert (await sqlite_api.patch(path, {"description": "New", "url": webhook["url"]})).status_code == 200
        assert skipped() == before + 3
        assert await statuses(sqlite_api, 58) == [404] * 57 + [429]
        assert await statuses(sqlite_api, 1, key=await sqlite_api.new_key()) == [404]
        sqlite_api.app.clock.advance(4)
        assert await statuses(sqlite_api, 1) == [404]


async def test_without_redis_nothing_is_pinged(sqlite_api: ApiFixture, receiver: Receiver) -> None:
    webhook = await sqlite_api.register(receiver.url("/hook"))
    async with sqlite_api.without_redis():
        answers = [
            await sqlite_api.post("/api/v1/webhooks", {"url": receiver.url("/new")}),
            await sqlite_api.patch(f"/api/v1/webhooks/{webhook['id']}", {"url": receiver.url("/new")}),
        ]
    assert [(answer.status_code, answer.headers["Retry-After"]) for answer in answers] == [(503, "5")] * 2
    assert all(isinstance(answer.json()["detail"], str) for answer in answers)
    assert receiver.requests("/new") == []


async def test_pings_to_one_host_are_limited_over_all_organizations(
    sqlite_api: ApiFixture, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ping_limits, "PINGS_PER_HOST", 2)
    webhook = await sqlite_api.register(receiver.url("/1"))
    stranger = await sqlite_api.new_key(organization_id=await sqlite_api.new_organization())
    assert (await sqlite_api.post("/api/v1/webhooks", {"url": receiver.url("/2")}, key=stranger)).status_code == 200
    refused = await sqlite_api.post("/api/v1/webhooks", {"url": receiver.url("/3")}, key=stranger)
    changed = await sqlite_api.patch(f"/api/v1/webhooks/{webhook['id']}", {"url": receiver.url("/3")})
    assert [refused.status_code, changed.status_code] == [429, 429]
    assert refused.json()["detail"] == {
        "error": "rate_limit_exceeded",
        "limit": 2,
        "observed": 3,
        "retry_after_seconds": 4,
    }
    assert receiver.requests("/3") == []


async def test_one_organization_cannot_use_up_the_pings_to_a_host(
    sqlite_api: ApiFixture, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What exceeds an organization's share is refused, and is not counted against others."""
    monkeypatch.setattr(ping_limits, "PINGS_PER_HOST", 4)
    monkeypatch.setattr(ping_limits, "PINGS_PER_HOST_AND_ORGANIZATION", 2)
    stranger = await sqlite_api.new_key(organization_id=await sqlite_api.new_organization())
    greedy = [(await sqlite_api.post("/api/v1/webhooks", {"url": receiver.url("/a")})).status_code for _ in range(8)]
    assert greedy == [200, 200, *[429] * 6]
    for status in (200, 200, 429):
        answer = await sqlite_api.post("/api/v1/webhooks", {"url": receiver.url("/b")}, key=stranger)
        assert answer.status_code == status


async def test_subscriptions_of_one_host_are_limited_for_each_organization(
    sqlite_api: ApiFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ping_limits, "SUBSCRIPTIONS_PER_HOST_AND_ORGANIZATION", 2)
    stranger = await sqlite_api.new_key(organization_id=await sqlite_api.new_organization())
    statuses = []
    for number in range(3):
        body = {"event_type": "message.incoming.received", "target_url": f"https://victim.example/{number}"}
        statuses.append((await sqlite_api.post("/api/v1/subscriptions", body)).status_code)
    other = {"event_type": "message.incoming.received", "target_url": "https://victim.example/"}
    assert statuses == [201, 201, 429]
    assert (await sqlite_api.post("/api/v1/subscriptions", other, key=stranger)).status_code == 201


class Resolver:
    """Every name has the same address."""

    def is_queued(self, host: str) -> bool:
        return False

    async def resolve(self, _host: str, **_options: object) -> Sequence[IPv4Address]:
        return [IPv4Address("127.0.0.1")]


async def test_pings_to_one_address_are_limited_behind_however_many_names(
    sqlite_api: ApiFixture, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ping_limits, "PINGS_PER_HOST", 2)
    monkeypatch.setattr(sqlite_api.app.context.wire._dialer, "_resolver", Resolver())
    urls = [receiver.url("/hook", host=f"{name}.victims.example") for name in "abc"]
    answers = [await sqlite_api.post("/api/v1/webhooks", {"url": url}) for url in urls]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert len(receiver.requests()) == 2


class EdgeClock(FakeClock):
    """Every look at it takes a moment."""

    def now(self) -> datetime:
        seen = super().now()
        self.advance(0.02)
        return seen


async def test_at_the_edge_of_a_minute_a_refusal_speaks_of_the_window_that_it_was_counted_in(
    sqlite_api: ApiFixture,
) -> None:
    await statuses(sqlite_api, 60)
    app = sqlite_api.app
    end_of_minute = app.clock.now().replace(second=0, microsecond=0) + timedelta(minutes=1)
    at_the_edge = replace(app.context, clock=EdgeClock(end_of_minute - timedelta(seconds=0.01)))
    [key] = [
        listed.key
        for listed in await organizations.list_keys(app.context, app.principal.organization_id)
        if sqlite_api.key.startswith(listed.key.prefix)
    ]
    principal = replace(app.principal, key_id=key.id)
    with pytest.raises(RateLimited) as refused:
        await limits.limit_writes(at_the_edge, principal)
    assert (refused.value.observed, refused.value.retry_after_seconds) == (61, 1)
    await limits.limit_writes(at_the_edge, principal)  # the next minute has begun


async def test_reads_are_limited_generously_for_each_organization(sqlite_url: str, valkey_url: str) -> None:
    async with open_api(sqlite_url, valkey_url, read_rate_limit=5) as api:
        sibling, stranger = (
            await api.new_key(),
            await api.new_key(organization_id=await api.new_organization()),
        )
        paths = ["/api/v1/webhooks", "/api/v1/uploads", "/operator/v1/audit", UNKNOWN, "/api/v1/webhooks"]
        answers = [await api.get(path) for path in paths]
        assert {answer.status_code for answer in answers} == {200, 404}
        for path in paths:
            refused = await api.get(path, key=sibling)
            assert refused.status_code == 429
            assert refused.json()["detail"]["limit"] == 5
            assert refused.headers["Retry-After"] == str(refused.json()["detail"]["retry_after_seconds"])
        assert (await api.get("/api/v1/webhooks", key=stranger)).status_code == 200
        assert (await api.delete(UNKNOWN)).status_code == 404
        await api.publish()
        api.app.clock.advance(60)
        assert (await api.get("/api/v1/webhooks")).status_code == 200


STRANGERS = {
    "without a key": ("/api/v1/webhooks", ""),
    "with what cannot be a key": ("/operator/v1/deliveries", "sk_1"),
    "with an unknown key": ("/api/v1/webhooks", "od_live_" + "x" * 32),
    "where there is nothing": ("/nothing", ""),
    "for what everybody may see": ("/openapi.json", ""),
}


@pytest.mark.parametrize("way", STRANGERS)
async def test_requests_without_a_valid_key_are_limited_by_address(way: str, sqlite_url: str, valkey_url: str) -> None:
    path, key = STRANGERS[way]
    async with open_api(sqlite_url, valkey_url, anonymous_rate_limit=3) as api:
        before = [(await api.get(path, key=key)).status_code for _ in range(3)]
        assert 429 not in before
        refused = await api.get(path, key=key)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "4")
        assert refused.json()["detail"]["limit"] == 3
        assert [(await api.get(path)).status_code for path in ("/health", "/ready")] == [200, 200]
        api.app.clock.advance(4)
        assert (await api.get(path, key=key)).status_code == before[0]


async def test_a_valid_key_is_served_behind_an_address_that_many_use_without(sqlite_url: str, valkey_url: str) -> None:
    async with open_api(sqlite_url, valkey_url, anonymous_rate_limit=2) as api:
        for _ in range(3):
            await api.get("/api/v1/webhooks", key="")
        event = {"type": "upload.completed", "data": {}}
        assert (await api.post("/api/v1/events", event, key="od_live_" + "x" * 32)).status_code == 429
        assert (await api.get("/api/v1/webhooks")).status_code == 200
        assert (await api.post("/api/v1/events", event)).status_code == 202
        assert (await api.post("/api/v1/events", event, key=await api.new_key())).status_code == 202
        assert (await api.delete(UNKNOWN)).status_code == 404
        async with api.without_database():
            assert (await api.get("/api/v1/webhooks")).status_code == 503


async def test_requests_with_a_valid_key_do_not_count_as_without(sqlite_url: str, valkey_url: str) -> None:
    async with open_api(sqlite_url, valkey_url, anonymous_rate_limit=2) as api:
        answers = [(await api.get("/api/v1/webhooks")).status_code for _ in range(3)]
        answers += [(await api.post("/api/v1/events", {"type": "no.such"})).status_code for _ in range(3)]
        assert answers == [200] * 3 + [400] * 3
        assert (await api.get("/openapi.json")).status_code == 200
