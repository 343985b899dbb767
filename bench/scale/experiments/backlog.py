"""A large backlog that a worker finds at its start: how fast it goes down, and what becomes of the worker's memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from bench.measurement.accounting import ProcessTable
from bench.measurement.calibration import REFERENCE_MS
from bench.measurement.snapshots import PARTS, Snapshot, Usage
from bench.scale.disk import describe_disk
from bench.scale.options import ScaleOptions
from bench.scale.rows import DUE, Seed
from bench.scale.seeding import find_endpoints, seed
from bench.scale.site import Site, open_site
from bench.table import aligned, number
from sendoff.clock import SystemClock
from tests.support.polling import eventually

_PAYLOAD = 1024
_STEPS = 10
_POLL_SECONDS = 0.25
_STALLED_AFTER_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class _Mark:
    """The measurements once `arrived` deliveries had arrived; memory in MiB."""

    arrived: int
    at: float
    worker: float
    api: float
    valkey: float


async def measure_backlog(options: ScaleOptions, directory: Path) -> str:
    """Due deliveries that are not in the work queue, so that only the sweeper finds them."""
    async with open_site(directory, "backlog") as site:
        endpoints = await find_endpoints(site.database)
        now = SystemClock().now()
        rows = Seed(
            options.backlog,
            endpoint_of=lambda number: endpoints[number % len(endpoints)],
            state_of=lambda _number: DUE,
            since=now - timedelta(minutes=5),
            until=now - timedelta(minutes=1),
            payload=_PAYLOAD,
        )
        await seed(site.database, rows)
        site.meter.receiver.reset()
        site.servers.start_workers(1)
        before = await site.meter.read()
        marks = await _watch(site, before, options.backlog)
        usage = await _until_recorded(site, before)
        repeated = site.meter.receiver.count() - options.backlog
        connections = await site.database.count_connections()
        disk = await describe_disk(site.database, options.backlog)
    described = f"{_describe(options.backlog, usage, repeated)} Connections to PostgreSQL: {connections}."
    return "\n\n".join([_table(marks), described, disk])


async def _watch(site: Site, before: Snapshot, total: int) -> list[_Mark]:
    marks = [_mark(site, 0, before.at)]
    arrived, changed_at = 0, before.at
    while arrived < total:
        await asyncio.sleep(_POLL_SECONDS)
        seen = site.meter.receiver.count()
        now = site.meter.now()
        if seen == arrived and now - changed_at > _STALLED_AFTER_SECONDS:
            raise RuntimeError(f"{seen} of {total} arrived, then nothing:\n{site.servers.log('worker')}")
        changed_at = now if seen > arrived else changed_at
        arrived = seen
        if arrived >= min(total, len(marks) * total // _STEPS):
            marks.append(_mark(site, arrived, now))
    return marks


def _mark(site: Site, arrived: int, at: float) -> _Mark:
    table = ProcessTable()
    pids = (site.servers.worker_pids, site.servers.api_pids, site.servers.valkey_pids)
    return _Mark(arrived, at, *(table.resident_memory(each) for each in pids))


async def _until_recorded(site: Site, before: Snapshot) -> Usage:
    async def all_recorded() -> bool:
        return await site.database.count_open() == 0

    await eventually(all_recorded, within=_STALLED_AFTER_SECONDS, what="all deliveries recorded")
    return await site.meter.since(before)


def _table(marks: list[_Mark]) -> str:
    start = marks[0].at
    rows = [["delivered", "after s", "deliveries/s since the row above", "worker MiB", "API MiB", "Valkey MiB"]]
    rows.append(["0", "0", number(None), *_memory(marks[0])])
    for before, mark in pairwise(marks):
        speed = (mark.arrived - before.arrived) / (mark.at - before.at)
        rows.append([f"{mark.arrived:,}", f"{mark.at - start:.0f}", number(speed), *_memory(mark)])
    return aligned(rows)


def _memory(mark: _Mark) -> list[str]:
    return [f"{mark.worker:.0f}", f"{mark.api:.0f}", f"{mark.valkey:.0f}"]


def _describe(total: int, usage: Usage, repeated: int) -> str:
    speed = REFERENCE_MS / usage.calibration_ms
    used = ", ".join(f"{part} {number(usage.cpu[part] * speed / total * 1e6)}" for part in PARTS)
    return (
        f"All recorded after {usage.seconds:.0f} s, {number(total / usage.seconds)} deliveries/s; "
        f"{repeated} requests beyond one each. CPU µs per delivery, normalized: {used}. "
        f"CPU used elsewhere: {number(usage.elsewhere / usage.seconds)} cores."
    )
