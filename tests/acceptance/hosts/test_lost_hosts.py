"""Hosts that vanish without a word, and links between hosts that lose everything."""

from __future__ import annotations

import time

import pytest

from tests.acceptance.hosts.readiness import UNREACHABLE
from tests.acceptance.hosts.site import Site

LOST_SECONDS = 40
"""Longer than a lease of 20 s with its sweep, after which the other worker takes over."""


def test_the_deliveries_of_a_lost_worker_host_are_taken_over_within_30_seconds(site: Site) -> None:
    """Timeline: a worker's host is unplugged for 40 s, then comes back with its process as it was.

    What this proves: the other worker goes on, and sends what the lost one had claimed when its leases end.
    """
    site.start()
    lost = site.workers[1]
    with site.under_load() as (traffic, readiness):
        site.fault_begins()
        began = time.time()
        lost.host.unplug()
        traffic.go_on(LOST_SECONDS)
        lost.host.plug_in()
        back = time.time()
        traffic.go_on(10)
    assert readiness.statuses("api1", "api2", "worker1") == {200}
    assert readiness.statuses("worker2", since=began + 1, until=back - 7) == {UNREACHABLE}
    assert traffic.refused == []
    site.check("worker host lost", traffic, readiness, longest_delay=30)


def test_a_lost_api_host_takes_no_accepted_event_with_it(site: Site) -> None:
    """Timeline: an API's host is unplugged for 40 s, then comes back.

    What this proves: the other API goes on without a refusal, and what the lost one had accepted is delivered.
    """
    site.start()
    lost = site.apis[1]
    with site.under_load() as (traffic, readiness):
        lost.host.unplug()
        traffic.go_on(LOST_SECONDS)
        lost.host.plug_in()
        traffic.go_on(10)
    assert readiness.statuses("api1", "worker1", "worker2") == {200}
    assert {request.api for request in traffic.unanswered} <= {lost.host.address}
    assert traffic.refused == []
    site.check("API host lost", traffic, readiness, longest_delay=30)


@pytest.mark.parametrize("cut", ["unreachable", "silent"])
def test_an_api_that_is_cut_from_the_database_refuses_within_five_seconds(site: Site, cut: str) -> None:
    """Timeline: one API's host cannot reach the database for 30 s: its kernel says so, or packets vanish silently.

    What this proves: that API answers 503 within 5 s and is not ready, the other accepts everything, and soon after the
    cut both do.
    """
    site.start()
    api, databases = site.apis[1], site.postgres.hosts
    with site.under_load() as (traffic, readiness):
        began = time.time()
        (api.host.lose if cut == "silent" else api.host.deny)(*databases)
        traffic.go_on(30)
        (api.host.find if cut == "silent" else api.host.allow)(*databases)
        mended = time.time()
        traffic.go_on(10)
    assert readiness.statuses("api2", since=began + 6, until=mended - 6) == {503}, readiness.tell()
    assert readiness.statuses("api1", "worker1", "worker2") == {200}
    assert traffic.unanswered == []
    assert {request.api for request in traffic.refused} == {api.host.address}
    assert [one for one in traffic.refused if one.sent_at > mended + 5] == []
    site.check(f"API cut from the database ({cut})", traffic, readiness, longest_delay=5)
