"""Statistics: series of what was accepted, attempted and delivered, read from sums (docs/decisions/0027)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from sendoff.errors import Invalid, NotFound
from sendoff.ids import is_uuid
from sendoff.policy.statistics import (
    DURATION_BINS,
    KEPT_MINUTES,
    minute_of,
    moment_of,
    percentiles,
    pieces_of,
)
from sendoff.store.queries import endpoints
from sendoff.store.queries.installation import statistics
from sendoff.store.queries.installation.overview import prefer_indexes
from sendoff.store.queries.installation.statistics import ALL, ENDPOINT, EVERYTHING, ORGANIZATION, StatisticsSource
from sendoff.store.tables.statistics import COUNTS, MEASURES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sendoff.context import Context
    from sendoff.policy.statistics import Piece
    from sendoff.store.engine.database import Transaction

MOST_POINTS = 1_500
"""Points of a series. More would make answers of megabytes; the newest are shown."""

MOST_SERIES = 100
DEFAULT_SERIES = 20
"""Series in one answer, at most and unless asked otherwise. Each has up to 1,500 points."""

DEFAULT_RANGE = timedelta(hours=24)

_FEW_POINTS = 300  # a bucket that is not named gives at most this many, which fill a chart
_FIRST_DURATION = MEASURES.index("duration_00")
_FIRST_LATENCY = _FIRST_DURATION + DURATION_BINS
_DURATION_TOTAL, _LATENCY_TOTAL = MEASURES.index("duration_total"), MEASURES.index("latency_total")


class Bucket(StrEnum):
    """The time between two points."""

    MINUTE = "1m"
    FIVE_MINUTES = "5m"
    HOUR = "1h"
    DAY = "1d"

    @property
    def minutes(self) -> int:
        return {"1m": 1, "5m": 5, "1h": 60, "1d": 1_440}[self.value]


class By(StrEnum):
    """What tells series apart."""

    NONE = "none"
    OUTCOME = "outcome"
    EVENT_TYPE = "event_type"
    ENDPOINT = "endpoint"
    ORGANIZATION = "organization"


ORDERS = (*COUNTS, "duration", "latency")
"""What series are ordered by: a count, or the mean duration of attempts or latency of deliveries. The largest come
first with a `-` before it."""

_COLUMNS = {
    By.NONE: None,
    By.OUTCOME: "outcome",
    By.EVENT_TYPE: "event_type",
    By.ENDPOINT: "subject_id",
    By.ORGANIZATION: "subject_id",
}
_KEY_NAMES = {
    By.OUTCOME: "outcome",
    By.EVENT_TYPE: "event_type",
    By.ENDPOINT: "endpoint_id",
    By.ORGANIZATION: "organization_id",
}


@dataclass(frozen=True, slots=True)
class StatisticsQuery:
    """Which series of which time. What is None is chosen: the last 24 hours, and a bucket that gives a chart's points.

    `since` is inclusive, `until` exclusive; both are widened to whole buckets.
    """

    since: datetime | None = None
    until: datetime | None = None
    bucket: Bucket | None = None
    by: By = By.NONE
    organization_id: str | None = None
    endpoint_id: str | None = None
    order: str = "-attempts"
    limit: int = DEFAULT_SERIES


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds; None if nothing was observed."""

    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Sums:
    """What happened in some time. Latency is acceptance to delivery, without replays; duration is that of attempts."""

    accepted: int
    attempts: int
    failed_attempts: int
    retries: int
    delivered: int
    dead: int
    latencies: Sequence[int]
    """How many deliveries fell into each bin."""
    durations: Sequence[int]
    latency_total: int
    """Milliseconds."""
    duration_total: int

    @property
    def latency_ms(self) -> Percentiles:
        return _percentiles(self.latencies, self.latency_total)

    @property
    def duration_ms(self) -> Percentiles:
        return _percentiles(self.durations, self.duration_total)


@dataclass(frozen=True, slots=True)
class Point:
    """The sums of the bucket that begins `at`."""

    at: datetime
    sums: Sums


@dataclass(frozen=True, slots=True)
class Series:
    """The points of one key, which is empty if there is only one series, with the sums of all of them."""

    key: dict[str, str]
    totals: Sums
    points: list[Point]


