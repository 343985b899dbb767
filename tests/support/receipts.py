"""What a receiver got, added up: which delivery of which event came where, with which body, and how often."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from tests.support.exchange import Received, Reply

PING = "webhook.ping"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One delivery, as it arrived `count` times with these very bytes."""

    path: str
    event_id: str
    delivery_id: str
    body: str
    count: int
    refused: int
    """How many of those requests were answered with a failure, so that others had to follow."""
    first_at: float
    """Unix seconds."""


def collect_receipts(exchanges: Iterable[tuple[Received, Reply]]) -> list[Receipt]:
    """The deliveries among the requests, which are OptimalDial's; pings are none."""
    same: defaultdict[tuple[str, str, str, bytes], list[tuple[float, bool]]] = defaultdict(list)
    for request, reply in exchanges:
        if request.header("X-OptimalDial-Event") != PING:
            event_id, delivery_id = (request.header(f"X-OptimalDial-{what}-Id") for what in ("Event", "Delivery"))
            key = request.path.partition("?")[0], event_id, delivery_id, request.body
            same[key].append((request.arrived_at, reply.status >= 300 or reply.close or reply.reset))
    return [
        Receipt(
            path,
            event_id,
            delivery_id,
            body.decode(),
            count=len(requests),
            refused=sum(refused for _, refused in requests),
            first_at=min(moment for moment, _ in requests),
        )
        for (path, event_id, delivery_id, body), requests in same.items()
    ]
