"""A store full of dead letters: how long the API works for each page of the dashboard."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median

import httpx

from api.app import create_app
from bench.scale.options import ScaleOptions
from bench.scale.rows import DEAD, WAITING, Seed
from bench.scale.seeding import find_endpoints, seed
from bench.scale.site import open_site
from bench.table import aligned, number
from sendoff.accounts.page_sessions import ACT, VIEW, NewLink, SessionKind, create_link, open_link
from sendoff.audit import Actor
from sendoff.clock import SystemClock
from sendoff.context import Context
from sendoff.processes.startup import open_context
from sendoff.settings import load

_ENDPOINTS, _FANOUT = 1_000, 10
_ROUNDS = 9
_WAITING_EVERY = 11
_DAYS = 20

PAGES = (
    "/dashboard",
    "/dashboard?range=7d&view=table",
    "/dashboard/events",
    "/dashboard/events/{event}",
    "/dashboard/search?q=nothing-like-it",
    "/dashboard/deliveries",
    "/dashboard/deliveries?state=dead",
    "/dashboard/deliveries?organization_id={organization}",
    "/dashboard/deliveries/{delivery}",
    "/dashboard/dead-letters",
    "/dashboard/dead-letters?state=open",
    "/dashboard/dead-letters?state=open&endpoint_id={endpoint}",
    "/dashboard/dead-letters?state=open&response_status=404",
    "/dashboard/failures",
    "/dashboard/replays/new",
    "/dashboard/replays/new?pending=1",
    "/dashboard/replays/new?endpoint_id={endpoint}",
    "/dashboard/replays",
    "/dashboard/endpoints",
    "/dashboard/endpoints/{endpoint}",
    "/dashboard/endpoints/{endpoint}?range=7d&view=table",
    "/dashboard/organizations",
    "/dashboard/organizations/{organization}",
    "/dashboard/workers",
    "/dashboard/audit",
    "/dashboard/system",
    "/dashboard/system/retention",
)

SOME = """
    SELECT delivery_id::text AS delivery, event_id AS event, endpoint_id::text AS endpoint,
        organization_id::text AS organization
    FROM dead_letters ORDER BY id DESC OFFSET 10 LIMIT 1
"""


STATISTICS = """
    INSERT INTO statistics (
        span, scope, subject_id, minute, event_type, outcome, accepted, attempts, failed_attempts, delivered,
        duration_total, latency_total, duration_05, duration_07, latency_05, latency_09
    )
    SELECT s.span, w.scope, w.subject, now.minute - now.minute % s.span - back * s.span, k.event_type, k.outcome,
        50, 40, 3, 37, 4000, 9000, 20, 20, 18, 19
    FROM (SELECT CAST(extract(epoch FROM now()) AS int) / 60 AS minute) AS now
    CROSS JOIN (VALUES (1, 120), (5, 576), (60, 2160), (1440, 90)) AS s (span, number)
    CROSS JOIN (
        SELECT 'all' AS scope, CAST('00000000-0000-0000-0000-000000000000' AS uuid) AS subject, 30 AS days
        UNION ALL SELECT 'endpoint', id, CASE WHEN CAST(id AS text) = $1 THEN 30 ELSE 1 END FROM endpoints
    ) AS w
    CROSS JOIN LATERAL generate_series(0, LEAST(s.number, w.days * 1440 / s.span) - 1) AS back
    JOIN (VALUES ('all', '', 'ok'), ('all', '', 'timed_out'), ('all', 'a.b', ''),
        ('endpoint', 'a.b', 'ok'), ('endpoint', 'a.b', 'timed_out')) AS k (scope, event_type, outcome) USING (scope)
"""
"""Sums as workers would have folded them: a day of every endpoint, each busy all the time, and a month of one."""


@dataclass(frozen=True, slots=True)
class _Page:
    path: str
    milliseconds: float
    kilobytes: float


async def measure_pages(options: ScaleOptions, directory: Path) -> str:
    """Every page, over and over, with a session of an operator; in this process, so that no network is measured."""
    end = SystemClock().now() - timedelta(minutes=1)
    async with open_site(directory, "pages", endpoints=_ENDPOINTS, fanout=_FANOUT) as site:
        endpoints = await find_endpoints(site.database)
        rows = Seed(
            options.dead_letters,
            endpoint_of=lambda at: endpoints[at % len(endpoints)],
            state_of=lambda at: DEAD if at % _WAITING_EVERY else WAITING,
            since=end - timedelta(days=_DAYS),
            until=end,
        )
        await seed(site.database, rows)
        connection = await site.database.open_connection()
        some = dict(await connection.fetchrow(SOME))
        await connection.execute(STATISTICS, some["endpoint"])
        await connection.execute("VACUUM (ANALYZE) statistics")
        await connection.close()
        environment = site.servers.environment
        settings = load(**{name.removeprefix("SENDOFF_").lower(): value for name, value in environment.items()})
        async with open_context(settings) as context, open_dashboard(context) as client:
            found = [await _measure(client, path.format(**some)) for path in PAGES]
    table = [["", "ms", "kB"], *([page.path, number(page.milliseconds), number(page.kilobytes)] for page in found)]
    return (
        f"{options.dead_letters:,} deliveries, ten of eleven dead and the others waiting; {_ENDPOINTS:,} endpoints "
        f"with the statistics of a busy day.\n\n{aligned(table)}"
    )


@asynccontextmanager
async def open_dashboard(context: Context) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the pages, with a session of an operator."""
    app = create_app(context.settings)
    app.state.context = context
    link = NewLink(SessionKind.OPERATOR, {VIEW, ACT}, expires_seconds=60, session_seconds=3_600)
    token, _ = await create_link(context, Actor("bench"), link)
    session = await open_link(context, token, SessionKind.OPERATOR, request_id=None)
    cookies = {f"sendoff-{SessionKind.OPERATOR}": session.token}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", cookies=cookies) as client:
        yield client


async def _measure(client: httpx.AsyncClient, path: str) -> _Page:
    durations, size = [], 0
    for _ in range(_ROUNDS + 1):
        started = time.perf_counter()
        answer = await client.get(path)
        durations.append((time.perf_counter() - started) * 1000)
        if answer.status_code != httpx.codes.OK:
            raise RuntimeError(f"{path} was answered {answer.status_code}")
        size = len(answer.content)
    return _Page(path.partition("=0")[0], median(durations[1:]), size / 1000)
