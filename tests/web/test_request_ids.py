"""A request's id is found again in whatever the request caused."""

from __future__ import annotations

from typing import Any

import structlog
from structlog.testing import LogCapture

from tests.support.receiver import Receiver
from tests.web.world import World

MINE = {"X-Request-Id": "from-my-browser_1"}
ID = MINE["X-Request-Id"]


async def test_the_event_and_its_deliveries_carry_the_id_of_the_request_that_published_them(
    world: World, receiver: Receiver
) -> None:
    await world.register(receiver.url("/hook"))
    bodies: dict[str, Any] = {
        "/api/v1/events": {"type": "upload.completed", "data": {}},
        "/api/v1/events/batch": {"events": [{"type": "upload.completed", "data": {}}]},
    }
    for path, body in bodies.items():
        for key in ({}, {"Idempotency-Key": path}):
            accepted = (await world.post(path, body, headers=MINE | key)).json()
            event_id = accepted.get("id") or accepted["events"][0]["id"]
            assert (await world.get(f"/api/v1/events/{event_id}")).json()["request_id"] == ID
            [listed] = (await world.get("/operator/v1/deliveries", params={"event_id": event_id})).json()["data"]
            assert listed["request_id"] == ID
            assert (await world.get(f"/operator/v1/deliveries/{listed['id']}")).json()["request_id"] == ID


async def test_an_uploads_event_carries_the_id_of_its_request(small_world: World, receiver: Receiver) -> None:
    await small_world.register(receiver.url("/hook"), events=["upload.created"])
    numbers = {"phone_numbers": [f"+1415555{number:04d}" for number in range(150, 300)]}
    assert (await small_world.post("/api/v1/uploads", numbers, headers=MINE)).status_code == 200
    [listed] = (await small_world.get("/operator/v1/deliveries")).json()["data"]
    assert (listed["event_type"], listed["request_id"]) == ("upload.created", ID)


async def test_audit_entries_of_every_surface_carry_the_id_of_their_request(world: World, receiver: Receiver) -> None:
    webhook = (await world.post("/api/v1/webhooks", {"url": receiver.url("/hook")}, headers=MINE)).json()["webhook"]
    path = f"/api/v1/webhooks/{webhook['id']}"
    await world.patch(path, {"description": "x"}, headers=MINE)
    await world.post(f"{path}/rotate-secret", headers=MINE)
    await world.post(f"/operator/v1/endpoints/{webhook['id']}/disable", headers=MINE)
    await world.post("/operator/v1/replays", {"filter": {}}, headers=MINE)
    await world.delete(path, headers=MINE)
    subscription = {"event_type": "call.incoming.completed", "target_url": "https://example.com/"}
    await world.post("/api/v1/subscriptions", subscription, headers=MINE)
    entries = (await world.get("/operator/v1/audit", params={"limit": 100})).json()["data"]
    caused = [entry["action"] for entry in entries if entry["request_id"] == ID]
    assert caused == [
        "endpoint.create",
        "endpoint.delete",
        "replay.start",
        "endpoint.disable",
        "endpoint.rotate_secret",
        "endpoint.update",
        "endpoint.create",
    ]


async def test_log_lines_carry_the_id_of_the_request_that_they_were_written_in(small_world: World) -> None:
    captured = LogCapture()
    before = structlog.get_config()["processors"]
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, captured])
    try:
        async with small_world.without_redis():
            await small_world.delete("/api/v1/webhooks/1", headers=MINE)
            await small_world.get("/api/v1/me", headers=MINE)
            await small_world.get("/ready", headers=MINE)
    finally:
        structlog.configure(processors=before)
    assert [line["event"] for line in captured.entries] == ["rate_limit_skipped", "rate_limit_skipped", "not_ready"]
    assert {line["request_id"] for line in captured.entries} == {ID}
