"""What happens twice: a job that is run again, sweepers that sweep at once, a worker that wakes up too late."""

from __future__ import annotations

import asyncio
import re

from sendoff.operators.replays.replay import Selection, start_replay
from sendoff.processes.startup import open_context
from sendoff.queue import BULK_DELIVERIES, DELIVER, REPLAYS, RUN_REPLAY, connect
from sendoff.settings import load
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from tests.acceptance.conftest import Install, mostly_postgres, mostly_sqlite
from tests.support.app_fixture import ACTOR
from tests.support.databases import LiveDatabase
from tests.support.exchange import Reply
from tests.support.installation import PATIENT, STEADY, Installation
from tests.support.polling import eventually_blocking


@mostly_postgres
def test_deliveries_that_are_enqueued_ten_times_are_delivered_once(database: LiveDatabase, install: Install) -> None:
    """Setup: 400 deliveries, two workers that are not started yet.

    Timeline: all 400 ids are enqueued ten times; the workers start.
    What this proves: a claim succeeds once, however often a delivery is enqueued.
    """
    installation = install(database, PATIENT)
    tenant = installation.add_tenant("/one", "/two")
    tenant.publish(200)
    ids = [identifier for (identifier,) in installation.database.query("SELECT id FROM deliveries")]
    asyncio.run(enqueue_again(installation, ids, times=10))
    workers = [installation.new_worker() for _ in range(2)]
    for worker in workers:
        worker.launch()
    for worker in workers:
        worker.wait_until_ready()
    assert installation.check().duplicates == 0


@mostly_postgres
def test_a_replays_job_that_is_run_by_two_workers_at_once_sends_each_delivery_once(
    database: LiveDatabase, install: Install
) -> None:
    """Setup: 100 dead letters of an endpoint that is well again; two workers.

    Timeline: a replay of all is started, and its job put into the queue twenty times more while it runs.
    What this proves: a job may run twice, or two at once; what is replayed is sent once.
    """
    installation = install(database, {**PATIENT, "RETRY_SCHEDULE": "1s", "DISABLE_AFTER_FAILURES": "1000"})
    tenant = installation.add_tenant("/hook")
    installation.start(workers=2, api=False)
    installation.receiver.program("/hook", 500)
    tenant.publish(100)
    assert installation.wait_until_done().dead == 0  # all arrived, and were refused twice
    installation.receiver.program("/hook", 200)
    arrived = installation.receiver.arrived("/hook")
    asyncio.run(replay_all(installation, times=20))
    eventually_blocking(lambda: installation.count("delivered") == 100, within=30, what="all delivered")
    assert installation.check().duplicates == 0
    assert installation.receiver.arrived("/hook") == arrived + 100


async def enqueue_again(installation: Installation, delivery_ids: list[str], *, times: int) -> None:
    """Put jobs for these deliveries into the queue, as arq's own client does."""
    redis = connect(load(**installation.settings))
    for _ in range(times):
        await redis.enqueue_job(DELIVER, delivery_ids, _queue_name=BULK_DELIVERIES)
    await redis.aclose(close_connection_pool=True)


async def replay_all(installation: Installation, *, times: int) -> None:
    """Start a replay of all dead letters, and enqueue its job repeatedly."""
    settings = load(**installation.settings)
    async with open_context(settings) as context:
        replay = (await start_replay(context, ACTOR, Selection(DeadLetterFilter()), rate=50)).replay
    redis = connect(settings)
    for _ in range(times):
        await redis.enqueue_job(RUN_REPLAY, [replay.id], _queue_name=REPLAYS)
        await asyncio.sleep(0.1)
    await redis.aclose(close_connection_pool=True)


@mostly_sqlite
def test_sweepers_without_a_leader_deliver_once(database: LiveDatabase, install: Install) -> None:
    """Setup: no Redis, so that each of two workers sweeps for itself.

    Timeline: 600 deliveries become due; both find all of them.
    What this proves: two sweeps at once are harmless.
    """
    installation = install(database, PATIENT)
    tenant = installation.add_tenant("/one", "/two")
    installation.valkey.kill()
    installation.start(workers=2, api=False)
    tenant.publish(300)
    assert installation.check().duplicates == 0


def lost_leases(log: str) -> int:
    """How many answers a worker did not record, by what it says."""
    return sum(int(count) for count in re.findall(r"\blease_lost\b.*\bdeliveries=(\d+)", log))


@mostly_sqlite
def test_a_worker_that_wakes_up_after_its_lease_leaves_the_delivery_to_the_new_owner(
    database: LiveDatabase, install: Install
) -> None:
    """Setup: two workers that have delivered to each endpoint, the second of them frozen; a receiver that answers on
    demand.

    Timeline: 15 deliveries are under way when the first worker is frozen; the receiver answers, of every kind; the
    second worker thaws, takes them over when their leases have ended, gets a 500 for 5 of them and waits for the
    others' answers; the first wakes up, with an answer for each; then the receiver says 500 to the others, too.
    What this proves: none of the late answers is recorded, neither over what was recorded meanwhile nor in the place
    of what another worker has under way: each attempt is there once, numbered without gaps, all are delivered, and a
    410 among them ends no endpoint.
    """
    times = {"ATTEMPT_TIMEOUT_SECONDS": "8", "LEASE_SECONDS": "10", "RETRY_SCHEDULE": "5s,1s,1s,1s,1s"}
    installation = install(database, {**STEADY, **times})
    receiver = installation.receiver
    paths = ("/recorded", "/mixed", "/failed")
    tenant = installation.add_tenant(*paths)
    first, second = installation.new_worker(), installation.new_worker()
    second.start()
    installation.warm_up(tenant)
    second.freeze()
    first.start()
    installation.warm_up(tenant)
    receiver.program("/recorded", Reply(held=True))
    receiver.program("/mixed", *[Reply(held=True)] * 3, Reply(410, held=True))
    receiver.program("/failed", Reply(500, held=True))
    tenant.publish(5)
    eventually_blocking(lambda: [*map(receiver.arrived, paths)] == [3 + 5] * 3, what="requests under way")
    first.freeze()
    receiver.release()
    installation.may_come_twice = 15
    receiver.program("/recorded", *[500] * 5, 200)
    for path in paths[1:]:
        receiver.program(path, *[Reply(500, held=True)] * 5, 200)
    second.thaw()
    eventually_blocking(lambda: [*map(receiver.arrived, paths[1:])] == [3 + 10] * 2, within=20, what="takeover")
    recorded = "SELECT count(*) FROM attempts WHERE number = 1"
    eventually_blocking(lambda: installation.database.query(recorded) == [("11",)], what="the second answer on record")
    first.thaw()
    eventually_blocking(lambda: lost_leases(first.log()) == 15, within=20, what=first.log)
    receiver.release()
    assert installation.check().duplicates == 5 + 3  # those that were answered with a 200 twice
    rows = installation.database.query(
        "SELECT number, response_status, count(*) FROM attempts GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert rows == [("1", "200", "6"), ("1", "500", "15"), ("2", "200", "15")]
    assert "record_failed" not in first.log()
