"""How endpoints did in the last 24 hours: the share of attempts that succeeded, and a chart of them."""

from __future__ import annotations

import json
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
        """The share of attempts that succeeded, such as `99.5 %`; None without attempts. It is never rounded to 100."""
        attempts, failed = self.sums.attempts, self.sums.failed_attempts
        if not attempts:
            return None
        return "100 %" if not failed else f"{int(1_000 * (attempts - failed) / attempts) / 10:g} %"

    @property
    def chart(self) -> str:
        """The attempts that succeeded and failed, as `pages.js` draws them."""
        times = [int(point.at.timestamp()) for point in self.points]
        failed = [point.sums.failed_attempts for point in self.points]
        succeeded = [point.sums.attempts - point.sums.failed_attempts for point in self.points]
        return json.dumps(
            {"names": ["succeeded", "failed"], "colors": ["good", "bad"], "data": [times, succeeded, failed]}
        )


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
