"""Years of history: whether what is asked all day takes longer for it."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from bench.measurement.databases import POSTGRES_SETTINGS, Postgres
from bench.scale.asking import Cost, ask_all
from bench.scale.disk import describe_disk
from bench.scale.experiments.hot_statements import background, hot_path
from bench.scale.experiments.lists import Sample, lists
from bench.scale.options import ScaleOptions
from bench.scale.rows import DEAD, DELIVERED, Seed, SeedEndpoint
from bench.scale.seeding import find_endpoints, seed
from bench.scale.site import Site, open_site
from bench.scale.summary import compare
from bench.scenarios import Result
from bench.table import aligned, number
from sendoff.clock import SystemClock
from sendoff.processes.startup import open_context
from sendoff.settings import load

_FEW_ROWS = 10_000
_DAYS = 20
_DEAD_EVERY = 997  # a prime, so that every endpoint has some
_ENDPOINTS, _FANOUT = 1_000, 10
_QUIET_ROWS = 100  # at the beginning of the history
_BACKLOG = 200_000  # a tenth of it is dominated by what a worker's start costs PostgreSQL, which grows with partitions
_SLOW_MS = 100

_TELL_SLOW_PLANS = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": str(_SLOW_MS),
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off",  # the clock is read for every row otherwise
    "log_line_prefix": "",
}
_FROM_THE_MIDDLE = """
    WITH middle AS (SELECT min(created_at) + (max(created_at) - min(created_at)) / 2 AS at FROM deliveries)
    SELECT event_id, id::text, created_at FROM deliveries, middle
    WHERE created_at >= at ORDER BY id LIMIT 1
"""
_PLAN = re.compile(r"^LOG:  duration: .*?(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


async def measure_history(options: ScaleOptions, directory: Path) -> str:
    """Everything is asked with a little history, and again with all of it."""
    few, many = min(_FEW_ROWS, options.rows // 10), options.rows
    end = SystemClock().now() - timedelta(hours=1)
    begin = end - timedelta(days=_DAYS)
    async with open_site(
        directory, "history", postgres=POSTGRES_SETTINGS | _TELL_SLOW_PLANS, endpoints=_ENDPOINTS, fanout=_FANOUT
    ) as site:
        endpoints = await find_endpoints(site.database)
        await seed(site.database, _seed(endpoints, few, since=begin - timedelta(days=1), until=begin))
        drained_before = await _drain(site)
        before = await _ask(site, endpoints)
        started = time.monotonic()
        await seed(site.database, _seed(endpoints, many, first=few, since=begin, until=end))
        took = time.monotonic() - started
        drained = await _drain(site)
        mark = site.database.log.stat().st_size
        after = await _ask(site, endpoints)
        plans = _slow_plans(site.database, mark)
        disk = await describe_disk(site.database, few + many)
    names = (f"{few:,} deliveries", f"{few + many:,} deliveries")
    return "\n\n".join(
        [
            _costs(names, before, after),
            plans or f"No statement took {_SLOW_MS} ms.",
            compare([(names[0], [drained_before]), (names[1], [drained])]),
            disk,
            f"The history was written with COPY in {took:.0f} s, its VACUUM included.",
        ]
    )


def _seed(endpoints: Sequence[SeedEndpoint], rows: int, *, since: datetime, until: datetime, first: int = 0) -> Seed:
    busy, quiet = endpoints[:-_FANOUT], endpoints[-_FANOUT:]
    return Seed(
        rows,
        endpoint_of=lambda at: quiet[at % len(quiet)] if at < _QUIET_ROWS else busy[at % len(busy)],
        state_of=lambda at: DELIVERED if at % _DEAD_EVERY else DEAD,
        since=since,
        until=until,
        first=first,
    )


async def _drain(site: Site) -> Result:
    """A backlog of new events for all organizations but the quiet one."""
    bench = replace(site.bench(backlog_events=_BACKLOG // _FANOUT), keys=site.keys[:-1])
    result = await bench.backlog()
    site.servers.stop_workers()
    return result


async def _ask(site: Site, endpoints: Sequence[SeedEndpoint]) -> dict[str, Cost]:
    settings = load(**{key.removeprefix("SENDOFF_").lower(): value for key, value in site.servers.environment.items()})
    connection = await site.database.open_connection()
    try:
        await connection.execute("SET auto_explain.log_min_duration = -1")
        sample = Sample(endpoints[0], endpoints[-1], *await connection.fetchrow(_FROM_THE_MIDDLE))
        async with open_context(settings) as context:
            routines = [
                hot_path(context, endpoints[:-_FANOUT]),
                *background(context),
                *lists(context, sample),
            ]
            return await ask_all(connection, routines)
    finally:
        await connection.close()


def _costs(names: tuple[str, str], before: dict[str, Cost], after: dict[str, Cost]) -> str:
    head = ["", *(f"{what}, {name}" for what in ("ms", "pages") for name in names)]
    return aligned(
        [
            head,
            *(
                [name, number(few.milliseconds), number(many.milliseconds), f"{few.pages:,}", f"{many.pages:,}"]
                for name, few, many in ((name, few, after[name]) for name, few in before.items())
            ),
        ]
    )


def _slow_plans(database: Postgres, mark: int) -> str:
    """The plans that the server logged after the offset `mark` of its log, the first for each statement."""
    with database.log.open(errors="replace") as log:
        log.seek(mark)
        found = [plan.group() for plan in _PLAN.finditer(log.read())]
    first = {plan.partition("Query Text:")[2][:500]: plan for plan in reversed(found)}
    return "\n\n".join("```\n" + plan.strip() + "\n```" for plan in reversed(first.values()))
