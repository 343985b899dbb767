"""How many deliveries a replay feeds to each endpoint: what it takes until the next turn, and hardly more.

What is fed waits in the endpoint's backlog, behind its live deliveries. A replay that fed more would gain nothing, and
a cancel would wait for all of that to be sent.
"""

from __future__ import annotations

LEAST_WAITING = 50
"""How many may wait for an endpoint that took none or few since the last turn. More, and more is sent after a replay
was cancelled; fewer, and a fast endpoint takes more turns to come up to its speed."""

AHEAD_SECONDS = 2.0
"""For how long what waits suffices at the speed of the endpoint. Turns come every second: shorter, and an endpoint is
out of work before the next one; longer, and more is sent after a replay was cancelled."""

AHEAD_WHEN_EMPTY_SECONDS = 4.0
"""The same for an endpoint that was out of work, so that its speed is not known: it gets up to four times as many at
each turn. Less, and one that takes 500 a second stays idle for seconds until it gets that many."""


def capacity_for(waiting: int, *, waited: int, elapsed: float) -> int:
    """How many more may wait for an endpoint of which `waiting` are left of the `waited` when the last turn ended."""
    taken = max(0, waited - waiting)
    ahead = AHEAD_SECONDS if waiting else AHEAD_WHEN_EMPTY_SECONDS
    return max(0, max(LEAST_WAITING, int(taken / elapsed * ahead)) - waiting)
