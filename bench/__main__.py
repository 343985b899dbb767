"""`python -m bench`: run the scenarios, print the table, write RESULTS.md."""

from __future__ import annotations

import asyncio
import shlex
import sys
import tempfile
import time
from pathlib import Path

from bench.databases import BenchDatabase, Postgres, Sqlite
from bench.ground import measure_ground
from bench.measuring import Meter
from bench.options import Options, parse_options
from bench.profiling import Profiler
from bench.report import render_report
from bench.scenarios import FIXED_RATE, Bench, Result
from bench.servers import ReceiverProcess, Servers
from bench.table import Run
from bench.town import found_town

_STARTED = time.monotonic()
RESULTS = Path(__file__).parent / "RESULTS.md"


def main() -> int:
    """Measure and report."""
    options = parse_options()
    command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
    with tempfile.TemporaryDirectory(prefix="sendoff-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL may have to run as another user
        ground = measure_ground(options, directory)
        runs = [_run_on(database, options, directory) for database in options.databases]
    report = render_report(command, options, ground, runs)
    sys.stdout.write(report)
    if options.write:
        RESULTS.write_text(report)
    return 0


def _run_on(name: str, options: Options, parent: Path) -> Run:
    directory = parent / name
    directory.mkdir()
    _tell(f"{name}: starting")
    database: BenchDatabase = Postgres(directory) if name == "postgres" else Sqlite(directory)
    profiler = Profiler(options.profile, directory)
    servers = Servers(directory, database, profiler, settings=options.settings)
    receiver = ReceiverProcess(options.hosts)
    meter = Meter(servers, database, receiver)
    try:
        servers.start()
        servers.start_workers(options.workers)
        results = asyncio.run(_measure(meter, options, directory))
    finally:
        servers.stop()
        receiver.stop()
        database.stop()
    sys.stdout.write(profiler.report())
    return Run(database.name, results, meter.peaks)


async def _measure(meter: Meter, options: Options, directory: Path) -> list[Result]:
    await meter.database.connect()
    try:
        keys = await found_town(meter.servers.environment, options, meter.receiver.hosts, meter.receiver.port)
        return await _run_scenarios(Bench(options, directory, meter, keys), options)
    finally:
        await meter.database.disconnect()


async def _run_scenarios(bench: Bench, options: Options) -> list[Result]:
    await bench.warm_up()
    results: dict[str, Result] = {}
    for scenario in options.only:
        _tell(f"{bench.meter.database.name}: {scenario}")
        if scenario == "rate200":
            results[scenario] = await bench.at_rate("200/s", FIXED_RATE)
        elif scenario == "half":
            fastest = results.get("single") or await bench.single()
            results[scenario] = await bench.at_rate("half", (fastest.recorded_per_second or 0) / 2 / options.fanout)
        else:
            results[scenario] = await getattr(bench, scenario)()
    return list(results.values())


def _tell(text: str) -> None:
    sys.stderr.write(f"{time.monotonic() - _STARTED:6.1f} s  {text}\n")


if __name__ == "__main__":
    sys.exit(main())
