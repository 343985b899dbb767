"""How endpoints did in the last 24 hours: the share of attempts that succeeded, and a chart of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sendoff.operators.installation.statistics import (
    MOST_SERIES,
    Bucket,
    By,
    Point,
    StatisticsQuery,
    Sums,
    get_statistics,
)

from ..charts import Chart
from ..words import describe_success

if TYPE_CHECKING:
    from sendoff.context import Context
    from sendoff.store.tables import Endpoint


@dataclass(frozen=True, slots=True)
class Measured:
    """What an endpoint's attempts of the last 24 hours came to."""

    sums: Sums
    points: Sequence[Point]
    """By the hour."""

    @property
    def success(self) -> str | None:
        return describe_success(self.sums)

    @property
    def chart(self) -> Chart:
        """The attempts that succeeded and failed."""
        failed = [point.sums.failed_attempts for point in self.points]
        succeeded = [point.sums.attempts - point.sums.failed_attempts for point in self.points]
        start, names = self.points[0].at.timestamp(), ("succeeded", "failed")
        return Chart("Attempts", "per hour", names, start, 3_600, (succeeded, failed), ("good", "bad"))


@dataclass(frozen=True, slots=True)
class MeasuredEndpoints:
    """The busiest endpoints of an organization, by id; `is_complete` if the others had no attempts."""

    by_id: Mapping[str, Measured]
    is_complete: bool


async def measure_endpoints(context: Context, organization_id: str) -> MeasuredEndpoints:
    """How the organization's endpoints did."""
    query = StatisticsQuery(organization_id=organization_id, by=By.ENDPOINT, bucket=Bucket.HOUR, limit=MOST_SERIES)
    report = await get_statistics(context, query)
    by_id = {series.key["endpoint_id"]: Measured(series.totals, ()) for series in report.series}
    return MeasuredEndpoints(by_id, is_complete=len(by_id) < MOST_SERIES)


async def measure_endpoint(context: Context, endpoint: Endpoint) -> Measured:
    """One endpoint, by the hour."""
    query = StatisticsQuery(organization_id=endpoint.organization_id, endpoint_id=endpoint.id, bucket=Bucket.HOUR)
    (series,) = (await get_statistics(context, query)).series
    return Measured(series.totals, series.points)
