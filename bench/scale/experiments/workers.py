"""More worker processes against one PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from bench.measurement.snapshots import Meter
from bench.scale.options import ScaleOptions
from bench.scale.site import open_site
from bench.scale.summary import compare
from bench.scenarios import Result

_BACKLOG = 200_000


async def measure_workers(options: ScaleOptions, directory: Path) -> str:
    """Single POSTs, then a backlog, with each number of workers on the same installation."""
    columns: list[tuple[str, list[Result]]] = []
    peaks: list[str] = []
    most = min(_BACKLOG, options.backlog)
    async with open_site(directory, "workers", seconds=options.seconds, backlog_events=most) as site:
        for count in options.workers:
            bench = site.bench(workers=count)
            site.servers.stop_workers()
            site.servers.start_workers(count)
            await bench.warm_up()
            name = f"{count} worker" if count == 1 else f"{count} workers"
            columns.append((name, [await bench.single(), await bench.backlog()]))
            peaks.append(_peak(site.meter))
    return compare(columns, [["largest worker, MiB", *peaks]])


def _peak(meter: Meter) -> str:
    peak = meter.peaks.pop("worker")  # the next ones are other processes
    return f"{peak:.0f}"
