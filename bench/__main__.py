"""`python -m bench`: run the scenarios, print the table, write RESULTS.md."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench.fixtures import create_fixtures
from bench.measurement.calibration import NoiseMeter
from bench.measurement.databases import BenchDatabase, Postgres, Sqlite
from bench.measurement.environment import measure_environment
from bench.measurement.profiling import Profiler
from bench.measurement.snapshots import Meter
from bench.options import BenchOptions, parse_options
from bench.processes.servers import ReceiverProcess, Servers
from bench.report import render_report, write_results
from bench.scenarios import Bench, Result
from bench.table import Run, number

_STARTED = time.monotonic()
RESULTS = Path(__file__).parent / "RESULTS.md"


def main() -> int:
    """Measure and report. 1 when a scenario failed; RESULTS.md is left alone then."""
    options = parse_options()
    # So that the processes are stopped and the directory is removed.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(1))
    command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
    with tempfile.TemporaryDirectory(prefix="sendoff-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL may have to run as another user
        environment = measure_environment(options, directory)
        runs = [_run_on(database, options, directory) for database in options.databases]
    report = render_report(command, options, environment, runs)
    sys.stdout.write(report)
    failed = any(run.failure for run in runs)
    if options.write and not failed:
        write_results(RESULTS, results=report)
    return 1 if failed else 0


def _run_on(name: str, options: BenchOptions, parent: Path) -> Run:
    directory = parent / name
    directory.mkdir()
    _tell(f"{name}: starting")
    database: BenchDatabase = Postgres(directory) if name == "postgres" else Sqlite(directory)
    profiler = Profiler(options.profile, directory)
    servers = Servers(directory, database, profiler, settings=options.settings)
    receiver = ReceiverProcess(options.hosts)
    with NoiseMeter() as noise:
        meter = Meter(servers, database, receiver, noise)
        run = Run(database.name, [], meter.peaks)
        try:
            servers.start()
            servers.start_workers(options.workers)
            asyncio.run(_measure(meter, options, directory, run))
        except (RuntimeError, AssertionError) as error:
            run.failure = str(error)
        finally:
            servers.stop()
            receiver.stop()
            database.stop()
    sys.stdout.write(profiler.report())
    return run


async def _measure(meter: Meter, options: BenchOptions, directory: Path, run: Run) -> None:
    await meter.database.connect()
    try:
        keys = await create_fixtures(meter.servers.environment, options, meter.receiver.hosts, meter.receiver.port)
        bench = Bench(options, directory, meter, keys)
        await bench.warm_up()
        for scenario in options.only:
            _tell(f"{run.database}: {scenario}")
            result = await _run_scenario(scenario, bench, run)
            run.results.append(result)
            speeds = number(result.accepted_per_second), number(result.recorded_per_second)
            _tell("    {} accepted/s, {} recorded/s".format(*speeds))
    finally:
        await meter.database.disconnect()


async def _run_scenario(scenario: str, bench: Bench, run: Run) -> Result:
    if scenario.startswith("rate"):
        rate = float(scenario.removeprefix("rate"))
        return await bench.at_rate(f"{rate:g}/s", rate)
    if scenario == "half":
        fastest = next((result for result in run.results if result.name == "single"), None) or await bench.single()
        return await bench.at_rate("half", (fastest.recorded_per_second or 0) / 2 / bench.options.fanout)
    result: Result = await getattr(bench, scenario)()
    return result


def _tell(text: str) -> None:
    sys.stderr.write(f"{time.monotonic() - _STARTED:6.1f} s  {text}\n")


if __name__ == "__main__":
    sys.exit(main())
