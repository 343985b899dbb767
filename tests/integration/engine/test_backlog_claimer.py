"""The backlog: whose deliveries are taken up when more endpoints have some waiting than there is quota for."""

from __future__ import annotations

import pytest

from sendoff.delivery import backlog
from sendoff.delivery.dispatcher import Dispatcher
from sendoff.publishing.publish import NewEvent
from tests.support.app_fixture import open_app
from tests.support.exchange import Reply
from tests.support.receiver import Receiver

PATHS = [f"/endpoint{number}" for number in range(6)]
BACKLOG = 30


async def test_endpoints_are_served_round_robin(database_url: str, receiver: Receiver) -> None:
    """As many slots as one endpoint could fill by itself, and a backlog for each."""
    async with open_app(database_url, endpoint_max_in_flight=1, worker_max_in_flight=3) as app:
        for path in PATHS:
            await app.register(receiver.url(path))
        receiver.forget()
        await app.publish(*[NewEvent("upload.completed", b"{}")] * BACKLOG)
        await app.work()
        order = [request.path for request in receiver.requests()]
        assert len(order) == BACKLOG * len(PATHS)
        for path in PATHS:
            places = [place for place, other in enumerate(order) if other == path]
            assert places[BACKLOG // 2] < len(order) * 3 / 4, "half of it, before most of the others' is done"


async def test_an_endpoint_with_free_capacity_does_not_wait_for_a_thousand_others(
    sqlite_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More endpoints hold deliveries than a round looks at, and nobody looks again by itself."""
    monkeypatch.setattr(backlog, "_ENDPOINTS_AT_ONCE", 1)
    monkeypatch.setattr(backlog, "SEARCH_SECONDS", 3600.0)
    async with open_app(sqlite_url, endpoint_max_in_flight=1, attempt_timeout_seconds=5) as app:
        for path in PATHS:
            await app.register(receiver.url(path))
        receiver.forget()
        for path in PATHS[:-1]:
            receiver.program(path, Reply(hang=True))
        await app.publish(*[NewEvent("upload.completed", b"{}")] * BACKLOG)
        dispatcher = Dispatcher(app.context)
        dispatcher.backlog_available(app.queue.backlog)
        await dispatcher.submit(app.queue.deliveries)
        await receiver.wait_for(BACKLOG, PATHS[-1], within=30)
        await dispatcher.drain(0)
