"""The wall clock set by an hour under running processes: what is due is found all the same."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Install, mostly_sqlite
from tests.support.databases import LiveDatabase, PostgresDatabase
from tests.support.exchange import Reply
from tests.support.installation import STEADY
from tests.support.polling import eventually_blocking
from tests.support.stepped_clock import SteppedClock

HOUR = 3600


@mostly_sqlite
@pytest.mark.chaos
def test_a_clock_that_jumps_forward_and_back_delays_nothing(database: LiveDatabase, install: Install) -> None:
    """Setup: the API and a worker on one clock, 100 events a second.

    Timeline: the clock is set an hour ahead; then back by two; jobs are lost meanwhile, since Redis is flushed.
    What this proves: nothing waits for an hour, neither what was accepted under the later time, nor what a job was
    lost for; and nothing is sent again because its lease seems to have ended.
    """
    installation = install(database)
    clock = SteppedClock(installation.directory / "clock")
    installation.live_on(clock)
    tenant = installation.add_tenant("/hook")
    installation.start()
    with tenant.publishing():
        for offset in (HOUR, -HOUR):
            tenant.accept(50)
            clock.step(offset)
            installation.valkey.flush()
            tenant.accept(50)
    assert installation.check().duplicates == 0


@mostly_sqlite
@pytest.mark.chaos
@pytest.mark.parametrize("offset", [HOUR, -HOUR])
def test_deliveries_of_a_killed_worker_are_taken_over_after_a_clock_jump(
    database: LiveDatabase, install: Install, offset: int
) -> None:
    """Setup: a worker, 40 deliveries under way to a receiver that does not answer.

    Timeline: the worker is killed; the clock is set by an hour; another worker starts.
    What this proves: a lease that seems to end in an hour does not hold for an hour.
    """
    installation = install(database, STEADY)
    clock = SteppedClock(installation.directory / "clock")
    installation.live_on(clock)
    tenant = installation.add_tenant("/one", "/two")
    installation.start(api=False)
    installation.warm_up(tenant)
    before = installation.receiver.arrived("/one")
    for path in ("/one", "/two"):
        installation.receiver.program(path, Reply(hang=True))
    tenant.publish(20)
    eventually_blocking(lambda: installation.receiver.arrived("/one") == before + 20, what="requests under way")
    installation.kill(*installation.workers)
    for path in ("/one", "/two"):
        installation.receiver.program(path, 200)
    clock.step(offset)
    installation.new_worker().start()
    installation.check(within=90)  # a lease after the jump may be as long as the longest timeout of an endpoint allows


def test_hosts_whose_clocks_differ_by_more_than_a_lease_repeat_nothing(
    postgres: PostgresDatabase, install: Install
) -> None:
    """Setup: a worker whose clock is 30 s ahead, one that is 30 s behind, leases of 6 s, a receiver that takes 1 s.

    What this proves: neither takes the other's leases for ended, nor writes one that has.
    """
    installation = install(postgres, STEADY)
    tenant = installation.add_tenant("/one", "/two")
    for path in ("/one", "/two"):
        installation.receiver.program(path, Reply(delay=1))
    for seconds in (30, -30):
        clock = SteppedClock(installation.directory / f"clock{seconds}")
        clock.step(seconds)
        installation.live_on(clock)
        installation.new_worker().launch()
    for worker in installation.workers:
        worker.wait_until_ready()
    installation.api.start()
    tenant.publish(12)
    assert installation.check().duplicates == 0
