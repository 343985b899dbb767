"""Charts: series over time, which a script draws, and which stand in a table beside it for everybody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby

import orjson

from sendoff.operators.installation.statistics import Bucket, Percentiles, Point, StatisticsReport
from sendoff.store.queries.installation.backlog import BacklogSample


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over time. `unit` says what the values are."""

    title: str
    unit: str
    names: Sequence[str]
    start: float
    """The first value's Unix time."""
    step: float
    """Seconds between two values."""
    values: Sequence[Sequence[float | None]]
    colors: Sequence[str] = ("series-1", "series-2", "series-3")
    """The lines' colours, as the style sheet's variables name them."""

    @property
    def data(self) -> str:
        """For the script, as JSON. Rounded, for that makes a page a third smaller."""
        values = [[None if one is None else round(one) for one in line] for line in self.values]
        drawn = {"names": self.names, "colors": self.colors, "start": self.start, "step": self.step, "values": values}
        return orjson.dumps(drawn).decode()

    @property
    def times(self) -> Sequence[float]:
        return [self.start + number * self.step for number in range(len(self.values[0]))]

    @property
    def is_empty(self) -> bool:
        return not any(value for line in self.values for value in line)


_BUCKETS = {Bucket.MINUTE: "minute", Bucket.FIVE_MINUTES: "5 minutes", Bucket.HOUR: "hour", Bucket.DAY: "day"}

_Line = tuple[str, Callable[[Point], float | None]]

_COUNTS: Sequence[_Line] = (
    ("accepted", lambda point: point.sums.accepted),
    ("delivered", lambda point: point.sums.delivered),
)
_FAILURES: Sequence[_Line] = (
    ("failed attempts", lambda point: point.sums.failed_attempts),
    ("dead letters", lambda point: point.sums.dead),
)
_PERCENTILE_COLORS = ("good", "series-1", "series-2")


def charts_of(report: StatisticsReport, backlog: Sequence[BacklogSample | None] | None = None) -> list[Chart]:
    """What was accepted, delivered and failed, how long receivers took, and how late it was; from the first series.

    With the samples of its buckets, what waited as well.
    """
    points = report.series[0].points if report.series else []
    per = f"per {_BUCKETS[report.bucket]}"
    drawn = [
        ("Deliveries", per, ("series-1", "good"), _measured(points, _COUNTS)),
        ("Failed attempts and dead letters", per, ("warn", "bad"), _measured(points, _FAILURES)),
        ("Duration of attempts", "ms", _PERCENTILE_COLORS, _percentiles([point.sums.duration_ms for point in points])),
        (
            "From acceptance to delivery",
            "ms",
            _PERCENTILE_COLORS,
            _percentiles([point.sums.latency_ms for point in points]),
        ),
    ]
    if backlog is not None:
        waiting = [None if one is None else one.waiting for one in backlog]
        dead = [None if one is None else one.dead_letters for one in backlog]
        age = [None if one is None else one.oldest_due_seconds for one in backlog]
        drawn += [
            ("Backlog", "at its fullest", ("series-1", "bad"), {"waiting": waiting, "open dead letters": dead}),
            ("Age of the oldest delivery that is due", "s", ("warn",), {"oldest due": age}),
        ]
    start, step = report.since.timestamp(), report.bucket.minutes * 60
    return [
        Chart(title, unit, [*lines], start, step, [*lines.values()], colors) for title, unit, colors, lines in drawn
    ]


def _measured(points: Sequence[Point], lines: Sequence[_Line]) -> dict[str, Sequence[float | None]]:
    return {name: [measure(point) for point in points] for name, measure in lines}


def _percentiles(measured: Sequence[Percentiles]) -> dict[str, Sequence[float | None]]:
    return {
        "p50": [one.p50 for one in measured],
        "p95": [one.p95 for one in measured],
        "p99": [one.p99 for one in measured],
    }


class Heat(StrEnum):
    """How an hour went, as the style sheet colours it."""

    NONE = "none"
    """No attempt was made."""
    GOOD = "good"
    SOME = "some"
    """A few attempts failed: up to HEAT_FEW of them."""
    BAD = "bad"


HEAT_FEW = 0.1
"""The share of failed attempts up to which an hour counts as mostly good."""


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One hour."""

    at: datetime
    heat: Heat
    attempts: int
    failed: int


def heat_of(report: StatisticsReport) -> list[list[HeatCell]]:
    """The hours of a report by the hour, a row for each day in UTC; hours before the report's first are left out."""
    points = report.series[0].points if report.series else []
    cells = [HeatCell(one.at, _heat(one), one.sums.attempts, one.sums.failed_attempts) for one in points]
    return [list(day) for _, day in groupby(cells, key=lambda cell: cell.at.date())]


def _heat(point: Point) -> Heat:
    attempts, failed = point.sums.attempts, point.sums.failed_attempts
    if not attempts:
        return Heat.NONE
    if not failed:
        return Heat.GOOD
    return Heat.SOME if failed <= HEAT_FEW * attempts else Heat.BAD
