"""Repeats a query, and measures its duration and the pages that it reads."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import asyncpg

_ROUNDS = 9
_SLOW_SECONDS = 2.0
"""What takes longer than this is not asked again."""

_PAGES = """
    SELECT coalesce(sum(shared_blks_hit + shared_blks_read), 0)::bigint
    FROM pg_stat_statements WHERE userid <> 'bench'::regrole
"""


@dataclass(frozen=True, slots=True)
class QueryStep:
    """Something to be measured; `ask` is given what the step before it gave."""

    name: str
    ask: Callable[[Any], Awaitable[Any]]


Routine = Sequence[QueryStep]
"""Steps that are taken one after the other, over and over."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The median of some rounds: milliseconds until the caller has its answer, pages of 8 KiB that were looked at."""

    milliseconds: float
    pages: int


async def ask_all(connection: asyncpg.Connection, routines: Sequence[Routine]) -> dict[str, Cost]:
    """What each step of the routines costs, by its name. `connection` is the observer's own."""
    costs: dict[str, Cost] = {}
    for routine in routines:
        costs |= await _measure(connection, routine)
    return costs


async def _measure(connection: asyncpg.Connection, routine: Routine) -> dict[str, Cost]:
    found: dict[str, list[Cost]] = {step.name: [] for step in routine}
    for _ in range(_ROUNDS + 1):
        given: Any = None
        for step in routine:
            before, started = await connection.fetchval(_PAGES), time.perf_counter()
            given = await step.ask(given)
            milliseconds = (time.perf_counter() - started) * 1000
            found[step.name].append(Cost(milliseconds, await connection.fetchval(_PAGES) - before))
        if any(costs[-1].milliseconds > _SLOW_SECONDS * 1000 for costs in found.values()):
            break
    return {name: _median(costs[1:] or costs) for name, costs in found.items()}


def _median(costs: Sequence[Cost]) -> Cost:
    """Without the first round, which may have had to connect and to plan."""
    return Cost(median(cost.milliseconds for cost in costs), int(median(cost.pages for cost in costs)))
