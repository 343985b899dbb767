"""Shutdown: processes finish what they can within their grace period and leave the rest to others."""

from __future__ import annotations

import signal

import pytest

from tests.acceptance.conftest import Install, mostly_sqlite
from tests.support.databases import LiveDatabase
from tests.support.exchange import Reply
from tests.support.installation import PATIENT, Installation
from tests.support.polling import eventually_blocking


def wait_for_requests(installation: Installation, path: str, count: int) -> None:
    eventually_blocking(lambda: installation.receiver.arrived(path) == count, what=f"{count} requests to {path}")


@mostly_sqlite
def test_a_stopping_worker_drains_and_releases_the_rest_at_once(database: LiveDatabase, install: Install) -> None:
    """Setup: a worker with two seconds of grace, an endpoint that answers on demand, and one that never does.

    Timeline: both endpoints answer once; ten requests to each are under way, SIGTERM; the first endpoint answers; the
    worker ends; another starts.
    What this proves: the first ten are recorded; the others are due again at once, long before their leases end, as if
    they had not been attempted.
    """
    installation = install(database, PATIENT)
    tenant = installation.add_tenant("/slow", "/hung")
    installation.start(api=False)
    installation.warm_up(tenant)
    installation.receiver.program("/slow", Reply(held=True))
    installation.receiver.program("/hung", Reply(hang=True))
    tenant.publish(10)
    for path in ("/slow", "/hung"):
        wait_for_requests(installation, path, 1 + 1 + 10)
    installation.workers[0].signal(signal.SIGTERM)
    installation.receiver.release()
    assert installation.workers[0].stop() == 0, installation.workers[0].log()
    assert (installation.count("delivered"), installation.count("pending"), installation.count("in_flight")) == (
        2 + 10,
        10,
        0,
    )
    installation.may_come_twice = 10
    installation.receiver.program("/hung", 200)
    installation.new_worker().start()
    assert installation.check(within=15).duplicates == 10
    assert installation.database.query("SELECT DISTINCT attempt_count FROM deliveries") == [("1",)]


@pytest.mark.chaos
def test_a_worker_that_stops_under_load_leaves_nothing_claimed(database: LiveDatabase, install: Install) -> None:
    """Setup: two workers, 200 events a second, leases far longer than the test.

    Timeline: one worker is terminated during the work; then the other, and a third takes over.
    What this proves: not one delivery is left under the lease of a worker that ended in good order.
    """
    installation = install(database, PATIENT)
    tenant = installation.add_tenant("/one", "/two")
    installation.start(workers=2)
    with tenant.publishing(rate=200):
        for worker in list(installation.workers):
            tenant.accept(100)
            assert worker.stop() == 0, worker.log()
        tenant.accept(50)
    assert installation.count("in_flight") == 0
    installation.new_worker().start()
    assert installation.check().duplicates == 0
