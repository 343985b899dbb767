"""Redis fails over by Sentinel."""

from __future__ import annotations

import time

import pytest

from tests.acceptance.hosts.site import Site
from tests.support.polling import eventually_blocking


@pytest.mark.parametrize("loss", ["killed", "host lost"])
def test_a_failover_by_sentinel_delays_deliveries_by_two_seconds_at_most(site: Site, loss: str) -> None:
    """Setup: a master, a replica, three Sentinels.

    Timeline: the master is killed, or its host vanishes, with a Sentinel.
    What this proves: every event is accepted meanwhile, all processes stay ready, and no delivery waits for the new
    master.
    """
    site.start()
    with site.under_load() as (traffic, readiness):
        began = time.time()
        if loss == "killed":
            site.redis.kill_master()
        else:
            site.redis.master.unplug()
        eventually_blocking(site.redis.has_failed_over, within=30, every=0.1, what="a failover")
        traffic.accept(1000)
        traffic.go_on(5)
    assert traffic.refused == []
    assert traffic.unanswered == []
    assert readiness.statuses("api1", "api2", since=began) == {200}
    site.check(f"Redis master {loss}", traffic, readiness, longest_delay=2)
