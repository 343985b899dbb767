"""The section of RESULTS.md about real traffic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.measurement.calibration import REFERENCE_MS
from bench.measurement.snapshots import PARTS, Usage
from bench.table import aligned, number, percentile
from bench.traffic.shape import FAILING, FASTEST_SECONDS, LARGEST_BYTES, SLOWEST_SECONDS, SMALLEST_BYTES, TIMING_OUT
from sendoff.clock import SystemClock


@dataclass(frozen=True, slots=True)
class TrafficResult:
    """One scenario. Latencies are sorted milliseconds."""

    name: str
    usage: Usage
    events: int
    accepted_per_second: float
    attempts: int
    """Requests that arrived, those that are repeated after a failure included."""
    connections: int
    milliseconds: list[float]
    memory: dict[str, float]
    """MiB now, of the largest process of each part."""
    descriptors: int
    """Open ones of the worker."""


def render_traffic(command: str, count: int, measured: Sequence[TrafficResult]) -> str:
    """Markdown."""
    rows = [["", *(f"{one.name}/s" if one.name.isdigit() else one.name for one in measured)]]
    rows += [[title, *(cell(one) for one in measured)] for title, cell in _ROWS]
    answers = f"{FASTEST_SECONDS * 1000:.0f} to {SLOWEST_SECONDS * 1000:.0f} ms (log-normal)"
    return f"""## Real traffic

`{command}`, {SystemClock().now():%Y-%m-%d %H:%M} UTC

- PostgreSQL; {count:,} HTTPS endpoints with a host name each, looked up at a name server of the benchmark's
- answers take {answers}; {FAILING:.0%} are failures, {TIMING_OUT:.0%} never come
- `data` of {SMALLEST_BYTES} to {LARGEST_BYTES:,} bytes
- the endpoint of rank n gets 1/n of what the first one gets; in *turns* each gets one before the first gets another

{aligned(rows)}

CPU times are µs for each attempt (of the API for each event), on a machine on which the calibration loop takes
{REFERENCE_MS:g} ms. A receipt is the whole request at the receiver, counted from when its event was due.
"""


def _cpu(part: str) -> Callable[[TrafficResult], str]:
    def cell(one: TrafficResult) -> str:
        count = one.events if part == "api" else one.attempts
        return number(one.usage.cpu[part] / count * 1e6 * REFERENCE_MS / one.usage.calibration_ms)

    return cell


_ROWS: tuple[tuple[str, Callable[[TrafficResult], str]], ...] = (
    ("events accepted/s", lambda one: number(one.accepted_per_second)),
    ("attempts", lambda one: number(one.attempts)),
    *((f"{part}: CPU µs", _cpu(part)) for part in PARTS),
    ("due → receipt p50 ms", lambda one: number(percentile(one.milliseconds, 0.5))),
    ("due → receipt p99 ms", lambda one: number(percentile(one.milliseconds, 0.99))),
    ("new TLS connections/attempt", lambda one: number(one.connections / one.attempts)),
    ("worker: memory MiB", lambda one: number(one.memory["worker"])),
    ("API: memory MiB", lambda one: number(one.memory["api"])),
    ("worker: descriptors", lambda one: number(one.descriptors)),
    ("calibration ms meanwhile", lambda one: number(one.usage.calibration_ms)),
)
