"""Sums of what was accepted, attempted and delivered: first as processes write them, then folded.

A measure that is null is 0: most bins of most rows are empty, and take no space.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table
from sqlmodel import SQLModel

from sendoff.policy.statistics import DURATION_BINS, LATENCY_BINS
from sendoff.store.engine.types import Identifier

COUNTS = ("accepted", "attempts", "failed_attempts", "retries", "delivered", "dead")
TOTALS = ("duration_total", "latency_total")
"""Milliseconds, summed."""

DURATIONS = tuple(f"duration_{index:02}" for index in range(DURATION_BINS))
LATENCIES = tuple(f"latency_{index:02}" for index in range(LATENCY_BINS))
"""How many times fell into each bin of `policy/statistics.py`."""

MEASURES = (*COUNTS, *TOTALS, *DURATIONS, *LATENCIES)

TYPES = dict.fromkeys(MEASURES, Integer) | dict.fromkeys(TOTALS, BigInteger)


def _measures() -> list[Column[int]]:
    return [Column(name, TYPES[name](), nullable=True) for name in MEASURES]


STATISTICS_INCREMENTS = Table(
    "statistics_increments",
    SQLModel.metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("minute", Integer, nullable=False),
    Column("organization_id", Identifier, nullable=False),
    Column("endpoint_id", Identifier, nullable=True),
    Column("event_type", String(128), nullable=False),
    Column("outcome", String(32), nullable=False),
    *_measures(),
)
"""What one process counted of one minute since it wrote the last time. Folded into STATISTICS and removed within a
minute. `endpoint_id` is null for events, which count once however many endpoints get them; `outcome` is empty where
nothing was attempted."""

BACKLOG_SAMPLES = Table(
    "backlog_samples",
    SQLModel.metadata,
    Column("minute", Integer, primary_key=True, autoincrement=False),
    Column("waiting", Integer, nullable=False),
    Column("in_flight", Integer, nullable=False),
    Column("oldest_due_seconds", Integer, nullable=False),
    Column("dead_letters", Integer, nullable=False),
)
"""What was open in a minute, all organizations together, as `operators/installation/backlog.py` notes it."""

STATISTICS = Table(
    "statistics",
    SQLModel.metadata,
    Column("span", Integer, primary_key=True, autoincrement=False),
    Column("scope", String(12), primary_key=True),
    Column("subject_id", Identifier, primary_key=True),
    Column("minute", Integer, primary_key=True, autoincrement=False),
    Column("event_type", String(128), primary_key=True),
    Column("outcome", String(32), primary_key=True),
    *_measures(),
    Index("ix_statistics_minute", "span", "scope", "minute"),
)
"""Sums of `span` minutes from `minute` on. `scope` says what they are of: `all` of the installation, an `organization`
or an `endpoint`, whose id is `subject_id`.

An endpoint's rows are by type and outcome. The others are there twice, by outcome with an empty type and by type with
an empty outcome: an installation may have many types and many outcomes, and their product would be read at each chart.
"""
