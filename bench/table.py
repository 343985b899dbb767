"""The results as one table: a row for each measure, a column for each scenario on each database."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.measurement.calibration import REFERENCE_MS
from bench.measurement.snapshots import PARTS
from bench.scenarios import Result

NOTHING = "–"


@dataclass(slots=True)
class Run:
    """All scenarios on one database; with a failure, those before it."""

    database: str
    results: list[Result]
    peaks: dict[str, float]
    failure: str = ""

    @property
    def idle(self) -> Result | None:
        return next((result for result in self.results if result.name == "idle"), None)


Cell = Callable[[Run, Result], str]


def render(runs: Sequence[Run]) -> str:
    """A Markdown table whose columns are aligned for reading it as it is."""
    columns = [(run, result) for run in runs for result in run.results]
    rows = [
        ["", *(f"{run.database} {result.name}" for run, result in columns)],
        *([title, *(cell(run, result) for run, result in columns)] for title, cell in _ROWS),
    ]
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of the rows, the head first; the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |" for row in rows]
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of sorted values, of which there is at least one."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def number(value: float | None) -> str:
    """Three digits or so."""
    if value is None or isinstance(value, int):
        return NOTHING if value is None else f"{value:,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _cpu(part: str) -> Cell:
    return lambda _run, result: number(_cpu_us(result, part))


def _normalized(part: str) -> Cell:
    def cell(_run: Run, result: Result) -> str:
        cpu_us = _cpu_us(result, part)
        return number(cpu_us * REFERENCE_MS / result.usage.calibration_ms) if cpu_us else NOTHING

    return cell


def _cpu_us(result: Result, part: str) -> float | None:
    count = result.events if part == "api" else result.deliveries
    # SQLite has no process of its own to report.
    return result.usage.cpu[part] / count * 1e6 if count and result.usage.cpu[part] else None


def _latency(name: str, share: float) -> Cell:
    def cell(_run: Run, result: Result) -> str:
        values: list[float] = getattr(result, name)
        return number(percentile(values, share)) if values else NOTHING

    return cell


def _per_delivery(count: float | None, result: Result) -> str:
    return number(count / result.deliveries) if count is not None and result.deliveries else NOTHING


def _asked(result: Result, what: str) -> int | None:
    return getattr(result.usage.asked, what, None)


def _redis_beyond_polling(run: Run, result: Result) -> str:
    if run.idle is None or result is run.idle:
        return NOTHING
    polling = run.idle.usage.redis_commands / run.idle.usage.seconds * result.usage.seconds
    return _per_delivery(max(0.0, result.usage.redis_commands - polling), result)


def _per_second_of_idleness(count: float | None, result: Result) -> str:
    return number(count / result.usage.seconds) if result.name == "idle" and count is not None else NOTHING


def _idle_cpu(_run: Run, result: Result) -> str:
    return _per_second_of_idleness(100 * sum(result.usage.cpu[part] for part in PARTS), result)


def _idle_cpu_by_part(_run: Run, result: Result) -> str:
    if result.name != "idle":
        return NOTHING
    return " ".join(f"{100 * result.usage.cpu[part] / result.usage.seconds:.1f}" for part in PARTS)


_ROWS: tuple[tuple[str, Cell], ...] = (
    ("events accepted/s", lambda _, result: number(result.accepted_per_second)),
    ("deliveries recorded/s", lambda _, result: number(result.recorded_per_second)),
    ("deliveries", lambda _, result: f"{result.deliveries:,}" if result.deliveries else NOTHING),
    ("requests beyond one each", lambda _, result: str(result.repeated) if result.deliveries else NOTHING),
    ("API µs/event", _cpu("api")),
    ("worker µs/delivery", _cpu("worker")),
    ("database µs/delivery", _cpu("database")),
    ("Valkey µs/delivery", _cpu("valkey")),
    ("normalized: API µs/event", _normalized("api")),
    ("normalized: worker µs/delivery", _normalized("worker")),
    ("normalized: database µs/delivery", _normalized("database")),
    ("normalized: Valkey µs/delivery", _normalized("valkey")),
    ("SQL statements/delivery", lambda _, result: _per_delivery(_asked(result, "statements"), result)),
    ("commits/delivery", lambda _, result: _per_delivery(_asked(result, "commits"), result)),
    ("database connections made", lambda _, result: number(_asked(result, "connections"))),
    ("Redis commands/delivery", lambda _, result: _per_delivery(result.usage.redis_commands, result)),
    ("… beyond idle polling", _redis_beyond_polling),
    ("202 → receipt p50 ms", _latency("after_answer", 0.5)),
    ("202 → receipt p99 ms", _latency("after_answer", 0.99)),
    ("POST due → receipt p50 ms", _latency("after_sending", 0.5)),
    ("POST due → receipt p99 ms", _latency("after_sending", 0.99)),
    ("idle, % of a core", _idle_cpu),
    ("… API worker database Valkey", _idle_cpu_by_part),
    ("idle SQL statements/s", lambda _, result: _per_second_of_idleness(_asked(result, "statements"), result)),
    ("idle Redis commands/s", lambda _, result: _per_second_of_idleness(result.usage.redis_commands, result)),
    ("CPU used elsewhere, cores", lambda _, result: number(result.usage.elsewhere / result.usage.seconds)),
    ("calibration ms meanwhile", lambda _, result: number(result.usage.calibration_ms)),
)
