"""`GET /operator/v1/events/{id}/explain`: a verdict for every endpoint, also for those that got nothing."""

from __future__ import annotations

from typing import Any

import pytest

from sendoff.ids import new_event_id, new_id
from sendoff.operators.explain import explain_delivery
from sendoff.store.tables import Delivery
from tests.integration.api.api_fixture import ApiFixture
from tests.support.app_fixture import START
from tests.support.receiver import Receiver


async def explained(api: ApiFixture, event_id: str) -> dict[str, dict[str, Any]]:
    """The verdicts by the endpoint's id."""
    response = await api.get(f"/operator/v1/events/{event_id}/explain")
    assert response.status_code == 200, response.text
    assert response.json()["event"]["id"] == event_id
    return {one["endpoint_id"]: one for one in response.json()["endpoints"]}


async def test_every_endpoint_of_the_organization_gets_a_verdict(api: ApiFixture, receiver: Receiver) -> None:
    subscribed = await api.register(receiver.url("/a"))
    other_type = await api.register(receiver.url("/b"), events=["upload.created"])
    paused = await api.register(receiver.url("/c"))
    deleted = await api.register(receiver.url("/d"))
    await api.patch(f"/api/v1/webhooks/{paused['id']}", {"is_active": False})
    await api.delete(f"/api/v1/webhooks/{deleted['id']}")
    api.app.clock.advance(1)
    event = await api.publish()
    api.app.clock.advance(1)
    later = await api.register(receiver.url("/e"))
    found = await explained(api, event["id"])
    assert {endpoint_id: one["verdict"] for endpoint_id, one in found.items()} == {
        subscribed["id"]: "waiting",
        other_type["id"]: "not_subscribed",
        paused["id"]: "was_disabled",
        deleted["id"]: "was_deleted",
        later["id"]: "created_later",
    }
    assert found[subscribed["id"]]["delivery"]["state"] == "pending"
    assert found[other_type["id"]]["delivery"] is None
    assert "upload.created" in found[other_type["id"]]["because"]
    await api.app.work()
    assert (await explained(api, event["id"]))[subscribed["id"]]["verdict"] == "delivered"


async def test_settings_are_those_at_the_time_of_the_event(api: ApiFixture, receiver: Receiver) -> None:
    narrow = await api.register(receiver.url("/a"), events=["upload.created"])
    active = await api.register(receiver.url("/b"), events=["upload.failed"])
    event = await api.publish()
    api.app.clock.advance(1)
    await api.patch(f"/api/v1/webhooks/{narrow['id']}", {"events": ["upload.completed"]})
    api.app.clock.advance(1)
    await api.patch(f"/api/v1/webhooks/{narrow['id']}", {"is_active": False})
    await api.delete(f"/api/v1/webhooks/{active['id']}")
    found = await explained(api, event["id"])
    assert found[narrow["id"]]["verdict"] == "not_subscribed"
    assert "It was changed since." in found[narrow["id"]]["because"]
    assert found[active["id"]]["verdict"] == "not_subscribed"


async def test_a_dead_delivery_names_its_reason_and_the_last_answer(api: ApiFixture, receiver: Receiver) -> None:
    receiver.program("/hook", 200, 500)
    letter = await api.die(receiver.url("/hook"))
    one = (await explained(api, letter["event_id"]))[letter["endpoint_id"]]
    assert one["verdict"] == "dead"
    assert one["because"] == (
        "Dead-lettered (`retries_exhausted`) after 6 attempts; the receiver answered 500. "
        "Every attempt of the schedule failed, so it was given up. Mend the receiver, then send it again."
    )


async def test_an_unknown_event_is_not_found(api: ApiFixture) -> None:
    for event_id in ("evt_" + "0" * 24, "nonsense"):
        assert (await api.get(f"/operator/v1/events/{event_id}/explain")).status_code == 404


@pytest.mark.parametrize(
    ("state", "verdict", "words"),
    [
        ("held", "waiting", ["requests under way", "rate", "its host's limit", "an answer still awaited"]),
        ("in_flight", "in_flight", ["has claimed it", "within its lease"]),
    ],
)
def test_every_cause_of_a_delivery_that_is_held_or_claimed_is_named(state: str, verdict: str, words: list[str]) -> None:
    made = Delivery(
        id=new_id(),
        event_id=new_event_id(),
        endpoint_id=new_id(),
        organization_id=new_id(),
        created_at=START,
        state=state,
        attempt_count=1,
    )
    found, because = explain_delivery(made, None)
    assert found == verdict
    assert [word for word in words if word not in because] == []
    assert "1 attempt" in because
