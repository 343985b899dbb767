"""One event for very many endpoints."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from bench.plan import read_answers
from bench.processes.receiver import read_arrivals
from bench.processes.servers import run_load
from bench.scale.options import ScaleOptions
from bench.scale.site import Site, open_site
from bench.scenarios import Bench
from bench.table import aligned, number
from tests.support.polling import eventually

_EVENTS = 20
_HOSTS = 100
_PATIENCE_SECONDS = 120.0


async def measure_fanout(options: ScaleOptions, directory: Path) -> str:
    """Events one after the other, each when the one before is delivered to all; then all of them at once."""
    count = options.fanout
    async with open_site(directory, "fanout", endpoints=count, fanout=count, hosts=_HOSTS) as site:
        site.servers.start_workers(1)
        bench = site.bench(connections=1)
        await _publish(site, bench, 1)
        alone = [await _publish(site, bench, 1) for _ in range(_EVENTS)]
        together = await _publish(site, bench, _EVENTS)
    rows = [
        ["", f"{_EVENTS} times one event (median)", "(slowest)", f"{_EVENTS} events at once"],
        *(
            [title, number(median(times[at] for times in alone)), number(max(times[at] for times in alone)), ended]
            for title, at, ended in (
                ("POST → 202, ms", 0, number(together[0])),
                ("POST → first receipt, ms", 1, number(together[1])),
                ("POST → last receipt, ms", 2, number(together[2])),
                ("POST → all recorded, ms", 3, number(together[3])),
            )
        ),
        ["deliveries/s until the last receipt", number(count / median(times[2] for times in alone) * 1000), "", ""],
    ]
    rows[-1][-1] = number(count * _EVENTS / together[2] * 1000)
    return aligned(rows)


async def _publish(site: Site, bench: Bench, events: int) -> tuple[float, float, float, float]:
    """Milliseconds from the first POST until the last answer, the first and last receipt, and all recorded."""
    receiver = site.meter.receiver
    receiver.reset()
    plan = bench.singles(most=events)
    run_load(plan, site.directory)
    expected = events * bench.options.fanout
    await eventually(lambda: receiver.count() >= expected, within=_PATIENCE_SECONDS, what="all received")
    recorded = await _until_recorded(site)
    answers = read_answers(Path(str(plan.answers)))
    receipts = [at for _, at in read_arrivals(receiver.dump(site.directory / "receipts"))]
    start = min(answer.sent for answer in answers)
    ends = (max(answer.answered for answer in answers), min(receipts), max(receipts), recorded)
    first, second, third, fourth = ((at - start) * 1000 for at in ends)
    return first, second, third, fourth


async def _until_recorded(site: Site) -> float:
    async def all_recorded() -> bool:
        return await site.database.count_open() == 0

    await eventually(all_recorded, within=_PATIENCE_SECONDS, what="all recorded")
    return site.meter.now()
