"""What a receiver got, added up: which delivery of which event came where, with which body, and how often."""

from __future__ import annotations

from collections import defaultdict
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
    first_at: float
    """Unix seconds."""


def add_up(requests: Iterable[Received]) -> list[Arrival]:
    """The deliveries among the requests, which are OptimalDial's; pings are none."""
    same: defaultdict[tuple[str, str, str, bytes], list[float]] = defaultdict(list)
    for request in requests:
        if request.header("X-OptimalDial-Event") != PING:
            event_id, delivery_id = (request.header(f"X-OptimalDial-{what}-Id") for what in ("Event", "Delivery"))
            same[request.path.partition("?")[0], event_id, delivery_id, request.body].append(request.arrived_at)
    return [
        Arrival(path, event_id, delivery_id, body.decode(), len(moments), min(moments))
        for (path, event_id, delivery_id, body), moments in same.items()
    ]
