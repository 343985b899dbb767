"""Workers that are killed: what they had under way is taken over, and at most that is sent twice."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Install, mostly_postgres
from tests.support.databases import LiveDatabase
from tests.support.exchange import Reply
from tests.support.installation import STEADY
from tests.support.polling import eventually_blocking

UNDER_WAY = 60


def test_a_worker_killed_between_the_answer_and_the_record_sends_no_more_than_that_twice(
    database: LiveDatabase, install: Install
) -> None:
    """Setup: a worker, a receiver that answers on demand, 60 events.

    Timeline: all 60 requests arrive; the worker is frozen; the receiver answers all 60 with 200; the worker, which
    has recorded none of that, is killed; another worker starts.
    What this proves: the other worker sends exactly those 60 again, with the same ids and bytes, and then they are
    delivered. Nothing else comes twice: what was recorded before is left alone.
    """
    installation = install(database, {**STEADY, "ENDPOINT_MAX_IN_FLIGHT": "100"})
    tenant = installation.add_tenant("/hook")
    installation.start(api=False)
    tenant.publish(20)
    installation.wait_until_done()
    installation.receiver.program("/hook", Reply(held=True))
    before = installation.receiver.arrived("/hook")
    tenant.publish(UNDER_WAY)
    eventually_blocking(lambda: installation.receiver.arrived("/hook") == before + UNDER_WAY, what="all requests")
    installation.workers[0].freeze()
    installation.receiver.release()
    assert installation.receiver.answered("/hook") == before + UNDER_WAY
    installation.kill(installation.workers[0])
    assert installation.may_come_twice == UNDER_WAY
    installation.receiver.program("/hook", 200)
    installation.new_worker().start()
    assert installation.check().duplicates == UNDER_WAY


@mostly_postgres
def test_attempts_recorded_by_a_killed_worker_are_not_repeated(database: LiveDatabase, install: Install) -> None:
    """Setup: a worker, a receiver that answers on demand, 60 events.

    Timeline: all 60 requests arrive; the deliveries are locked in the database; the receiver answers all 60 with 200;
    the worker, which waits for the lock, is killed; the lock goes; another worker starts.
    What this proves: at most those 60 are repeated. PostgreSQL still runs the statements sent before the worker died.
    """
    installation = install(database, {**STEADY, "ENDPOINT_MAX_IN_FLIGHT": "100"})
    tenant = installation.add_tenant("/hook")
    installation.start(api=False)
    installation.warm_up(tenant)
    installation.receiver.program("/hook", Reply(held=True))
    before = installation.receiver.arrived("/hook")
    tenant.publish(UNDER_WAY)
    eventually_blocking(lambda: installation.receiver.arrived("/hook") == before + UNDER_WAY, what="all requests")
    with database.locked():
        installation.may_come_twice = installation.count("in_flight")
        installation.receiver.release()
        assert installation.receiver.answered("/hook") == before + UNDER_WAY
        installation.workers[0].kill()
    assert installation.may_come_twice == UNDER_WAY
    installation.receiver.program("/hook", 200)
    installation.new_worker().start()
    installation.check()


@pytest.mark.chaos
def test_the_others_take_over_what_a_killed_worker_had(database: LiveDatabase, install: Install) -> None:
    """Setup: two workers, two endpoints, 100 events a second.

    Timeline: one worker is killed, replaced, and its successor killed as well; then both are killed; then one starts.
    What this proves: remaining workers take over; without any, deliveries wait for the next worker.
    """
    installation = install(database)
    tenant = installation.add_tenant("/one", "/two")
    installation.start(workers=2)
    with tenant.publishing():
        for _ in range(2):
            tenant.accept(50)
            installation.kill(installation.workers[-1])
            installation.new_worker().start()
        tenant.accept(50)
        installation.kill(*installation.workers)
        tenant.accept(50)
    installation.new_worker().start()
    installation.check()


@pytest.mark.chaos
def test_a_killed_worker_is_taken_over_from_within_30_seconds_at_default_settings(
    database: LiveDatabase, install: Install
) -> None:
    """Setup: default settings, two workers, a receiver that answers after five seconds.

    Timeline: 40 requests are under way when one worker is killed; the receiver answers at once from then on.
    What this proves: everything is delivered within 30 seconds of the kill, the lease's 20 included.
    """
    installation = install(database, {})
    tenant = installation.add_tenant(*[f"/{number}" for number in range(10)])
    for path in range(10):
        installation.receiver.program(f"/{path}", Reply(delay=5))
    installation.start(workers=2, api=False)
    tenant.publish(4)
    eventually_blocking(lambda: installation.count("in_flight") == 40, what="all under way")
    for path in range(10):
        installation.receiver.program(f"/{path}", 200)
    installation.kill(installation.workers[0])
    assert installation.check(within=30).received == 40
