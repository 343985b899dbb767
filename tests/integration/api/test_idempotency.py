"""Idempotency-Key on every write of every surface (Dialbird contract, "Idempotency")."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from sendoff import idempotency
from sendoff.accounts.authentication import SCOPES
from sendoff.errors import Unavailable
from sendoff.operators.installation.workers import Heartbeat
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.integration.api.every_route import LINES, api_routes
from tests.support.receiver import Receiver

WRITING = {"POST", "PUT", "PATCH", "DELETE"}
NUMBERS = {"phone_numbers": [f"+1415555{number:04d}" for number in range(150, 300)]}
SUBSCRIPTION = {"event_type": "call.incoming.completed", "target_url": "https://example.com/hook"}
EVENT = {"type": "upload.created", "data": {"n": 1}}
NEW_KEY = {"user": "eve@example.com", "scopes": ["events:write"]}
SECONDS = 24 * 3600


@dataclass
class Setup:
    """An API with one of everything that a write can change."""

    api: ApiFixture
    receiver: Receiver
    ids: dict[str, str]

    @classmethod
    async def set(cls, api: ApiFixture, receiver: Receiver) -> Setup:
        receiver.program("/dying", 200, 500)
        letter = await api.die(receiver.url("/dying"))
        await api.post(f"/operator/v1/endpoints/{letter['endpoint_id']}/enable")
        receiver.program("/discarded", 200, 500)
        discarded = await api.die(receiver.url("/discarded"))  # another one: a discarded delivery is not retried
        upload = (await api.post("/api/v1/uploads", NUMBERS)).json()
        subscription = (await api.post("/api/v1/subscriptions", SUBSCRIPTION)).json()
        replay = (await api.post("/operator/v1/replays", {"filter": {}, "all": True, "rate": 1})).json()
        alert_body = {"url": receiver.url("/alerts"), "events": ["secret.rotated"]}
        alert = (await api.post("/operator/v1/alert-endpoints", alert_body)).json()
        await Heartbeat(api.app.context, slots=1).beat(in_flight=0)
        [worker] = (await api.get("/operator/v1/workers")).json()["data"]
        ids = {
            "worker_id": worker["id"],
            "webhook_id": (await api.register(receiver.url("/hook")))["id"],
            "subscription_id": subscription["id"],
            "upload_id": upload["id"],
            "dead_letter_id": discarded["id"],
            "delivery_id": letter["delivery_id"],
            "endpoint_id": letter["endpoint_id"],
            "replay_id": replay["id"],
            "alert_endpoint_id": alert["id"],
            "event_id": letter["event_id"],
            "organization": await api.new_organization(),
            "external_id": "customer-42",
            "name": "invoice.paid",
            "user": "eve@example.com",
        }
        await api.post("/operator/v1/event-types", {"name": "invoice.paid"})
        new_key = NEW_KEY | {"organization_id": ids["organization"]}
        ids["key_id"] = (await api.post("/operator/v1/keys", new_key)).json()["id"]
        return cls(api, receiver, ids)

    def body(self, method: str, path: str) -> Any:
        """A body that the route takes, or None if it takes none."""
        return {
            ("POST", "/api/v1/webhooks"): {"url": self.receiver.url("/new")},
            ("PATCH", "/api/v1/webhooks/{webhook_id}"): {"description": "new"},
            ("POST", "/api/v1/webhooks/{webhook_id}/recover"): {"since": "2026-01-01T00:00:00Z"},
            ("POST", "/api/v1/listen/{event_id}/answer"): {"status": 200, "duration_ms": 1},
            ("POST", "/api/v1/subscriptions"): SUBSCRIPTION | {"target_url": "https://example.com/new"},
            ("PATCH", "/api/v1/subscriptions/{subscription_id}"): {"status": "disabled"},
            ("POST", "/api/v1/uploads"): NUMBERS,
            ("POST", "/api/v1/events"): EVENT,
            ("POST", "/api/v1/events/batch"): {"events": [EVENT, EVENT]},
            ("POST", "/operator/v1/dead-letters/discard"): {"filter": {"reason": "rejected_address"}},
            ("POST", "/operator/v1/replays"): {"filter": {"state": "discarded"}},
            ("PATCH", "/operator/v1/endpoints/{endpoint_id}"): {"rate_limit": 5},
            ("POST", "/operator/v1/organizations"): {"name": "New"},
            ("PUT", "/operator/v1/organizations/{organization}"): {"name": "New"},
            ("PATCH", "/operator/v1/organizations/{organization}"): {"credits": 5},
            ("POST", "/operator/v1/event-types"): {"name": "invoice.sent"},
            ("PATCH", "/operator/v1/event-types/{name}"): {"schema": None},
            ("POST", "/operator/v1/keys"): NEW_KEY | {"organization_id": self.ids["organization"]},
            ("POST", "/operator/v1/portal-links"): {"organization_id": self.api.app.principal.organization_id},
            ("POST", "/operator/v1/alert-endpoints"): {"url": self.receiver.url("/more-alerts")},
            ("PATCH", "/operator/v1/alert-endpoints/{alert_endpoint_id}"): {"description": "new"},
        }.get((method, path))

    async def call(self, method: str, path: str, *, idempotency_key: str, **request: Any) -> httpx.Response:
        body = request.pop("json", self.body(method, path))
        return await self.api.call(
            method,
            path.format(**self.ids),
            headers={"Idempotency-Key": idempotency_key},
            **({} if body is None else {"json": body}),
            **request,
        )

    async def count_audit_entries(self) -> int:
        return len((await self.api.get("/operator/v1/audit", params={"limit": 100})).json()["data"])


@pytest.fixture
async def setup(api: ApiFixture, receiver: Receiver) -> Setup:
    return await Setup.set(api, receiver)


@pytest.fixture
async def sqlite_setup(sqlite_api: ApiFixture, receiver: Receiver) -> Setup:
    return await Setup.set(sqlite_api, receiver)


def writes(api: ApiFixture) -> list[tuple[str, str]]:
    """Every write of the API; what ends a thing comes after what only changes it."""
    found = [(route.method, route.path) for route in api_routes(api.asgi) if route.method in WRITING]
    found = [route for route in found if route not in LINES]
    return sorted(found, key=lambda route: (route[0] == "DELETE", route[1].endswith(("retry", "cancel", "discard"))))


async def test_every_write_is_done_once_and_its_answer_repeated_to_the_byte(setup: Setup) -> None:
    routes = writes(setup.api)
    assert len(routes) >= 17
    for number, (method, path) in enumerate(routes):
        first = await setup.call(method, path, idempotency_key=f"key {number}")
        assert first.status_code in (200, 201, 202, 204), (method, path, first.text)
        assert "Idempotency-Replayed" not in first.headers
        entries = await setup.count_audit_entries()
        again = await setup.call(method, path, idempotency_key=f"key {number}")
        assert (again.status_code, again.content) == (first.status_code, first.content), (method, path)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.headers.get("Content-Type") == first.headers.get("Content-Type")
        assert await setup.count_audit_entries() == entries


async def test_a_key_that_came_with_another_request_is_refused_on_every_surface(sqlite_setup: Setup) -> None:
    taken = {"Idempotency-Key": "taken"}
    assert (await sqlite_setup.api.post("/api/v1/events", EVENT, headers=taken)).status_code == 202
    for method, path in writes(sqlite_setup.api):
        refused = await sqlite_setup.call(method, path, idempotency_key="taken", json={**EVENT, "data": {"n": 2}})
        if refused.status_code == 400:  # a body that the route does not take
            refused = await sqlite_setup.call(method, path, idempotency_key="taken")
        if path == "/api/v1/events" and refused.status_code == 202:
            continue  # that was the first request, once more
        assert refused.status_code == 409, (method, path, refused.text)
        error = refused.json().get("error", {})
        assert "subscriptions" not in path or error["code"] == "idempotency_key_reused"


async def test_a_key_whose_first_request_still_runs_is_in_progress(sqlite_api: ApiFixture, receiver: Receiver) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()
    context = sqlite_api.app.context
    before = context.wire.check

    async def slow(*args: Any, **options: Any) -> Any:
        entered.set()
        await leave.wait()
        return await before(*args, **options)

    context.wire.check = slow  # type: ignore[method-assign]
    headers = {"Idempotency-Key": "slow"}
    running = asyncio.create_task(sqlite_api.post("/api/v1/subscriptions", SUBSCRIPTION, headers=headers))
    await asyncio.wait_for(entered.wait(), 10)
    meanwhile = await sqlite_api.post("/api/v1/subscriptions", SUBSCRIPTION, headers=headers)
    assert (meanwhile.status_code, meanwhile.json()["error"]["code"]) == (409, "idempotency_in_progress")
    leave.set()
    first = await running
    again = await sqlite_api.post("/api/v1/subscriptions", SUBSCRIPTION, headers=headers)
    assert (first.status_code, again.content) == (201, first.content)


@pytest.fixture
async def two_processes(database_url: str, valkey_url: str) -> AsyncIterator[tuple[ApiFixture, ApiFixture]]:
    """Two API processes on one database."""
    limits = {"client_rate_limit": 1_000}
    async with (
        open_api(database_url, valkey_url, **limits) as one,
        open_api(database_url, valkey_url, **limits) as two,
    ):
        two.key = one.key
        for api in (one, two):  # hundreds of requests at once wait for a few connections
            api.app.context.database._engine.pool._timeout = 120  # type: ignore[attr-defined]
        yield one, two


async def test_of_two_hundred_requests_at_once_with_one_key_one_writes(
    two_processes: tuple[ApiFixture, ApiFixture],
) -> None:
    headers = {"Idempotency-Key": "once"}
    calls = [api.post("/api/v1/subscriptions", SUBSCRIPTION, headers=headers) for api in two_processes * 100]
    answers = await asyncio.gather(*calls)
    counted = Counter(
        "first" if "Idempotency-Replayed" not in answer.headers else "replayed"
        for answer in answers
        if answer.status_code == 201
    )
    refused = [answer.json()["error"]["code"] for answer in answers if answer.status_code != 201]
    assert counted["first"] == 1
    assert counted["replayed"] + len(refused) == 199
    assert set(refused) <= {"idempotency_in_progress"}
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    assert len((await two_processes[0].get("/api/v1/subscriptions")).json()) == 1


async def test_a_write_that_is_refused_leaves_its_key_free(sqlite_setup: Setup) -> None:
    api, path = sqlite_setup.api, "/api/v1/subscriptions"
    headers = {"Idempotency-Key": "refused"}
    assert (await api.post(path, {**SUBSCRIPTION, "event_type": "x"}, headers=headers)).status_code == 400
    assert (await api.post(path, SUBSCRIPTION, headers=headers)).status_code == 409  # there is the same already
    other = await api.post(path, {**SUBSCRIPTION, "target_url": "https://example.com/2"}, headers=headers)
    assert (other.status_code, "Idempotency-Replayed" in other.headers) == (201, False)


async def test_a_key_is_forgotten_after_24_hours(sqlite_api: ApiFixture) -> None:
    headers = {"Idempotency-Key": "day"}
    first = await sqlite_api.post("/api/v1/events", EVENT, headers=headers)
    sqlite_api.app.clock.advance(SECONDS - 1)
    assert (await sqlite_api.post("/api/v1/events", EVENT, headers=headers)).content == first.content
    sqlite_api.app.clock.advance(1)
    assert (await sqlite_api.post("/api/v1/events", EVENT, headers=headers)).json()["id"] != first.json()["id"]


async def test_keys_of_one_organization_are_nothing_to_another(sqlite_api: ApiFixture) -> None:
    headers = {"Idempotency-Key": "1"}
    stranger = await sqlite_api.new_key(organization_id=await sqlite_api.new_organization())
    first = await sqlite_api.post("/api/v1/subscriptions", SUBSCRIPTION, headers=headers)
    other = await sqlite_api.post("/api/v1/subscriptions", SUBSCRIPTION, headers=headers, key=stranger)
    assert (first.status_code, other.status_code, other.json()["id"] != first.json()["id"]) == (201, 201, True)


async def test_an_answer_is_repeated_only_to_those_who_may_ask_for_the_first(
    sqlite_api: ApiFixture, receiver: Receiver
) -> None:
    body, headers = {"url": receiver.url("/hook")}, {"Idempotency-Key": "secret"}
    first = await sqlite_api.post("/api/v1/webhooks", body, headers=headers)
    weaker = await sqlite_api.new_key(*(scope for scope in SCOPES if scope != "webhooks:manage"))
    refused = await sqlite_api.post("/api/v1/webhooks", body, headers=headers, key=weaker)
    assert (refused.status_code, first.json()["secret"] in refused.text) == (403, False)


async def test_an_answer_with_a_secret_is_repeated_to_the_same_key_alone(
    sqlite_api: ApiFixture, receiver: Receiver
) -> None:
    colleague = await sqlite_api.new_key()
    webhook = await sqlite_api.register(receiver.url("/rotated"))
    for number, (path, body) in enumerate(
        (
            ("/api/v1/webhooks", {"url": receiver.url("/hook")}),
            (f"/api/v1/webhooks/{webhook['id']}/rotate-secret", {}),
            ("/api/v1/subscriptions", SUBSCRIPTION),
        )
    ):
        headers = {"Idempotency-Key": f"secret {number}"}
        first = await sqlite_api.post(path, body, headers=headers)
        again = await sqlite_api.post(path, body, headers=headers)
        assert (first.status_code in (200, 201), again.content) == (True, first.content), first.text
        refused = await sqlite_api.post(path, body, headers=headers, key=colleague)
        assert refused.status_code == 409
        assert "another request" in refused.text
    event = [
        await sqlite_api.post("/api/v1/events", EVENT, headers={"Idempotency-Key": "shared"}, key=key)
        for key in (sqlite_api.key, colleague)
    ]
    assert event[0].content == event[1].content


async def test_repeated_answers_do_not_stay_decrypted_in_memory(sqlite_api: ApiFixture) -> None:
    headers = {"Idempotency-Key": "kept"}
    await sqlite_api.post("/api/v1/events", EVENT, headers=headers)
    vault = sqlite_api.app.context.vault
    before = vault._opened.cache_info().currsize
    for _ in range(3):
        assert "Idempotency-Replayed" in (await sqlite_api.post("/api/v1/events", EVENT, headers=headers)).headers
    assert vault._opened.cache_info().currsize == before


async def test_no_answer_is_kept_in_the_clear(sqlite_api: ApiFixture, sqlite_url: str, receiver: Receiver) -> None:
    made = await sqlite_api.post("/api/v1/webhooks", {"url": receiver.url("/h")}, headers={"Idempotency-Key": "1"})
    subscribed = await sqlite_api.post("/api/v1/subscriptions", SUBSCRIPTION, headers={"Idempotency-Key": "2"})
    secrets = [made.json()["secret"], subscribed.json()["signing_secret"]]
    path = sqlite_url.removeprefix("sqlite+aiosqlite:///")
    with sqlite3.connect(path) as connection:
        records = connection.execute("SELECT response_status, response_body FROM idempotency_records").fetchall()
        dump = "\n".join(connection.iterdump())
    connection.close()
    assert sorted(status for status, _ in records) == [200, 201]
    assert not any(secret in dump for secret in secrets)
    assert not any(secret.encode() in body for _, body in records for secret in secrets)


@pytest.mark.parametrize("key", ["", "k" * 256, "a\tb", "\x7f"])
async def test_an_invalid_idempotency_key_is_a_400_that_says_so(sqlite_setup: Setup, key: str) -> None:
    for method, path in writes(sqlite_setup.api):
        body = sqlite_setup.body(method, path)
        answer = await sqlite_setup.api.call(
            method,
            path.format(**sqlite_setup.ids),
            headers={"Idempotency-Key": key},
            **({} if body is None else {"json": body}),
        )
        assert (answer.status_code, "Idempotency-Key" in answer.text) == (400, True), (method, path)


async def test_work_whose_answer_cannot_be_stored_is_still_reported_as_done(
    sqlite_api: ApiFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*_: Any) -> None:
        raise Unavailable("The database cannot be reached: it went away at the worst moment")

    monkeypatch.setattr(idempotency, "complete", gone)
    headers = {"Idempotency-Key": "lost"}
    assert (await sqlite_api.post("/api/v1/subscriptions", SUBSCRIPTION, headers=headers)).status_code == 201
    again = await sqlite_api.post("/api/v1/subscriptions", SUBSCRIPTION, headers=headers)
    assert again.json()["error"]["code"] == "idempotency_in_progress"
    assert len((await sqlite_api.get("/api/v1/subscriptions")).json()) == 1
