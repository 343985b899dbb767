"""A replay of very many dead letters while others are sent to as ever: how it goes on, and what the others feel."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from bench.plan import read_answers
from bench.processes.receiver import read_arrivals
from bench.processes.servers import run_load
from bench.scale.options import ScaleOptions
from bench.scale.rows import DEAD, Seed
from bench.scale.seeding import find_endpoints, seed
from bench.scale.site import open_site
from bench.scenarios import Bench
from bench.table import aligned, number, percentile
from sendoff.audit import Actor
from sendoff.clock import SystemClock
from sendoff.context import Context
from sendoff.operators.replays.replay import ReplayReport, Selection, get_replay, start_replay
from sendoff.policy.states import ReplayState
from sendoff.processes.startup import open_context
from sendoff.settings import load
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from tests.support.polling import eventually

_ENDPOINTS = 20
_LIVE_RATE = 100.0
"""Events a second to the endpoints that nothing is replayed to."""

_MEASURED_TIMES = 20
"""How many times `--seconds` live events are sent for, no longer than the replay. Their p99 is of ten thousand then,
and not of the first moments of the replay, in which its items are new to PostgreSQL."""

_STALLED_AFTER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far the replay was, and when."""

    seconds: float
    took: float
    """Seconds until that was answered."""
    succeeded: int
    failed: int


async def measure_replays(options: ScaleOptions, directory: Path) -> str:
    """Live events to nineteen endpoints, without and with a replay to the twentieth."""
    now = SystemClock().now()
    async with open_site(directory, "replays", endpoints=_ENDPOINTS) as site:
        replayed = next(one for one in await find_endpoints(site.database) if one.url.endswith("/hook/0"))
        rows = Seed(
            options.replayed,
            endpoint_of=lambda _number: replayed,
            state_of=lambda _number: DEAD,
            since=now - timedelta(hours=6),
            until=now - timedelta(minutes=1),
        )
        await seed(site.database, rows)
        site.servers.start_workers(1)
        seconds = min(options.seconds * _MEASURED_TIMES, options.replayed / options.replay_rate)
        bench = Bench(replace(site.options, seconds=seconds), site.directory, site.meter, site.keys[1:])
        await bench.warm_up()
        before = await _latencies(bench)
        environment = site.servers.environment
        settings = load(**{name.removeprefix("SENDOFF_").lower(): value for name, value in environment.items()})
        async with open_context(settings) as context:
            chosen = Selection(DeadLetterFilter(endpoint_id=replayed.id))
            gc.collect()
            gc.freeze()  # or this process, whose heap is large from seeding, takes a core for 100 ms at some moment
            report = await start_replay(context, Actor("bench"), chosen, rate=options.replay_rate)
            watching = asyncio.create_task(_watch(context, report))
            during = await _latencies(bench)
            marks = await watching
    return f"{_describe(options, marks, before, during)}\n\n{_table(marks)}"


async def _latencies(bench: Bench) -> list[float]:
    """Milliseconds from the answer to each publish to its arrival, sorted."""
    receiver = bench.meter.receiver
    receiver.reset()
    outcome = await asyncio.to_thread(run_load, bench.singles(rate=_LIVE_RATE), bench.directory)
    if outcome.refused:
        raise RuntimeError(f"{outcome.refused} requests were refused, the first with:\n{outcome.refusal}")
    arrived: dict[bytes, float] = {}

    def all_arrived() -> bool:
        arrived.update(read_arrivals(receiver.dump(bench.directory / "receipts")))
        return all(one.event_id in arrived for one in answers)

    answers = read_answers(bench.directory / "answers")
    await eventually(all_arrived, within=_STALLED_AFTER_SECONDS, what="every live event at its receiver")
    return sorted((arrived[one.event_id] - one.answered) * 1000 for one in answers)


async def _watch(context: Context, report: ReplayReport) -> list[_Progress]:
    """The replay's progress, as often as its page asks for it, until it has ended and everything of it has."""
    started, changed_at, marks = context.clock.monotonic(), context.clock.monotonic(), [_Progress(0, 0, 0, 0)]
    while True:
        await asyncio.sleep(report.poll_seconds)
        asked_at = context.clock.monotonic()
        report, at = await get_replay(context, report.replay.id), context.clock.monotonic()
        mark = _Progress(at - started, at - asked_at, report.progress.succeeded, report.progress.failed)
        if (mark.succeeded, mark.failed) != (marks[-1].succeeded, marks[-1].failed):
            changed_at = at
        marks.append(mark)
        if report.replay.state != ReplayState.RUNNING and mark.succeeded + mark.failed >= report.replay.total:
            return marks
        if at - changed_at > _STALLED_AFTER_SECONDS:
            raise RuntimeError(f"the replay stands still at {mark}")


def _describe(options: ScaleOptions, marks: list[_Progress], before: list[float], during: list[float]) -> str:
    slowest = max(one.took for one in marks)
    interval = (marks[-1].seconds - marks[0].seconds) / (len(marks) - 1)
    ratio = percentile(during, 0.99) / percentile(before, 0.99)
    figures = ", ".join(
        f"p{100 * share:.0f} {number(percentile(during, share))} ms instead of {number(percentile(before, share))}"
        for share in (0.5, 0.95, 0.99)
    )
    return (
        f"{options.replayed:,} dead letters of one endpoint were replayed at up to {options.replay_rate} a second in "
        f"{marks[-1].seconds:.0f} s: {marks[-1].succeeded:,} succeeded, {marks[-1].failed:,} failed. Its progress was "
        f"answered within {slowest * 1000:.0f} ms, every {interval:.0f} s. Meanwhile {_LIVE_RATE:.0f} events a second "
        f"went to {_ENDPOINTS - 1} others: {figures}; the p99 is {ratio:.2f} times as long."
    )


def _table(marks: list[_Progress]) -> str:
    shown = [marks[len(marks) * step // 10] for step in range(10)] + [marks[-1]]
    rows = [["after s", "succeeded", "failed"]]
    rows += [[f"{one.seconds:.0f}", f"{one.succeeded:,}", f"{one.failed:,}"] for one in dict.fromkeys(shown)]
    return aligned(rows)
