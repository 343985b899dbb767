"""`rate_limit`: the maximum deliveries per second of an endpoint, settable on every surface."""

from __future__ import annotations

from typing import Any

import pytest

from sendoff.delivery.dispatcher import Dispatcher
from sendoff.endpoints.fields import HIGHEST_RATE
from sendoff.policy.states import DeliveryState
from sendoff.store.queries.traffic import delivery_history
from sendoff.store.queries.traffic.delivery_history import DeliveryFilter
from tests.integration.api.api_fixture import ApiFixture
from tests.support.polling import eventually
from tests.support.receiver import Receiver

SUBSCRIPTION = {"event_type": "call.incoming.completed", "target_url": "https://example.com/hook"}
NO_RATES: list[Any] = [0, -1, HIGHEST_RATE + 1, 1.5, "5", True, [5], 10**30]


def paths(webhook: dict[str, Any], subscription: dict[str, Any]) -> list[str]:
    """Every route that changes the limit of one of both."""
    return [
        f"/api/v1/webhooks/{webhook['id']}",
        f"/api/v1/subscriptions/{subscription['id']}",
        f"/operator/v1/endpoints/{webhook['id']}",
        f"/operator/v1/endpoints/{subscription['id']}",
    ]


async def make_both(api: ApiFixture, receiver: Receiver) -> tuple[dict[str, Any], dict[str, Any]]:
    webhook = await api.register(receiver.url("/hook"))
    return webhook, (await api.post("/api/v1/subscriptions", SUBSCRIPTION)).json()


async def test_a_limit_is_shown_where_it_is_set_and_nowhere_else(api: ApiFixture, receiver: Receiver) -> None:
    webhook, subscription = await make_both(api, receiver)
    for path in paths(webhook, subscription):
        changed = await api.patch(path, {"rate_limit": 5})
        assert (changed.status_code, changed.json()["rate_limit"]) == (200, 5), path
        removed = await api.patch(path, {"rate_limit": None})
        assert (removed.status_code, "rate_limit" in removed.json()) == (200, False), path
    await api.patch(f"/api/v1/webhooks/{webhook['id']}", {"rate_limit": HIGHEST_RATE})
    for path in ("/api/v1/webhooks", "/operator/v1/endpoints"):
        answer = (await api.get(path)).json()
        shown = {one["id"]: one for one in (answer if isinstance(answer, list) else answer["data"])}
        assert shown[webhook["id"]]["rate_limit"] == HIGHEST_RATE
    assert "rate_limit" not in (await api.get("/api/v1/subscriptions")).json()[0]


async def test_an_endpoint_registered_with_a_rate_limit_keeps_it(api: ApiFixture, receiver: Receiver) -> None:
    assert (await api.register(receiver.url("/hook"), rate_limit=1))["rate_limit"] == 1
    assert "rate_limit" not in await api.register(receiver.url("/hook"), rate_limit=None)
    made = (await api.post("/api/v1/subscriptions", SUBSCRIPTION | {"rate_limit": 7})).json()
    assert made["rate_limit"] == 7
    assert (await api.get(f"/api/v1/subscriptions/{made['id']}")).json()["rate_limit"] == 7


async def test_a_change_of_something_else_leaves_the_limit_alone(api: ApiFixture, receiver: Receiver) -> None:
    webhook, subscription = await make_both(api, receiver)
    first, second, *_ = paths(webhook, subscription)
    for path, body in ((first, {"description": "New"}), (second, {"status": "disabled"})):
        await api.patch(path, {"rate_limit": 5})
        assert (await api.patch(path, body)).json()["rate_limit"] == 5
    both = (await api.patch(second, {"status": "active", "rate_limit": 6})).json()
    assert (both["status"], both["rate_limit"]) == ("active", 6)


