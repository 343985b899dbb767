"""The product's metrics. A process serves the registry as Prometheus text; labels never name tenants."""

from __future__ import annotations

import platform

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

from sendoff import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

Info("sendoff_build", "The version that this process runs, and its Python.", registry=REGISTRY).info(
    {"version": __version__, "python": platform.python_version()}
)

REQUESTS = Counter(
    "sendoff_http_requests_total",
    "Requests that the API answered.",
    ["method", "route", "status"],
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "sendoff_http_request_seconds",
    "Time from a request's head to the end of its answer.",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
RATE_LIMITS_SKIPPED = Counter(
    "sendoff_rate_limits_skipped_total",
    "Writes that were let through uncounted because Redis was away.",
    registry=REGISTRY,
)
EVENTS_ACCEPTED = Counter(
    "sendoff_events_accepted_total",
    "Events that were published through the API and committed.",
    registry=REGISTRY,
)
ATTEMPTS = Counter(
    "sendoff_attempts_total",
    "Attempts that were recorded, by what they came to: `ok` or the name of the failure.",
    ["outcome"],
    registry=REGISTRY,
)
ATTEMPT_SECONDS = Histogram(
    "sendoff_attempt_seconds",
    "How long attempts took, from dialing to the last byte read.",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 20),
    registry=REGISTRY,
)
DEAD_LETTERS = Counter(
    "sendoff_dead_letters_total",
    "Deliveries that were dead-lettered, by an attempt or because their endpoint is off, by reason.",
    ["reason"],
    registry=REGISTRY,
)
LEASES_LOST = Counter(
    "sendoff_leases_lost_total",
    "Attempts whose delivery had been taken over by another worker before they were recorded.",
    registry=REGISTRY,
)
QUEUE_JOBS = Gauge(
    "sendoff_queue_jobs",
    "Jobs that wait in Redis for a worker, by queue; NaN while Redis is away. Only the API has it.",
    ["queue"],
    registry=REGISTRY,
)
WORKERS = Gauge(
    "sendoff_workers",
    "Workers that told Redis within the last seconds that they work; NaN while Redis is away. Only the API has it.",
    registry=REGISTRY,
)


def exposition() -> bytes:
    """All metrics of this process in Prometheus' text format 0.0.4."""
    return generate_latest(REGISTRY)
