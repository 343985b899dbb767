"""Results as rows of small tables: a row for each measure, a column for each run."""

from __future__ import annotations

from collections.abc import Sequence

from bench.measurement.calibration import REFERENCE_MS
from bench.measurement.snapshots import PARTS, Usage
from bench.scenarios import Result
from bench.table import aligned, number, percentile


def compare(columns: Sequence[tuple[str, Sequence[Result]]], more: Sequence[Sequence[str]] = ()) -> str:
    """A table with a column for each run; `more` are rows to put at its end."""
    rows = [["", *(name for name, _ in columns)]]
    for index, result in enumerate(columns[0][1]):
        per_run = [results[index] for _, results in columns]
        rows += [[f"{result.name}: {title}", *cells] for title, cells in _measures(per_run)]
    return aligned([*rows, *map(list, more)])


def idleness(columns: Sequence[tuple[str, Usage]]) -> str:
    """A table of what processes used while they had nothing to do, in percent of a core."""
    rows = [["% of a core while idle", *(name for name, _ in columns)]]
    rows += [[part, *(f"{100 * usage.cpu[part] / usage.seconds:.2f}" for _, usage in columns)] for part in PARTS]
    asked = [(usage.asked.statements if usage.asked else 0) / usage.seconds for _, usage in columns]
    rows.append(["SQL statements/s", *map(number, asked)])
    rows.append(["CPU used elsewhere, cores", *(number(usage.elsewhere / usage.seconds) for _, usage in columns)])
    return aligned(rows)


def _measures(results: Sequence[Result]) -> list[tuple[str, list[str]]]:
    measures = [
        ("accepted/s", [number(result.accepted_per_second) for result in results]),
        ("deliveries recorded/s", [number(result.recorded_per_second) for result in results]),
        *((f"{part} µs", [_cpu(result, part) for result in results]) for part in PARTS),
        ("POST due → receipt p50 ms", [_latency(result, 0.5) for result in results]),
        ("POST due → receipt p99 ms", [_latency(result, 0.99) for result in results]),
        ("CPU used elsewhere, cores", [number(r.usage.elsewhere / r.usage.seconds) for r in results]),
        ("calibration ms", [number(result.usage.calibration_ms) for result in results]),
    ]
    return [(title, cells) for title, cells in measures if any(cell != number(None) for cell in cells)]


def _cpu(result: Result, part: str) -> str:
    """Per event for the API, per delivery for all others, as on a machine that takes the reference time."""
    count = result.events if part == "api" else result.deliveries
    used = result.usage.cpu[part] * REFERENCE_MS / result.usage.calibration_ms
    return number(used / count * 1e6 if count else None)


def _latency(result: Result, share: float) -> str:
    return number(percentile(result.after_sending, share) if result.after_sending else None)
