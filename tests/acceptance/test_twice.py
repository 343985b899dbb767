"""What happens twice: a job that is run again, sweepers that sweep at once, a worker that wakes up too late."""

from __future__ import annotations

import asyncio

import pytest

from sendoff.bell import DELIVER, connect
from sendoff.settings import load
from tests.acceptance.conftest import Install, mostly_postgres, mostly_sqlite
from tests.support.databases import LiveDatabase
from tests.support.exchange import Reply
from tests.support.installation import QUICK, Installation
from tests.support.polling import eventually_blocking


@mostly_postgres
def test_jobs_that_are_run_again_and_again_deliver_once(database: LiveDatabase, install: Install) -> None:
    """Setup: 400 deliveries, two workers that are not started yet.

    Timeline: ten jobs that each hold all 400 ids are put into the queue; the workers start.
    What this proves: a claim succeeds once; sweepers and jobs may ring for the same as often as they like.
    """
    installation = install(database)
    tenant = installation.add_tenant("/one", "/two")
    tenant.publish(200)
    ids = [identifier for (identifier,) in installation.database.query("SELECT id FROM deliveries")]
    asyncio.run(enqueue(installation, ids, times=10))
    workers = [installation.new_worker() for _ in range(2)]
    for worker in workers:
        worker.launch()
    for worker in workers:
        worker.wait_until_ready()
    assert installation.check().duplicates == 0


async def enqueue(installation: Installation, ids: list[str], *, times: int) -> None:
    redis = connect(load(**installation.settings))
    for _ in range(times):
        await redis.enqueue_job(DELIVER, ids)
    await redis.aclose(close_connection_pool=True)


@pytest.mark.chaos
def test_sweepers_that_cannot_agree_on_turns_deliver_once(database: LiveDatabase, install: Install) -> None:
    """Setup: no Redis, so that each of two workers sweeps for itself.

    Timeline: 600 deliveries become due; both find all of them.
    What this proves: two sweeps at once are harmless.
    """
    installation = install(database)
    tenant = installation.add_tenant("/one", "/two")
    installation.valkey.kill()
    installation.start(workers=2, api=False)
    tenant.publish(300)
    assert installation.check().duplicates == 0


@mostly_sqlite
def test_a_worker_that_wakes_up_after_its_lease_leaves_the_delivery_to_who_has_it_now(
    database: LiveDatabase, install: Install
) -> None:
    """Setup: two workers, of which one is started later; a receiver that answers after a second and a half.

    Timeline: 15 deliveries are under way when the first worker is frozen; the second takes them over when their leases
    have ended, and gets a 500; the first wakes up, with an answer for each.
    What this proves: the late answers are not recorded over what was recorded meanwhile: each attempt is there once,
    numbered without gaps, and all are delivered.
    """
    installation = install(database, {**QUICK, "RETRY_SCHEDULE": "5s,1s,1s,1s,1s"})
    tenant = installation.add_tenant("/hook")
    installation.start(api=False)
    installation.receiver.program("/hook", Reply(delay=1.5))
    tenant.publish(15)
    eventually_blocking(lambda: installation.receiver.arrived("/hook") == 16, what="requests under way")
    first = installation.workers[0]
    first.freeze()
    installation.may_come_twice = 15
    installation.receiver.program("/hook", *[500] * 15, 200)
    installation.new_worker().start()
    recorded = "SELECT count(*) FROM attempts"
    eventually_blocking(lambda: installation.database.query(recorded) == [("15",)], within=20, what="takeover")
    first.thaw()
    eventually_blocking(lambda: "lease_lost" in first.log(), within=20, what=first.log)
    assert installation.check().duplicates == 15
    rows = installation.database.query(
        "SELECT number, response_status, count(*) FROM attempts GROUP BY 1, 2 ORDER BY 1"
    )
    assert rows == [("1", "500", "15"), ("2", "200", "15")]
    assert "not_recordable" not in first.log()
