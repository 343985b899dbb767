"""What a receiver got, added up: which delivery of which event came where, with which body, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tests.support.exchange import Received

PING = "webhook.ping"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One delivery, as it arrived `count` times with these very bytes."""

    path: str
    event_id: str
    delivery_id: str
    body: str
    count: int


def add_up(requests: Iterable[Received]) -> list[Arrival]:
    """The deliveries among the requests, which are OptimalDial's; pings are none."""
    counts = Counter(
        (
            request.path.partition("?")[0],
            request.header("X-OptimalDial-Event-Id"),
            request.header("X-OptimalDial-Delivery-Id"),
            request.body,
        )
        for request in requests
        if request.header("X-OptimalDial-Event") != PING
    )
    return [
        Arrival(path, event_id, delivery_id, body.decode(), count)
        for (path, event_id, delivery_id, body), count in counts.items()
    ]
