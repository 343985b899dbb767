"""How many deliveries a replay feeds to each endpoint: what it takes until the next tick, and hardly more.

What is fed waits in the endpoint's backlog, behind its live deliveries. A replay that fed more would gain nothing, and
a cancel would wait for all of that to be sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from math import ceil
from typing import NamedTuple

LEAST_WAITING = 50
"""How many may wait for an endpoint that took none or few since the last tick. More, and more is sent after a replay
was cancelled; fewer, and a fast endpoint takes more ticks to come up to its speed."""

AHEAD_SECONDS = 2.0
"""For how long what waits suffices at the speed of the endpoint. Ticks come every second: shorter, and an endpoint is
out of work before the next one; longer, and more is sent after a replay was cancelled."""

AHEAD_WHEN_EMPTY_SECONDS = 4.0
"""The same for an endpoint that was out of work, so that its speed is not known: it gets up to four times as many at
each tick. Less, and one that takes 500 a second stays idle for seconds until it gets that many."""


SPREAD_SECONDS = 1.0
"""Seconds over which what a tick feeds falls due: until the next tick. Shorter, and a worker sends it in a burst that
the live deliveries of other endpoints wait for; longer, and it piles up."""

DUE_TOGETHER = 5
"""Deliveries of an endpoint that fall due at the same time. With more, live deliveries wait for more of them; with
fewer, workers make more claims."""


class DueTime(NamedTuple):
    """A time at which held deliveries of an endpoint fall due."""

    at: datetime
    endpoint_id: str


def capacity_for(waiting: int, *, waited: int, elapsed: float) -> int:
    """How many deliveries to add for an endpoint: `waiting` now, `waited` when the last tick ended."""
    taken = max(0, waited - waiting)
    ahead = AHEAD_SECONDS if waiting else AHEAD_WHEN_EMPTY_SECONDS
    return max(0, max(LEAST_WAITING, int(taken / elapsed * ahead)) - waiting)


def due_times(endpoints: Mapping[str, str | None], now: datetime) -> dict[str, datetime]:
    """When deliveries fall due that are fed together, by their ids; `endpoints` names the endpoint of each.

    Those of each endpoint are spread evenly over SPREAD_SECONDS, and the endpoints between each other.
    """
    numbers, places = Counter(endpoints.values()), Counter[str | None]()
    offsets = {endpoint_id: index / len(numbers) for index, endpoint_id in enumerate(numbers)}
    due: dict[str, datetime] = {}
    for delivery_id, endpoint_id in endpoints.items():
        group, places[endpoint_id] = places[endpoint_id] // DUE_TOGETHER, places[endpoint_id] + 1
        groups = ceil(numbers[endpoint_id] / DUE_TOGETHER)
        due[delivery_id] = now + timedelta(seconds=SPREAD_SECONDS * (group + offsets[endpoint_id]) / groups)
    return due
