"""The backlog: whose deliveries are taken up when more endpoints have some waiting than there is quota for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from unittest.mock import AsyncMock

import pytest

from sendoff.delivery import backlog
from sendoff.delivery.dispatcher import Dispatcher
from sendoff.ids import new_id
from sendoff.policy.delivery.replay_feed import DueTime
from sendoff.publishing.publish import NewEvent
from tests.support.app_fixture import open_app
from tests.support.exchange import Reply
from tests.support.polling import eventually
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


async def test_what_a_replay_fed_takes_no_quota_from_others_before_it_falls_due(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog.BacklogClaimer, "_find_endpoints", AsyncMock())
    async with open_app(sqlite_url) as app:
        dispatcher, other, fed = Dispatcher(app.context), new_id(), new_id()
        rounds: list[set[str]] = []
        allocate = dispatcher.admission.allocate

        def note_round(endpoint_ids: Iterable[str], now: float) -> Mapping[str, int]:
            rounds.append(set(endpoint_ids))
            return allocate(endpoint_ids, now)

        monkeypatch.setattr(dispatcher.admission, "allocate", note_round)
        dispatcher.backlog_falls_due([DueTime(app.clock.now() + timedelta(seconds=1), fed)])
        for _ in range(2):
            rounds.clear()
            dispatcher.backlog_available([other])
            await eventually(lambda: {other} in rounds, what="a round for the other alone")
            assert not any(fed in considered for considered in rounds)
        app.clock.advance(1)
        dispatcher.backlog_available([other])
        await eventually(lambda: {other, fed} in rounds, what="a round for both")
        await dispatcher.drain(0)
