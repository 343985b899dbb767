"""`/operator/v1/overview` and `/operator/v1/workers`: what waits, what fails, and who works."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

from sendoff.operators.installation import overview as operation
from sendoff.operators.installation.workers import ALIVE_SECONDS, HEARTBEAT_SECONDS, Heartbeat
from tests.integration.api.api_fixture import ApiFixture
from tests.support.polling import eventually
from tests.support.receiver import Receiver
from worker import heartbeats, process
from worker.health import WorkerHealth

BASE = "/operator/v1"


async def overview(api: ApiFixture) -> dict[str, Any]:
    response = await api.get(f"{BASE}/overview")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def workers(api: ApiFixture) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.get(f"{BASE}/workers")).json()["data"]
    return found


async def test_it_counts_what_waits_and_since_when(api: ApiFixture, receiver: Receiver) -> None:
    empty = await overview(api)
    assert (empty["deliveries"]["waiting"], empty["deliveries"]["oldest_due_at"]) == (0, None)
    await api.register(receiver.url("/hook"))
    await api.publish()
    await api.publish()
    published_at = empty["at"]
    api.app.clock.advance(90)
    waiting = await overview(api)
    assert waiting["deliveries"] == {
        "waiting": 2,
        "by_state": {"pending": 2, "held": 0, "queued": 0, "in_flight": 0},
        "due": 2,
        "oldest_due_at": published_at,
        "oldest_due_seconds": 90.0,
    }
    assert waiting["endpoints"] == {"active": 1, "paused": 0, "disabled": 0, "gone": 0, "deleted": 0}
    receiver.program("/hook", 500)
    await api.app.work()
    later = (await overview(api))["deliveries"]
    assert (later["waiting"], later["due"], later["oldest_due_seconds"]) == (2, 0, 0.0)


async def test_it_counts_open_dead_letters_by_reason(api: ApiFixture, receiver: Receiver) -> None:
    receiver.program("/hook", 200, 500)
    letter = await api.die(receiver.url("/hook"))
    await api.publish()
    await api.post(f"{BASE}/endpoints/{letter['endpoint_id']}/disable")
    found = await overview(api)
    assert found["dead_letters"] == {"open": 2, "by_reason": {"retries_exhausted": 1, "endpoint_disabled": 1}}
    assert found["endpoints"]["disabled"] == 1
    await api.post(f"{BASE}/dead-letters/{letter['id']}/discard")
    assert (await overview(api))["dead_letters"] == {"open": 1, "by_reason": {"endpoint_disabled": 1}}


async def test_counts_end_at_a_bound(api: ApiFixture, receiver: Receiver, monkeypatch: Any) -> None:
    monkeypatch.setattr(operation, "COUNTED_AT_MOST", 3)
    await api.register(receiver.url("/hook"))
    for _ in range(5):
        await api.publish()
    found = await overview(api)
    assert (found["deliveries"]["by_state"]["pending"], found["deliveries"]["due"]) == (3, 3)


async def test_workers_are_listed_while_they_are_alive(api: ApiFixture) -> None:
    context = api.app.context
    await Heartbeat(context, slots=7).beat(in_flight=0)  # and is killed
    api.app.clock.advance(1)
    stopped = Heartbeat(context, slots=9)
    await stopped.beat(in_flight=4)
    first, second = await workers(api)
    assert (first["slots"], first["in_flight"], second["slots"], second["in_flight"]) == (7, 0, 9, 4)
    assert (second["host"], second["pid"], second["version"]) == (socket.gethostname(), os.getpid(), "0.1.0")
    assert second["started_at"] > first["started_at"]
    api.app.clock.advance(ALIVE_SECONDS - 1)
    await stopped.beat(in_flight=2)
    api.app.clock.advance(HEARTBEAT_SECONDS)
    [left] = await workers(api)
    assert (left["id"], left["in_flight"], left["started_at"]) == (second["id"], 2, second["started_at"])
    assert (await overview(api))["workers"] == [left]
    await stopped.end()
    assert await workers(api) == []


async def test_a_worker_that_an_operator_drains_stops(api: ApiFixture, monkeypatch: Any) -> None:
    monkeypatch.setattr(heartbeats, "HEARTBEAT_SECONDS", 0.05)
    stop = asyncio.Event()
    working = asyncio.create_task(process.work(api.app.context, stop, WorkerHealth()))
    [worker] = await eventually(lambda: workers(api), within=20, what="the worker's heartbeat")
    assert worker["drain_requested_at"] is None
    drained = await api.post(f"{BASE}/workers/{worker['id']}/drain")
    assert drained.json()["drain_requested_at"] is not None
    await asyncio.wait_for(working, 20)
    assert stop.is_set()
    assert await workers(api) == []
    gone = await api.post(f"{BASE}/workers/{worker['id']}/drain")
    assert (gone.status_code, gone.json()["detail"]) == (404, "There is no such worker, or it is not alive any more.")


async def test_a_reader_sees_everything_and_changes_nothing(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hook"))
    reader = await api.new_key("operator:read")
    for path in ("overview", "workers", "deliveries", "dead-letters", "replays", "endpoints", "audit"):
        assert (await api.get(f"{BASE}/{path}", key=reader)).status_code == 200, path
    for path, body in ((f"endpoints/{webhook['id']}/disable", None), ("replays", {"filter": {}, "dry_run": True})):
        refused = await api.post(f"{BASE}/{path}", body, key=reader)
        assert (refused.status_code, refused.json()["detail"]) == (403, "This API key lacks the scope `operator`.")
    assert (await api.get(f"{BASE}/overview", key=await api.new_key("events:write"))).status_code == 403