@dataclass(frozen=True, slots=True)
class StatisticsReport:
    """Series in their order.

    `truncated` says that part of what was asked for is left out: series beyond the limit, points beyond MOST_POINTS, or
    time whose sums are not kept any more.
    """

    bucket: Bucket
    since: datetime
    until: datetime
    series: list[Series]
    truncated: bool


@dataclass(frozen=True, slots=True)
class EndpointSums:
    """What happened at one endpoint."""

    endpoint_id: str
    organization_id: str
    url: str
    state: str
    sums: Sums


@dataclass(frozen=True, slots=True)
class _Range:
    """Minutes, from `start` on and before `end`, both whole buckets."""

    bucket: Bucket
    start: int
    end: int
    is_cut: bool = field(default=False)


async def get_statistics(context: Context, query: StatisticsQuery) -> StatisticsReport:
    """The series that the query asks for, empty buckets included.

    Raises Invalid for a range that ends before it begins and for conditions that exclude each other, and NotFound for
    an endpoint that does not exist or is not of the given organization.
    """
    now = context.clock.now()
    chosen, source = _range_of(query, now), _source_of(query)
    pieces = pieces_of(chosen.start, chosen.end, span=chosen.bucket.minutes, now=minute_of(now))
    async with context.database.read(owner=query.organization_id) as tx:
        await _check_endpoint(tx, query)
        await prefer_indexes(tx)
        keys, has_more = [""], False
        if source.by is not None:
            order, descending = query.order.removeprefix("-"), query.order.startswith("-")
            keys = await statistics.rank(tx, source, pieces, order=order, descending=descending, limit=query.limit + 1)
            keys, has_more = keys[: query.limit], len(keys) > query.limit
        span = chosen.bucket.minutes
        whole = pieces_of(chosen.start, chosen.end, span=span, now=0, longest=span)
        rows = await statistics.read(tx, source, whole, span=span, keys=keys)
    series = _series(keys, rows, chosen, query)
    return StatisticsReport(
        chosen.bucket, moment_of(chosen.start), moment_of(chosen.end), series, chosen.is_cut or has_more
    )


async def rank_endpoints(
    context: Context, *, orders: Sequence[str], limit: int, within: timedelta
) -> dict[str, list[EndpointSums]]:
    """For each order, the endpoints that have most of the measure since then; those that have none are left out."""
    source, pieces = StatisticsSource(ENDPOINT, "subject_id"), _pieces_since(context, within)
    async with context.database.read() as tx:
        await prefer_indexes(tx)
        ranked = await statistics.rank_by_each(tx, source, pieces, orders=orders, descending=True, limit=limit)
        keys = list(dict.fromkeys(key for found in ranked.values() for key in found))
        rows = {key: values for key, _, values in await statistics.read(tx, source, pieces, span=0, keys=keys)}
        found = await endpoints.find_many(tx, keys)

    def sums_of(order: str) -> list[EndpointSums]:
        measure = MEASURES.index({"duration": "duration_total", "latency": "latency_total"}.get(order, order))
        return [
            EndpointSums(key, one.organization_id, one.url, str(one.state), _sums(rows[key]))
            for key in ranked[order]
            if (one := found.get(key)) is not None and rows[key][measure]
        ]

    return {order: sums_of(order) for order in orders}


async def sums_of_endpoint(context: Context, endpoint_id: str, *, within: timedelta) -> Sums:
    """What happened at an endpoint since then."""
    return (await sums_of_endpoints(context, [endpoint_id], within=within))[endpoint_id]


async def sums_of_endpoints(context: Context, endpoint_ids: Sequence[str], *, within: timedelta) -> dict[str, Sums]:
    """What happened at each of these endpoints since then."""
    source, pieces = StatisticsSource(ENDPOINT, "subject_id"), _pieces_since(context, within)
    async with context.database.read() as tx:
        await prefer_indexes(tx)
        rows = await statistics.read(tx, source, pieces, span=0, keys=endpoint_ids)
    return dict.fromkeys(endpoint_ids, _EMPTY) | {key: _sums(values) for key, _, values in rows}


