"""An endpoint can only hurt itself: whatever some do, the others get theirs.

The long form (`make chaos`) also measures: what it finds goes to `.chaos/isolation.txt`.
"""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Install, mostly_postgres
from tests.support.databases import LiveDatabase, PostgresDatabase, SqliteFile
from tests.support.exchange import Reply
from tests.support.installation import PATIENT, Installation
from tests.support.latency import Latencies, note
from tests.support.polling import eventually_blocking
from tests.support.tenants import Tenant

CAP = 20
HEALTHY_EVENTS = 300

HANGS = Reply(hang=True)
TRICKLES = Reply(trickle=1.0, body="x" * 200)

long = pytest.mark.chaos


def open_both(installation: Installation, bad_paths: list[str], reply: Reply) -> tuple[Tenant, Tenant]:
    """A healthy tenant, and one whose receivers behave as `reply` says once they are registered."""
    healthy, bad = installation.add_tenant("/healthy"), installation.add_tenant(*bad_paths)
    for path in bad_paths:
        installation.receiver.program(path, reply)
    return healthy, bad


def deliver_to_healthy(installation: Installation, healthy: Tenant) -> None:
    """Publish to the healthy endpoint, and wait until it has got everything, and that is recorded."""
    with healthy.publishing(rate=100):
        healthy.accept(HEALTHY_EVENTS)
    wait_for_healthy(installation, healthy)
    wanted = len(healthy.published.accepted)
    eventually_blocking(
        lambda: installation.count("delivered") >= wanted,  # one may have been accepted without an answer
        within=30,
        every=0.1,
        what=lambda: (
            f"{wanted} recorded as delivered, got {installation.count('delivered')}; "
            f"{healthy.published.unanswered} requests unanswered"
        ),
    )


def wait_for_healthy(installation: Installation, healthy: Tenant) -> None:
    wanted = 1 + len(healthy.published.accepted)  # the ping too
    eventually_blocking(
        lambda: installation.receiver.arrived("/healthy") >= wanted,
        within=30,
        every=0.1,
        what=lambda: f"{wanted} requests to the healthy endpoint, got {installation.receiver.arrived('/healthy')}",
    )


@mostly_postgres
@pytest.mark.parametrize("backlog", [2_000, pytest.param(20_000, marks=long)])
@pytest.mark.parametrize("reply", [HANGS, pytest.param(TRICKLES, marks=long)], ids=["hangs", "trickles"])
def test_a_hung_endpoint_with_a_backlog_delays_no_other(
    database: LiveDatabase, install: Install, reply: Reply, backlog: int
) -> None:
    """Setup: a worker; an endpoint that never answers, or answers a byte a second, and has a backlog.

    Timeline: the backlog is published first, then 300 events for a healthy endpoint of another organization.
    What this proves: all of those are delivered while the backlog still waits behind 20 requests that hang.
    """
    installation = install(database, PATIENT)
    healthy, hung = open_both(installation, ["/hung"], reply)
    installation.start()
    hung.publish(backlog)
    deliver_to_healthy(installation, healthy)
    assert installation.receiver.arrived("/hung") <= 1 + CAP
    assert installation.count("held", "pending", "in_flight") == backlog


@pytest.mark.parametrize("endpoints", [50, pytest.param(500, marks=long)])
def test_many_endpoints_that_time_out_delay_no_other(sqlite: SqliteFile, install: Install, endpoints: int) -> None:
    """Setup: a worker; a tenant with endpoints that never answer, together more than a worker has slots for.

    Timeline: 40 events are published for each of them, then 300 for a healthy endpoint of another organization.
    What this proves: all of those are delivered while the others wait.
    """
    installation = install(sqlite, PATIENT)
    healthy, hung = open_both(installation, [f"/hung{number}" for number in range(endpoints)], HANGS)
    installation.start()
    hung.publish(40)
    deliver_to_healthy(installation, healthy)
    assert installation.count("held", "pending", "in_flight") == 40 * endpoints


@long
@pytest.mark.parametrize("worst", ["one hangs", "one trickles", "500 time out"])
def test_latency_with_bad_endpoints_present_is_measured(
    postgres: PostgresDatabase, install: Install, worst: str
) -> None:
    """Setup: default settings, two workers.

    Timeline: 2,000 events for a healthy endpoint, 100 a second; then 20,000 deliveries for bad ones; the same again.
    What this shows: how long healthy deliveries take without and with them, and what waiting costs a worker.
    """
    installation = install(postgres, {})
    paths = [f"/bad{number}" for number in range(500 if worst == "500 time out" else 1)]
    healthy, bad = open_both(installation, paths, TRICKLES if worst == "one trickles" else HANGS)
    installation.start(workers=2)
    measured: list[Latencies] = []
    for _ in range(2):
        known = set(healthy.published.accepted)
        with healthy.publishing(rate=100):
            healthy.accept(2_000, within=60)
        wait_for_healthy(installation, healthy)
        receipts = [each for each in installation.receiver.receipts() if each.path == "/healthy"]
        measured.append(Latencies.of(healthy.published, receipts, leaving_out=known))
        if len(measured) == 1:
            bad.publish(20_000 // len(paths))
    note("isolation", f"{worst}: without {measured[0]}; with {measured[1]}")
    assert len(measured[1].seconds) >= 2_000
