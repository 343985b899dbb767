"""A name that was public when its endpoint was registered, and points inside when an operator replays."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from sendoff.operators.replays.replay import tick_replay
from sendoff.policy.endpoints.addresses import Address
from sendoff.wire.http.client import Client
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.support.exchange import Reply
from tests.support.receiver import Receiver

HOST = "hooks.example.com"
PERMITTED, INSIDE = "127.0.0.1", "127.0.0.2"
FAILURE = Reply(status=500, headers=(("Connection", "close"),))


class Names:
    """A resolver whose one answer the test changes."""

    def __init__(self) -> None:
        self.answer: Sequence[str] = [PERMITTED]

    def is_queued(self, host: str) -> bool:
        return False

    async def resolve(self, host: str, **_options: object) -> Sequence[Address]:
        assert host == HOST
        return [ip_address(text) for text in self.answer]


@asynccontextmanager
async def open_guarded(database_url: str, redis_url: str, names: Names) -> AsyncIterator[ApiFixture]:
    """One of loopback's addresses stands for the public ones: nothing else is permitted."""
    async with open_api(database_url, redis_url, dangerously_allow_networks=f"{PERMITTED}/32") as api:
        context = api.app.context
        async with Client(context.addresses, resolver=names) as wire:
            api.app.context = api.asgi.state.context = replace(context, wire=wire)
            yield api


EVENT_TYPES = {"webhooks": "upload.completed", "subscriptions": "call.incoming.completed"}


async def register(api: ApiFixture, surface: str, url: str) -> str:
    """An endpoint of either surface; its id."""
    if surface == "webhooks":
        made = await api.register(url)
    else:
        body = {"event_type": EVENT_TYPES[surface], "target_url": url}
        made = (await api.post("/api/v1/subscriptions", body)).json()
    return str(made["id"])


async def publish(api: ApiFixture, surface: str) -> str:
    """An event that the endpoint gets; its id. It is attempted until there are no attempts left."""
    event = await api.publish(type=EVENT_TYPES[surface])
    for wait in (0.0, *api.app.context.settings.retry_schedule):
        api.app.clock.advance(wait)
        await api.app.work()
    return str(event["id"])


async def open_letters(api: ApiFixture) -> list[dict[str, Any]]:
    answer = await api.get("/operator/v1/dead-letters", params={"state": "open"})
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def replay(api: ApiFixture) -> dict[str, Any]:
    """An operator replays every dead letter; the replay as it ended."""
    started = await api.post("/operator/v1/replays", {"filter": {}, "all": True, "rate": 100})
    assert started.status_code == 202, started.text
    path = f"/operator/v1/replays/{started.json()['id']}"
    for _ in range(3):
        api.app.clock.advance(1)
        await tick_replay(api.app.context, started.json()["id"])
        await api.app.work()
    report: dict[str, Any] = (await api.get(path)).json()
    return report


async def seen_by_the_customer(api: ApiFixture, surface: str, endpoint_id: str, event_id: str) -> str:
    """Everything that the customer's and the backend's own keys can read about it."""
    paths = [f"/api/v1/{surface}", f"/api/v1/events/{event_id}"]
    if surface == "webhooks":
        paths += [f"/api/v1/webhooks/{endpoint_id}", f"/api/v1/webhooks/{endpoint_id}/deliveries"]
    answers = [await api.get(path) for path in paths]
    assert {answer.status_code for answer in answers} == {200}
    return "\n".join(answer.text for answer in answers)


@pytest.mark.parametrize(
    ("surface", "moved", "reason"),
    [
        ("webhooks", [INSIDE], "loopback"),
        ("webhooks", [PERMITTED, INSIDE], "loopback"),
        ("webhooks", ["10.1.2.3"], "private"),
        ("subscriptions", [INSIDE], "loopback"),
        ("subscriptions", [f"::ffff:{INSIDE}"], "ipv4_mapped"),
        ("subscriptions", ["169.254.169.254", PERMITTED], "metadata"),
    ],
)
async def test_a_replay_sends_nothing_when_the_name_resolves_to_an_internal_address(
    database_url: str, valkey_url: str, surface: str, moved: Sequence[str], reason: str
) -> None:
    """Setup: an endpoint whose name resolves to a permitted address; a listener at the same port further inside.

    Timeline: an event dies into the dead-letter store; the name moves; an operator replays, then sends it by hand.
    What this proves: neither is sent anywhere, the dead letter says why, and no response reveals the address.
    """
    names = Names()
    async with (
        Receiver.start(host=PERMITTED) as receiver,
        Receiver.start(host=INSIDE, port=receiver.port) as trap,
        open_guarded(database_url, valkey_url, names) as api,
    ):
        endpoint_id = await register(api, surface, receiver.url("/hook", host=HOST))
        receiver.program("/hook", FAILURE)
        event_id = await publish(api, surface)
        [letter] = await open_letters(api)
        assert letter["reason"] == "retries_exhausted"
        reached = receiver.connections

        names.answer = moved
        report = await replay(api)
        assert (report["state"], report["replayed"], report["succeeded"], report["failed"]) == ("completed", 1, 0, 1)
        [again] = await open_letters(api)
        assert again["delivery_id"] == letter["delivery_id"]
        await api.post(f"/operator/v1/deliveries/{letter['delivery_id']}/retry")
        await api.app.work()

        assert (trap.connections, receiver.connections) == (0, reached)
        [last] = await open_letters(api)
        assert (last["attempt_count"], last["reason"]) == (letter["attempt_count"] + 2, "rejected_address")
        assert f"not public ({reason})" in last["last_error"]
        expected = await seen_by_the_customer(api, surface, endpoint_id, event_id)
        expected += (await api.get(f"/operator/v1/dead-letters/{last['id']}")).text
        assert not [address for address in (*moved, PERMITTED) if address in expected]
