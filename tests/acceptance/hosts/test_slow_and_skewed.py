"""Nothing is lost, and all is slower or off: latency to the database, its pooler restarted, a host's clock."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.acceptance.hosts.backends import POSTGRES_PORT
from tests.acceptance.hosts.site import PATHS, Site
from tests.support.exchange import Reply
from tests.support.pgbouncer import PROGRAM, PgBouncer
from tests.support.processes import ROOT, start, stop
from tests.support.stepped_clock import SteppedClock

ROUND_TRIP_SECONDS = 0.05


def test_a_round_trip_of_50_ms_to_the_database_loses_and_repeats_nothing(site: Site) -> None:
    """Setup: everything goes to the database over a host that keeps each packet for 25 ms, both ways."""
    link = site.network.add("slow_link")
    target = f"{site.postgres.hosts[0].address}:{POSTGRES_PORT}"
    with link.inside():
        command = [sys.executable, "-m", "tests.acceptance.hosts.slow_link", f"{link.address}:{POSTGRES_PORT}", target]
        relay = start([*command, str(ROUND_TRIP_SECONDS / 2)], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert relay.stdout is not None
        assert relay.stdout.readline(), "the link ended before it listened"
        site.database_url = f"postgresql://postgres@{link.address}:{POSTGRES_PORT}/sendoff"
        site.start()
        with site.under_load() as (traffic, readiness):
            traffic.go_on(20)
        assert traffic.refused == []
        assert readiness.statuses("api1", "api2", "worker1", "worker2") == {200}
        site.check("50 ms to the database", traffic, readiness, longest_delay=5)
    finally:
        stop(relay)


@pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed here")
@pytest.mark.parametrize("pool_mode", ["session", "transaction"])
def test_a_restart_of_pgbouncer_costs_the_time_that_it_takes(site: Site, pool_mode: str) -> None:
    """Setup: everything goes through PgBouncer. Timeline: it is stopped, and started again after two seconds.

    What this proves: all processes connect again by themselves, and nothing is lost, or sent twice that was not in
    flight.
    """
    host = site.network.add("pgbouncer")
    server = f"postgresql://postgres@/sendoff?host={site.postgres.hosts[0].address}"
    folder = site.directory / "pgbouncer"
    folder.mkdir()
    pooler = PgBouncer(folder, server, pool_mode=pool_mode, address=host.address)
    with host.inside():
        pooler.start()
    try:
        site.database_url = pooler.url
        site.start()
        with site.under_load() as (traffic, readiness):
            site.fault_begins()
            began = time.time()
            pooler.stop()
            traffic.go_on(2)
            with host.inside():
                pooler.start()
            back = time.time()
            traffic.go_on(15)
        assert [one for one in traffic.refused if one.sent_at > back + 3] == []
        site.check(f"PgBouncer restarted ({pool_mode})", traffic, readiness, longest_delay=back - began + 2)
    finally:
        pooler.stop()


@pytest.mark.parametrize("seconds", [30, -30])
def test_a_hosts_clock_that_is_30_seconds_off_repeats_nothing(site: Site, seconds: int) -> None:
    """Setup: one worker's clock is ahead or behind by more than a lease; requests take 0.1 s.

    What this proves: neither worker takes the other's leases for ended.
    """
    clock = SteppedClock(site.directory / "clock")
    clock.step(seconds)
    for path in PATHS:
        site.receiver.program(path, Reply(delay=0.1))
    site.start({"worker2": clock.program})
    with site.under_load() as (traffic, readiness):
        traffic.go_on(25)
    assert traffic.refused == []
    assert readiness.statuses("api1", "api2", "worker1", "worker2") == {200}
    site.check(f"a clock {seconds:+d} s off", traffic, readiness, longest_delay=5)
