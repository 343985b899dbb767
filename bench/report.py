"""The report: the command, the machine, what the numbers stand on, the table, and how to read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.measurement.calibration import REFERENCE_MS
from bench.measurement.databases import POSTGRES_SETTINGS
from bench.measurement.environment import Environment, describe_machine
from bench.measurement.snapshots import PARTS
from bench.options import BenchOptions, describe
from bench.table import Run, number, render
from sendoff.clock import SystemClock

_QUIET_CORES = 0.2
"""What the benchmark's own instruments may use of the machine while nothing happens."""

_TRAFFIC = "<!-- python -m bench.traffic -->"

_HOW_TO_READ = """\
- Everything runs on the one machine: product, databases, receiver and load generator share its cores.
- CPU times are the operating system's (user and system, children included) from the first POST until the last
  delivery is recorded; for `backlog` from the moment the workers are ready, except the API's, which is what it took
  to accept the backlog. SQLite works within the API's and the worker's processes, so its time is in theirs.
- `deliveries recorded/s` counts until the database says that no delivery is open; `requests beyond one each` are
  repetitions, which at-least-once allows.
- SQL statements are those of `pg_stat_statements` without BEGIN, COMMIT and ROLLBACK; its cost is in the numbers.
- `202 → receipt` begins when the caller has its answer and is negative where the delivery was faster than that;
  `POST due → receipt` begins when the schedule wanted the request to be sent, so a stalled server cannot hide.
- `CPU used elsewhere` is the load generator, the benchmark itself, and any other processes on the machine.
- The calibration is a fixed loop of pure Python that runs now and then during each scenario; normalized CPU times
  are those of a machine on which it takes {reference:g} ms, which is what to compare between runs.
"""


def render_report(command: str, options: BenchOptions, environment: Environment, runs: Sequence[Run]) -> str:
    """Markdown."""
    now = SystemClock().now()
    postgres = ", ".join(f"{name}={value}" for name, value in POSTGRES_SETTINGS.items())
    parts = [
        "# Benchmark results",
        f"`{command}`, {now:%Y-%m-%d %H:%M} UTC",
        "\n".join(f"- {line}" for line in [describe_machine(), *describe(options), f"PostgreSQL: {postgres}"]),
        _describe_environment(environment),
        *_warnings(runs),
        render(runs),
        "\n".join(_describe_memory(run) for run in runs),
        *(f"**{run.database} did not complete**: {run.failure}" for run in runs if run.failure),
        "## How to read it",
        _HOW_TO_READ.format(reference=REFERENCE_MS).rstrip(),
    ]
    return "\n\n".join([*parts, *_statements(runs)]) + "\n"


def write_results(path: Path, *, results: str | None = None, traffic: str | None = None) -> None:
    """Write the benchmark's results, or those of `bench.traffic`, which stand behind them; the other part stays."""
    before, _, behind = path.read_text().partition(_TRAFFIC)
    parts = (results or before, _TRAFFIC, traffic or behind)
    path.write_text("\n\n".join(part.strip() for part in parts).rstrip() + "\n")


def _describe_environment(environment: Environment) -> str:
    baseline = environment.client_baseline
    ceiling = 1e6 / environment.receiver_cpu_us
    return "\n".join(
        [
            f"- calibration before the run: {environment.calibration_ms:.1f} ms (reference {REFERENCE_MS:.1f})",
            f"- receiver: {number(environment.receiver_per_second)} requests/s answered, "
            f"{number(environment.receiver_cpu_us)} µs each, so {number(ceiling)}/s with a core of its own",
            f"- client baseline: the same POSTs by the bare `sendoff.wire` client: {number(baseline.per_second)}/s, "
            f"{number(baseline.cpu_us)} µs of the client's CPU each",
        ]
    )


def _describe_memory(run: Run) -> str:
    peaks = ", ".join(f"{part} {run.peaks[part]:.0f}" for part in PARTS if run.peaks.get(part))
    return f"- {run.database}: largest resident set of one process, MiB: {peaks}"


def _warnings(runs: Sequence[Run]) -> list[str]:
    idle = [run.idle.usage for run in runs if run.idle is not None]
    used = max((usage.elsewhere / usage.seconds for usage in idle), default=0.0)
    if used < _QUIET_CORES:
        return []
    return [
        f"**The machine was not quiet**: while Sendoff was idle, other programs used {used:.1f} cores. Speeds and "
        "latencies are those of a machine that is shared, CPU times are only somewhat too high."
    ]


def _statements(runs: Sequence[Run]) -> list[str]:
    return [
        f"## Most expensive statements: {run.database} {result.name}\n\n"
        + "\n".join(f"    {statement}" for statement in result.top_statements)
        for run in runs
        for result in run.results
        if result.top_statements
    ]
