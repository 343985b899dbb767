"""The product's metrics. Processes serve them as Prometheus text; labels never name tenants.

What a process counts or measures of itself is in REGISTRY, which every process serves. INSTALLATION has what holds for
the installation as a whole, served by the API (`operators/installation/measurements.py`); WORKER what only
a worker has, and CONSUMER what only `sendoff consume` has.
"""

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
    disable_created_metrics,
    generate_latest,
)

from sendoff import __version__
from sendoff.policy.states import DeadLetterReason

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

disable_created_metrics()  # type: ignore[no-untyped-call] # a series more for each counter and histogram, which nobody asks for

REGISTRY, INSTALLATION, WORKER = CollectorRegistry(), CollectorRegistry(), CollectorRegistry()
CONSUMER = CollectorRegistry()
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
CELL_REQUESTS = Counter(
    "sendoff_cell_requests_total",
    "Requests that a router sent to cells: `answered`, whatever the answer, or the cell was `away`.",
    ["cell", "result"],
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
    "Writes that were counted in one process alone because Redis was away.",
    registry=REGISTRY,
)
EVENTS_ACCEPTED = Counter(
    "sendoff_events_accepted_total",
    "Events that were published through the API, or came from a message broker, and were committed.",
    registry=REGISTRY,
)
ATTEMPTS = Counter(
    "sendoff_attempts_total",
    "Attempts that were recorded, by what they came to: `ok` or the name of the failure. Those whose cause was on this "
    "side, such as `no_route`, are counted here, and have no number at their delivery.",
    ["outcome"],
    registry=REGISTRY,
)
ATTEMPT_SECONDS = Histogram(
    "sendoff_attempt_seconds",
    "How long attempts took, from dialing to the last byte read.",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 20),
    registry=REGISTRY,
)
RETRIES = Counter(
    "sendoff_retries_total",
    "Further attempts that were arranged, by what arranged them: `automatic` by the schedule after a failed attempt, "
    "`manual` by a retry through the API, `replay` by a replay.",
    ["trigger"],
    registry=REGISTRY,
)
DELIVERIES = Counter(
    "sendoff_deliveries_total",
    "Deliveries that ended, by how: `delivered` or `dead`. One that is replayed ends again.",
    ["result"],
    registry=REGISTRY,
)
DELIVERY_LATENCY = Histogram(
    "sendoff_delivery_latency_seconds",
    "Time from the acceptance of a delivery's event to its success, retries included and replays left out.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 43_200, 86_400),
    registry=REGISTRY,
)
DEAD_LETTERS = Counter(
    "sendoff_dead_letters_total",
    "Deliveries that were dead-lettered, whatever made them so, by reason.",
    ["reason"],
    registry=REGISTRY,
)
ENDPOINT_STATE_CHANGES = Counter(
    "sendoff_endpoint_state_changes_total",
    "Changes of endpoints' states, by the new state and the reason: `owner`, `operator`, `too_many_failures` or "
    "`answered_410`.",
    ["to", "reason"],
    registry=REGISTRY,
)
LEASES_LOST = Counter(
    "sendoff_leases_lost_total",
    "Attempts whose delivery had been taken over by another worker before they were recorded.",
    registry=REGISTRY,
)
LEASE_TAKEOVERS = Counter(
    "sendoff_lease_takeovers_total",
    "Deliveries that were claimed after the lease of another claim had ended, whose worker died, hung or could not "
    "record.",
    registry=REGISTRY,
)
SWEEP_FOUND = Counter(
    "sendoff_sweep_found_total",
    "Deliveries that a sweep found due: retries, lost jobs, and deliveries whose worker died.",
    registry=REGISTRY,
)
DATABASE_SECONDS = Histogram(
    "sendoff_database_seconds",
    "How long the statements of every delivery took: `accept` an event, `claim` deliveries, `record` attempts.",
    ["statement"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    registry=REGISTRY,
)
DATABASE_ERRORS = Counter(
    "sendoff_database_errors_total",
    "Statements and transactions that failed because the database was not usable, by kind: `connection`, `timeout`, "
    "`read_only`, `resources` (disk, memory, connections), `lock`, `conflict`, `shutdown` or `io`.",
    ["kind"],
    registry=REGISTRY,
)
REDIS_UP = Gauge(
    "sendoff_redis_up",
    "1 if Redis answered this process when it asked last, 0 if it did not.",
    registry=REGISTRY,
)
SECRETS_UNREADABLE = Gauge(
    "sendoff_secrets_unreadable",
    "Signing secrets of endpoints that no key of this process's SENDOFF_SECRET_KEYS opens.",
    registry=REGISTRY,
)

QUEUE_JOBS = Gauge(
    "sendoff_queue_jobs",
    "Jobs that wait in Redis for a worker, by queue; NaN while Redis is away. Only the API has it.",
    ["queue"],
    registry=INSTALLATION,
)
WORKERS = Gauge(
    "sendoff_workers",
    "Workers that reported to Redis within the last seconds; while Redis is away, to the database. "
    "Only the API has it.",
    registry=INSTALLATION,
)
OLDEST_DUE_SECONDS = Gauge(
    "sendoff_oldest_due_seconds",
    "How long the delivery that has been due for longest waits for a worker. Deliveries that wait for their endpoint's "
    "capacity are not counted. Only the API has it.",
    registry=INSTALLATION,
)
DELIVERIES_OPEN = Gauge(
    "sendoff_deliveries_open",
    "Deliveries that have not ended, by state; counted up to 100,000. Only the API has it.",
    ["state"],
    registry=INSTALLATION,
)
DEAD_LETTERS_OPEN = Gauge(
    "sendoff_dead_letters_open",
    "Dead letters that are neither replayed nor discarded, by reason; counted up to 100,000. Only the API has it.",
    ["reason"],
    registry=INSTALLATION,
)
ENDPOINTS = Gauge(
    "sendoff_endpoints",
    "Endpoints, by state. Only the API has it.",
    ["state"],
    registry=INSTALLATION,
)
REPLAYS_RUNNING = Gauge(
    "sendoff_replays_running",
    "Replays that have not ended. Only the API has it.",
    registry=INSTALLATION,
)
REPLAYS_STUCK = Gauge(
    "sendoff_replays_stuck",
    "Running replays that have deliveries to send and got no turn from a worker for a minute. Only the API has it.",
    registry=INSTALLATION,
)
STORAGE_BYTES = Gauge(
    "sendoff_storage_bytes",
    "What a table takes in the database with its indexes; on SQLite the whole file is `database`. Only the API has it.",
    ["table"],
    registry=INSTALLATION,
)
RETENTION_LAG_SECONDS = Gauge(
    "sendoff_retention_lag_seconds",
    "For how long the oldest delivery or dead letter should have been removed already. Only the API has it.",
    registry=INSTALLATION,
)

# A series that appears with its first change has no increase that a rule could see.
for _reason in DeadLetterReason:
    DEAD_LETTERS.labels(_reason)
for _result in ("delivered", "dead"):
    DELIVERIES.labels(_result)
for _trigger in ("automatic", "manual", "replay"):
    RETRIES.labels(_trigger)
for _state, _cause in (("disabled", "too_many_failures"), ("disabled", "operator"), ("gone", "answered_410")):
    ENDPOINT_STATE_CHANGES.labels(_state, _cause)

WORKER_IN_FLIGHT = Gauge(
    "sendoff_worker_in_flight",
    "Requests under way from this worker. Only workers have it.",
    registry=WORKER,
)
WORKER_SLOTS = Gauge(
    "sendoff_worker_slots",
    "This worker's places for requests, by kind: `taken` and `free`, and of those for slow receivers `slow_taken` and "
    "`slow_free`. Only workers have it.",
    ["kind"],
    registry=WORKER,
)

MESSAGES_CONSUMED = Counter(
    "sendoff_messages_consumed_total",
    "Messages of a broker that were dealt with, by what became of them: `accepted`, `duplicate` or `rejected`. Only "
    "`sendoff consume` has it.",
    ["result"],
    registry=CONSUMER,
)
CONSUME_SECONDS = Histogram(
    "sendoff_consume_batch_seconds",
    "How long batches of messages took, from the broker to the commit. Only `sendoff consume` has it.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
    registry=CONSUMER,
)
CONSUMER_CONNECTED = Gauge(
    "sendoff_consumer_connected",
    "1 while this process is connected to its broker, 0 while it is not. Only `sendoff consume` has it.",
    registry=CONSUMER,
)
for _verdict in ("accepted", "duplicate", "rejected"):
    MESSAGES_CONSUMED.labels(_verdict)


def exposition(*more: CollectorRegistry) -> bytes:
    """All metrics of this process, and those of `more` registries, in Prometheus' text format 0.0.4."""
    return b"".join(generate_latest(registry) for registry in (REGISTRY, *more))
