"""The primary is lost, and its synchronous standby promoted."""

from __future__ import annotations

import time

import pytest

from tests.acceptance.hosts.site import Site

PROMOTED_AFTER_SECONDS = 3.0
"""As long as it takes to notice the loss and to elect. Patroni takes 10 to 30 s by default."""


@pytest.mark.parametrize("loss", ["killed", "host lost", "read-only"])
def test_a_lost_primary_costs_the_time_until_promotion_and_two_seconds(site: Site, loss: str) -> None:
    """Setup: a primary and a synchronous standby.

    Timeline: the primary is killed, or its host vanishes without a word, or it takes no more writes while connections
    to it stay open; three seconds later the standby is promoted.
    What this proves: the APIs refuse within 5 s meanwhile and say that they are not ready; nothing is lost; what was
    accepted last is delivered within two seconds of the promotion.
    """
    site.start()
    with site.under_load() as (traffic, readiness):
        site.fault_begins()
        began = time.time()
        match loss:
            case "killed":
                site.postgres.primary.kill()
            case "host lost":
                site.postgres.hosts[0].unplug()
            case _:
                site.postgres.refuse_writes()
        traffic.go_on(PROMOTED_AFTER_SECONDS)
        site.postgres.promote()
        promoted = time.time()
        traffic.go_on(15)
    assert 503 in readiness.statuses("api1", "api2", since=began, until=promoted + 1)
    site.check(f"primary {loss}", traffic, readiness, longest_delay=promoted - began + 2)