def _pieces_since(context: Context, within: timedelta) -> Sequence[Piece]:
    now = minute_of(context.clock.now())
    return pieces_of(now + 1 - int(within.total_seconds() // 60), now + 1, span=1, now=now)


def _range_of(query: StatisticsQuery, now: datetime) -> _Range:
    until = query.until or now
    since = query.since or until - DEFAULT_RANGE
    if since >= until:
        raise Invalid("`since` must lie before `until`; change one of them.", field="since")
    first, last = minute_of(since), minute_of(until - timedelta(microseconds=1))
    bucket = query.bucket or _bucket_for(first, last, now)
    span, today = bucket.minutes, minute_of(now)
    end = min(last, today) // span * span + span
    start = min(first // span * span, end - span)
    oldest = (today - KEPT_MINUTES[span]) // span * span
    kept = min(max(start, end - MOST_POINTS * span, oldest), end - span)
    return _Range(bucket, kept, end, is_cut=kept > start)


def _bucket_for(first: int, last: int, now: datetime) -> Bucket:
    """The shortest that gives few points, and whose sums are kept for as long."""
    age = minute_of(now) - first
    for bucket in Bucket:
        if (last - first) // bucket.minutes < _FEW_POINTS and age <= KEPT_MINUTES[bucket.minutes]:
            return bucket
    return Bucket.DAY


def _source_of(query: StatisticsQuery) -> StatisticsSource:
    by = _COLUMNS[query.by]
    if query.endpoint_id is not None:
        if query.by is By.ORGANIZATION:
            raise Invalid("`by=organization` and `endpoint_id` exclude each other; leave one out.", field="by")
        return StatisticsSource(ENDPOINT, by, query.endpoint_id)
    if query.by is By.ENDPOINT:
        return StatisticsSource(ENDPOINT, by, owner_id=query.organization_id)
    if query.organization_id is not None:
        return StatisticsSource(ORGANIZATION, by, query.organization_id)
    return StatisticsSource(ORGANIZATION, by) if query.by is By.ORGANIZATION else StatisticsSource(ALL, by, EVERYTHING)


async def _check_endpoint(tx: Transaction, query: StatisticsQuery) -> None:
    if query.endpoint_id is None:
        return
    found = await endpoints.find(tx, query.endpoint_id) if is_uuid(query.endpoint_id) else None
    if found is None or query.organization_id not in (None, found.organization_id):
        raise NotFound("There is no such endpoint.")


def _series(
    keys: Sequence[str], rows: Sequence[tuple[str, int, Sequence[int]]], chosen: _Range, query: StatisticsQuery
) -> list[Series]:
    of_key = {key: list(found) for key, found in groupby(sorted(rows, key=itemgetter(0)), key=itemgetter(0))}
    minutes = range(chosen.start, chosen.end, chosen.bucket.minutes)
    made: list[Series] = []
    for key in keys:
        values = {minute: measured for _, minute, measured in of_key.get(key, ())}
        points = [Point(moment_of(minute), _sums(values.get(minute))) for minute in minutes]
        total = [sum(column) for column in zip(*values.values(), strict=True)] if values else None
        name = _KEY_NAMES.get(query.by)
        made.append(Series({} if name is None else {name: key}, _sums(total), points))
    return made


_NONE = Percentiles(None, None, None)
_EMPTY = Sums(0, 0, 0, 0, 0, 0, (), (), 0, 0)


def _sums(values: Sequence[int] | None) -> Sums:
    if values is None:
        return _EMPTY
    accepted, attempts, failed, retries, delivered, dead = values[: len(COUNTS)]
    return Sums(
        accepted=accepted,
        attempts=attempts,
        failed_attempts=failed,
        retries=retries,
        delivered=delivered,
        dead=dead,
        latencies=values[_FIRST_LATENCY:],
        durations=values[_FIRST_DURATION:_FIRST_LATENCY],
        latency_total=values[_LATENCY_TOTAL],
        duration_total=values[_DURATION_TOTAL],
    )


def _percentiles(counts: Sequence[int], total: int) -> Percentiles:
    found = percentiles(counts, total, (0.5, 0.95, 0.99))
    return _NONE if found is None else Percentiles(*found)
