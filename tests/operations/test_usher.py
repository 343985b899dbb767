"""The usher: whose deliveries are taken up when more endpoints have some waiting than there is room for."""

from __future__ import annotations

from sendoff.operations.publish import NewEvent
from tests.support.house import open_house
from tests.support.receiver import Receiver

PATHS = [f"/endpoint{number}" for number in range(6)]
BACKLOG = 30


async def test_endpoints_take_turns(database_url: str, receiver: Receiver) -> None:
    """As many slots as one endpoint could fill by itself, and a backlog for each."""
    async with open_house(database_url, endpoint_max_in_flight=1, worker_max_in_flight=3) as house:
        for path in PATHS:
            await house.register(receiver.url(path))
        receiver.forget()
        await house.publish(*[NewEvent("upload.completed", b"{}")] * BACKLOG)
        await house.work()
        order = [request.path for request in receiver.requests()]
        assert len(order) == BACKLOG * len(PATHS)
        for path in PATHS:
            places = [place for place, other in enumerate(order) if other == path]
            assert places[BACKLOG // 2] < len(order) * 3 / 4, "half of it, before most of the others' is done"
