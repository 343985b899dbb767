"""`/operator/v1/statistics`, and `/api/v1/statistics` for an organization's own."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from sendoff.clock import iso
from sendoff.context import Context
from sendoff.operators.installation.statistics import (
    DEFAULT_SERIES,
    MOST_SERIES,
    ORDERS,
    Bucket,
    By,
    Percentiles,
    StatisticsQuery,
    StatisticsReport,
    Sums,
    get_statistics,
)

from ..http.dependencies import ContextOf, OperatorReader, WebhooksReader
from ..http.schemas import QueryTime, ResponseModel, Time
from ..http.validation import UuidText
from ..openapi.operations import error_responses

router = APIRouter()

_ORDERS = [sign + name for name in ORDERS for sign in ("-", "")]


def _order(text: str) -> str:
    if text not in _ORDERS:
        raise ValueError(f"Must be one of {', '.join(ORDERS)}, with a `-` before it for the largest first")
    return text


Order = Annotated[str, AfterValidator(_order), WithJsonSchema({"type": "string", "enum": _ORDERS})]


class SeriesConditions(BaseModel):
    """Which series: by default one, of the last 24 hours. `since` and `until` are widened to whole buckets."""

    model_config = ConfigDict(extra="forbid")

    since: QueryTime | None = None
    until: QueryTime | None = None
    bucket: Bucket | None = Field(
        None, description="The time between two points; one that gives at most 300 points if left out."
    )
    by: By = Field(By.NONE, description="What tells series apart.")
    endpoint_id: UuidText | None = None
    order: Order = Field(
        "-attempts",
        description="What series are ordered by; with `-` the largest first. Times by their mean.",
    )
    limit: int = Field(DEFAULT_SERIES, ge=1, le=MOST_SERIES, description="How many series are shown at most.")

    async def answer(self, context: Context, organization_id: str | None) -> Response:
        """The series of the organization, or of all for None."""
        chosen = self.model_dump(include=set(SeriesConditions.model_fields))
        report = await get_statistics(context, StatisticsQuery(organization_id=organization_id, **chosen))
        return Response(orjson.dumps(_serialize(report)), media_type="application/json")


class StatisticsConditions(SeriesConditions):
    """Which series, of one organization or of all."""

    organization_id: UuidText | None = None


class PercentilesView(ResponseModel):
    """Milliseconds; null if nothing was observed. Up to a minute they are off by less than half, mostly by a tenth."""

    p50: float | None
    p95: float | None
    p99: float | None


class SumsView(ResponseModel):
    """What happened. Latency is acceptance to delivery, replays left out; duration is that of attempts."""

    accepted: int = Field(description="Events; of an endpoint, those that it gets. 0 by outcome.")
    attempts: int
    failed_attempts: int
    retries: int
    delivered: int
    dead: int
    latency_ms: PercentilesView
    duration_ms: PercentilesView


class PointView(SumsView):
    """The sums of the bucket that begins `at`."""

    at: Time


class SeriesView(BaseModel):
    """The points of one key, empty buckets included, and their sums."""

    key: dict[str, str] = Field(description="Empty, or `outcome`, `event_type`, `endpoint_id` or `organization_id`.")
    totals: SumsView
    points: list[PointView]


class StatisticsView(BaseModel):
    """Series in the order that was asked for."""

    bucket: Bucket
    since: Time
    until: Time
    series: list[SeriesView]
    truncated: bool = Field(
        description="Whether something is left out: series beyond `limit`, points beyond 1,500, or time whose sums are "
        "not kept any more."
    )


@router.get(
    "/operator/v1/statistics",
    operation_id="getStatistics",
    tags=["operator: overview"],
    response_model=StatisticsView,
    responses=error_responses(400, 404),
)
async def statistics(
    _auth: OperatorReader, context: ContextOf, query: Annotated[StatisticsConditions, Query()]
) -> Response:
    """Series of what was accepted, attempted and delivered, of one organization or of all."""
    return await query.answer(context, query.organization_id)


@router.get(
    "/api/v1/statistics",
    operation_id="getOwnStatistics",
    tags=["deliveries"],
    response_model=StatisticsView,
    responses=error_responses(400, 404, 429),
)
async def own_statistics(
    auth: WebhooksReader, context: ContextOf, query: Annotated[SeriesConditions, Query()]
) -> Response:
    """Series of what was accepted, attempted and delivered for the organization."""
    return await query.answer(context, auth.organization_id)


def _serialize(report: StatisticsReport) -> dict[str, object]:
    """By hand: an answer may hold tens of thousands of points."""
    return {
        "bucket": report.bucket,
        "since": iso(report.since),
        "until": iso(report.until),
        "series": [
            {
                "key": series.key,
                "totals": _serialize_sums(series.totals),
                "points": [{"at": iso(point.at), **_serialize_sums(point.sums)} for point in series.points],
            }
            for series in report.series
        ],
        "truncated": report.truncated,
    }


def _serialize_sums(sums: Sums) -> dict[str, object]:
    return {
        "accepted": sums.accepted,
        "attempts": sums.attempts,
        "failed_attempts": sums.failed_attempts,
        "retries": sums.retries,
        "delivered": sums.delivered,
        "dead": sums.dead,
        "latency_ms": _serialize_percentiles(sums.latency_ms),
        "duration_ms": _serialize_percentiles(sums.duration_ms),
    }


def _serialize_percentiles(found: Percentiles) -> dict[str, float | None]:
    return {"p50": found.p50, "p95": found.p95, "p99": found.p99}
