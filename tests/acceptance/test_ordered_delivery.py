"""Ordered endpoints under faults: nothing overtakes, and nothing is lost."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Install, mostly_postgres
from tests.support.databases import LiveDatabase
from tests.support.exchange import Reply
from tests.support.installation import QUICK, Installation
from tests.support.polling import eventually_blocking
from tests.support.publisher import Publisher
from tests.support.receipts import PING

SETTINGS = {**QUICK, "DISABLE_AFTER_FAILURES": "1000"}


@mostly_postgres
def test_order_survives_a_killed_worker(database: LiveDatabase, install: Install) -> None:
    """Setup: two workers, an ordered endpoint whose receiver fails now and then, 80 events.

    Timeline: while the events are delivered, each worker is killed once and replaced.
    What this proves: the receiver gets every event, and none before those that were accepted before it; at most the
    delivery that was in flight at a kill comes twice.
    """
    installation = install(database, SETTINGS)
    tenant = installation.add_tenant("/hook", ordered=True)
    tenant.publish(80)
    installation.receiver.program("/hook", *[200] * 15, 500, 200, 503, 200)
    installation.start(workers=2, api=False)
    for arrived in (25, 55):
        wait_for(installation, arrived)
        installation.kill(installation.workers[-2])
        installation.new_worker().launch()
    check_order(installation)


@pytest.mark.chaos
def test_order_survives_many_kills_and_two_apis(database: LiveDatabase, install: Install) -> None:
    """Setup: three workers, two APIs, an ordered endpoint, 2,000 events from four clients at once.

    Timeline: a worker is killed and replaced again and again; the receiver fails and stalls now and then.
    What this proves: the order is the one in which the events were accepted, whichever API accepted them.
    """
    installation = install(database, SETTINGS)
    tenant = installation.add_tenant("/hook", ordered=True)
    installation.start(workers=3)
    second = Publisher(installation.start_another_api(), tenant.key, tenant.published, rate=100, threads=2)
    replies: list[Reply | int] = [*[200] * 90, 500, Reply(delay=0.5)]
    installation.receiver.program("/hook", *(replies * 30), 200)
    with tenant.publishing(rate=100, threads=2), second.running():
        tenant.accept(1_000, within=60)
    tenant.publish(2_000 - len(tenant.published.accepted))
    for arrived in range(100, 1_900, 150):
        wait_for(installation, arrived)
        installation.kill(installation.workers[-3])
        installation.new_worker().launch()
    check_order(installation, within=300)


def wait_for(installation: Installation, arrived: int) -> None:
    eventually_blocking(
        lambda: installation.receiver.arrived("/hook") >= arrived, within=120, what=f"{arrived} arrived requests"
    )


def check_order(installation: Installation, *, within: float = 60) -> None:
    installation.check(within=within)
    accepted = [row[0] for row in installation.database.query("SELECT event_id FROM deliveries ORDER BY sequence")]
    place = {event_id: number for number, event_id in enumerate(accepted)}
    requests = installation.receiver.requests("/hook")
    received = [
        place[request.header("X-OptimalDial-Event-Id")]
        for request in requests
        if request.header("X-OptimalDial-Event") != PING
    ]
    assert received == sorted(received)
    assert set(received) == set(range(len(accepted)))
