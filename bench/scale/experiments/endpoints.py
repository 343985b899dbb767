"""Publishing spread over very many endpoints, each event for one of them."""

from __future__ import annotations

from pathlib import Path

from bench.scale.options import ScaleOptions
from bench.scale.site import open_site
from bench.scale.summary import compare
from bench.scenarios import FIXED_RATE, Result

_FEW = 100
_HOSTS = 200
_FANOUT = 4  # endpoints of one organization, which get each event of it
_BATCH_EVENTS = 10_000


async def measure_endpoints(options: ScaleOptions, directory: Path) -> str:
    """The same load for a hundred endpoints and for all of them."""
    columns: list[tuple[str, list[Result]]] = []
    memory: list[str] = []
    for count in sorted({min(_FEW, options.endpoints), options.endpoints}):
        async with open_site(
            directory,
            f"endpoints-{count}",
            endpoints=count,
            hosts=_HOSTS,
            fanout=_FANOUT,
            seconds=options.seconds,
            batch_events=_BATCH_EVENTS,
        ) as site:
            site.servers.start_workers(1)
            bench = site.bench()
            # Every endpoint is sent to at least once, so that caches are as full as they get.
            await bench.batch()
            results = [await bench.single(), await bench.batch(), await bench.at_rate("200/s", FIXED_RATE)]
            columns.append((f"{count:,} endpoints", results))
            memory.append(f"{site.meter.peaks['worker']:.0f}")
    return compare(columns, [["largest worker, MiB", *memory]])