@pytest.mark.parametrize("rate", NO_RATES, ids=str)
async def test_an_invalid_rate_limit_is_refused_by_name_and_changes_nothing(
    sqlite_api: ApiFixture, receiver: Receiver, rate: Any
) -> None:
    webhook, subscription = await make_both(sqlite_api, receiver)
    receiver.forget()
    for path in paths(webhook, subscription):
        refused = await sqlite_api.patch(path, {"rate_limit": rate})
        assert (refused.status_code, "rate_limit" in refused.text) == (400, True), (path, refused.text)
    for path, body in (("/api/v1/webhooks", {"url": receiver.url("/other")}), ("/api/v1/subscriptions", SUBSCRIPTION)):
        refused = await sqlite_api.post(path, body | {"rate_limit": rate})
        assert (refused.status_code, "rate_limit" in refused.text) == (400, True), (path, refused.text)
    assert receiver.requests() == []
    assert (await sqlite_api.get("/api/v1/webhooks")).json() == [webhook]


async def test_a_change_of_a_subscription_that_changes_nothing_is_refused(sqlite_api: ApiFixture) -> None:
    made = (await sqlite_api.post("/api/v1/subscriptions", SUBSCRIPTION)).json()
    refused = await sqlite_api.patch(f"/api/v1/subscriptions/{made['id']}", {})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "validation_error")


async def test_a_limit_can_be_set_of_what_is_off_but_not_of_what_is_deleted(
    api: ApiFixture, receiver: Receiver
) -> None:
    webhook = await api.register(receiver.url("/hook"))
    path = f"/operator/v1/endpoints/{webhook['id']}"
    await api.post(f"{path}/disable")
    limited = (await api.patch(path, {"rate_limit": 5})).json()
    assert (limited["state"], limited["rate_limit"]) == ("disabled", 5)
    await api.delete(f"/api/v1/webhooks/{webhook['id']}")
    assert (await api.patch(path, {"rate_limit": 6})).status_code == 404


async def test_a_limit_holds_for_what_is_delivered_until_it_is_lifted(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hook"), rate_limit=1)
    await api.register(receiver.url("/other"))
    receiver.forget()
    for _ in range(4):
        await api.publish()
    queued, api.app.queue.deliveries = api.app.queue.deliveries, []
    dispatcher = Dispatcher(api.app.context)
    await dispatcher.submit(queued)
    await receiver.wait_for(4, "/other")
    await receiver.wait_for(1, "/hook")
    assert await count_held(api) == 3
    api.app.clock.advance(1)
    await receiver.wait_for(2, "/hook")
    assert await count_held(api) == 2
    await api.patch(f"/api/v1/webhooks/{webhook['id']}", {"rate_limit": None})
    api.app.clock.advance(1)  # the next is still paced, and brings the news
    await receiver.wait_for(4, "/hook")
    await eventually(lambda: dispatcher.is_idle, what="an idle dispatcher")
    await dispatcher.drain(0)


@pytest.mark.parametrize("own", [None, 1_000])
async def test_an_operators_limit_holds_whatever_the_owner_sets(
    api: ApiFixture, receiver: Receiver, own: int | None
) -> None:
    webhook = await api.register(receiver.url("/hook"))
    receiver.forget()
    await api.patch(f"/operator/v1/endpoints/{webhook['id']}", {"rate_limit": 1})
    assert (await api.patch(f"/api/v1/webhooks/{webhook['id']}", {"rate_limit": own})).status_code == 200
    for _ in range(3):
        await api.publish()
    enqueued, api.app.queue.deliveries = api.app.queue.deliveries, []
    dispatcher = Dispatcher(api.app.context)
    await dispatcher.submit(enqueued)
    await receiver.wait_for(1, "/hook")
    assert await count_held(api) == 2
    api.app.clock.advance(1)
    await receiver.wait_for(2, "/hook")
    assert await count_held(api) == 1
    await dispatcher.drain(0)


async def count_held(api: ApiFixture) -> int:
    """How many deliveries wait for their endpoint's turn."""
    async with api.app.transaction() as tx:
        page = (await delivery_history.scan_page(tx, DeliveryFilter(), limit=100)).rows
    return sum(delivery.state == DeliveryState.HELD for delivery, *_ in page)
