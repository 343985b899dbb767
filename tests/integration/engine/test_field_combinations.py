"""Whatever an endpoint is told, in any combination: each field has its effect, and no other is lost by it."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from sendoff.operators.installation.reconcile import reconcile
from sendoff.policy.endpoints.auth import BasicAuth
from sendoff.policy.states import DeliveryState
from sendoff.publishing.publish import NewEvent
from sendoff.store.queries.traffic import delivery_history
from sendoff.store.queries.traffic.delivery_history import DeliveryFilter
from tests.support.app_fixture import open_app
from tests.support.exchange import Received
from tests.support.receiver import Receiver

FIELDS: dict[str, Any] = {
    "filter": "data.n > 0",
    "transform": "{'n': data.n + 10}",
    "ordered": True,
    "headers": {"X-Own": "own"},
    "auth": BasicAuth(type="basic", username="ada", password="secret"),
    "retry_schedule": ["1h"],
    "timeout_seconds": 25,
    "max_in_flight": 1,
}
COMBINATIONS = [
    {name: FIELDS[name] for name, given in zip(FIELDS, chosen, strict=True) if given}
    for chosen in product((False, True), repeat=len(FIELDS))
]


def numbers(requests: list[Received]) -> list[int]:
    return [request.event["data"]["n"] for request in requests]


@pytest.mark.chaos
async def test_all_combinations_of_fields_keep_what_each_promises(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, retry_schedule="60s") as app:
        for place, fields in enumerate(COMBINATIONS):
            receiver.program(f"/{place}", 200, 500, 200)
            await app.register(receiver.url(f"/{place}"), **fields)
        receiver.forget()
        await app.publish(*(NewEvent("upload.completed", b'{"n":%d}' % number) for number in range(4)))
        await app.work()
        before = [len(receiver.requests(f"/{place}")) for place in range(len(COMBINATIONS))]
        app.clock.advance(60)
        await app.work()
        for place, fields in enumerate(COMBINATIONS):
            retried = len(receiver.requests(f"/{place}")) > before[place]
            assert retried == ("retry_schedule" not in fields), fields
        app.clock.advance(3_600)
        await app.work()
        for place, fields in enumerate(COMBINATIONS):
            check(receiver.requests(f"/{place}"), fields)
        async with app.transaction() as tx:
            open_ones = DeliveryFilter(states=(DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.QUEUED))
            assert (await delivery_history.scan_page(tx, open_ones, limit=1)).rows == []
        assert (await reconcile(app.context)).is_clean


def check(requests: list[Received], fields: dict[str, Any]) -> None:
    """Every event once and the first attempt that failed once more; and in order, if that was asked for."""
    wanted = [number + 10 * ("transform" in fields) for number in range(int("filter" in fields), 4)]
    got = numbers(requests)
    assert len(got) == len(wanted) + 1, fields
    assert set(got) == set(wanted), fields
    if "ordered" in fields:
        assert got == [wanted[0], *wanted], fields
    for request in requests:
        names = {name.lower() for name, _ in request.headers}
        assert ("x-own" in names) == ("headers" in fields), fields
        assert ("authorization" in names) == ("auth" in fields), fields
