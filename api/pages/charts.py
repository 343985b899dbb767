"""Charts: series over time, which a script draws, and which stand in a table beside it for everybody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby

import orjson

from sendoff.operators.installation.statistics import Bucket, Point, StatisticsReport


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over time. `unit` says what the values are."""

    title: str
    unit: str
    names: Sequence[str]
    times: Sequence[float]
    values: Sequence[Sequence[float | None]]
    colors: Sequence[str] = ("series-1", "series-2", "series-3")
    """The lines' colours, as the style sheet's variables name them."""

    @property
    def data(self) -> str:
        """For the script: JSON with the names, and the columns times first."""
        return orjson.dumps({"names": self.names, "colors": self.colors, "data": [self.times, *self.values]}).decode()

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
_PERCENTILES = ("good", "series-1", "series-2")
_LATENCY: Sequence[_Line] = (
    ("p50", lambda point: point.sums.latency_ms.p50),
    ("p95", lambda point: point.sums.latency_ms.p95),
    ("p99", lambda point: point.sums.latency_ms.p99),
)
_DURATION: Sequence[_Line] = (
    ("p50", lambda point: point.sums.duration_ms.p50),
    ("p95", lambda point: point.sums.duration_ms.p95),
    ("p99", lambda point: point.sums.duration_ms.p99),
)


def charts_of(report: StatisticsReport) -> list[Chart]:
    """What was accepted, delivered and failed, how long receivers took, and how late it was; from the first series."""
    points = report.series[0].points if report.series else []
    per = f"per {_BUCKETS[report.bucket]}"
    return [
        _chart("Deliveries", per, points, _COUNTS, colors=("series-1", "good")),
        _chart("Failed attempts and dead letters", per, points, _FAILURES, colors=("warn", "bad")),
        _chart("Duration of attempts", "ms", points, _DURATION, colors=_PERCENTILES),
        _chart("From acceptance to delivery", "ms", points, _LATENCY, colors=_PERCENTILES),
    ]


def _chart(title: str, unit: str, points: Sequence[Point], lines: Sequence[_Line], *, colors: Sequence[str]) -> Chart:
    return Chart(
        title=title,
        unit=unit,
        names=[name for name, _ in lines],
        colors=colors,
        times=[point.at.timestamp() for point in points],
        values=[[measure(point) for point in points] for _, measure in lines],
    )


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
