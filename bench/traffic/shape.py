"""What the traffic is like: which endpoint an event is for, how large it is, how long its receiver takes to answer."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from random import Random

from bench.processes.requests import heads, one_event

DOMAIN = "receivers.test"
"""The names are in a domain that the DNS does not have (RFC 6761)."""

SEED = 20
"""Two runs draw the same endpoints, sizes and answers."""

SMALLEST_BYTES, LARGEST_BYTES = 300, 20_000
FASTEST_SECONDS, SLOWEST_SECONDS = 0.02, 0.5
FAILING, TIMING_OUT = 0.02, 0.01
"""Shares of the requests that are answered with 500, and that are not answered."""

_MEDIAN_SECONDS, _SPREAD = 0.08, 0.8  # of the logarithm: 90 % between 21 and 300 ms
_REQUESTS = 4_096
_SIZES = 256


def names(count: int) -> list[str]:
    """The receivers' host names."""
    return [f"r{number}.{DOMAIN}" for number in range(count)]


def power_law(keys: Sequence[str], port: int) -> tuple[list[str], list[str]]:
    """Requests that publish, heads and bodies: the endpoint of rank n gets 1/n of what the first one gets."""
    random = Random(SEED)  # noqa: S311
    chosen = random.choices(keys, weights=[1 / rank for rank in range(1, len(keys) + 1)], k=_REQUESTS)
    return _requests(chosen, port, random)


def in_turn(keys: Sequence[str], port: int) -> tuple[list[str], list[str]]:
    """Requests that publish, one for each endpoint before the first one gets another."""
    return _requests(keys, port, Random(SEED))  # noqa: S311


def answer_seconds(random: Random) -> float:
    """How long a receiver takes: log-normal, within bounds."""
    drawn = random.lognormvariate(log(_MEDIAN_SECONDS), _SPREAD)
    return min(SLOWEST_SECONDS, max(FASTEST_SECONDS, drawn))


def _requests(keys: Sequence[str], port: int, random: Random) -> tuple[list[str], list[str]]:
    events = [one_event(round(exp(random.uniform(log(SMALLEST_BYTES), log(LARGEST_BYTES))))) for _ in range(_SIZES)]
    bodies = [random.choice(events) for _ in keys]
    found = [heads("/api/v1/events", [key], port, body)[0] for key, body in zip(keys, bodies, strict=True)]
    return found, bodies
