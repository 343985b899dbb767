"""Repeats a query, and measures its duration, the pages that it reads, and the database's CPU time for it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg

_ROUNDS = 9
_SLOW_SECONDS = 2.0
"""What takes longer than this is not asked again."""

_SPENT = """
    SELECT (SELECT coalesce(sum(shared_blks_hit + shared_blks_read), 0)::bigint
            FROM pg_stat_statements WHERE userid <> 'bench'::regrole) AS pages,
        ARRAY(SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename <> 'bench') AS pids
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
    """The median of some rounds: milliseconds until the caller has its answer, pages of 8 KiB that were looked at.

    `cpu_ms`: milliseconds of CPU time of the server's processes for the product's connections; without those that a
    parallel query starts.
    """

    milliseconds: float
    pages: int
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class AskedDatabase:
    """A database that is asked: its routines, and the observer's own connection to it."""

    connection: asyncpg.Connection
    routines: Sequence[Routine]


async def ask_all(connection: asyncpg.Connection, routines: Sequence[Routine]) -> dict[str, Cost]:
    """What each step of the routines costs, by its name. `connection` is the observer's own."""
    [costs] = await ask_side_by_side([AskedDatabase(connection, routines)])
    return costs


async def ask_side_by_side(databases: Sequence[AskedDatabase], *, rounds: int = _ROUNDS) -> list[dict[str, Cost]]:
    """The same of several databases with the same routines, in turns: what else the machine does meets all alike."""
    costs: list[dict[str, Cost]] = [{} for _ in databases]
    for routines in zip(*(one.routines for one in databases), strict=True):
        found: list[dict[str, list[Cost]]] = [{step.name: [] for step in routine} for routine in routines]
        for _ in range(rounds + 1):
            for database, routine, taken in zip(databases, routines, found, strict=True):
                await _take(database.connection, routine, taken)
            if any(each[-1].milliseconds > _SLOW_SECONDS * 1000 for taken in found for each in taken.values()):
                break
        for known, taken in zip(costs, found, strict=True):
            known |= {name: _median(each[1:] or each) for name, each in taken.items()}
    return costs


async def _take(connection: asyncpg.Connection, routine: Routine, found: dict[str, list[Cost]]) -> None:
    given: Any = None
    for step in routine:
        before = await connection.fetchrow(_SPENT)
        cpu_before, started = _cpu_seconds(before["pids"]), time.perf_counter()
        given = await step.ask(given)
        milliseconds = (time.perf_counter() - started) * 1000
        after = await connection.fetchrow(_SPENT)
        # A connection that was opened meanwhile has its start in it; the median leaves that out.
        cpu_ms = (_cpu_seconds(after["pids"]) - cpu_before) * 1000
        found[step.name].append(Cost(milliseconds, after["pages"] - before["pages"], cpu_ms))


def _cpu_seconds(pids: Sequence[int]) -> float:
    spent = 0
    for pid in pids:
        with suppress(FileNotFoundError):  # it has just ended
            spent += int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    return spent / 1e9


def _median(costs: Sequence[Cost]) -> Cost:
    """Without the first round, which may have had to connect and to plan."""
    return Cost(
        median(cost.milliseconds for cost in costs),
        int(median(cost.pages for cost in costs)),
        median(cost.cpu_ms for cost in costs),
    )
