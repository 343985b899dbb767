"""Redis killed, flushed, frozen: it carries ids only, so nothing but latency depends on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice
from typing import cast

import orjson
import pytest
from arq.jobs import serialize_job
from redis import Redis

from sendoff.ids import new_id
from sendoff.queue import BULK_DELIVERIES, DELIVER, IDS_PER_JOB
from tests.acceptance.conftest import Install, mostly_postgres, mostly_sqlite
from tests.support.databases import LiveDatabase
from tests.support.installation import PATIENT, Installation
from tests.support.polling import eventually_blocking
from worker.sweeper import LONGEST_WITHOUT_SWEEP_SECONDS, SWEEP_LAG, SWEEP_LAG_UNDER_LOAD, SWEEP_SECONDS

LONG_QUEUE = 2_000
"""Jobs of 200 ids each: a worker takes several hundred a second."""


@mostly_sqlite
def test_a_killed_valkey_costs_latency_alone(database: LiveDatabase, install: Install) -> None:
    """Setup: a worker, 100 events a second.

    Timeline: Valkey is killed; 100 events are accepted without it, and delivered; it is started again, empty; 100 more.
    What this proves: publishing needs SQL alone; workers find by themselves what is due, return to the queue, and
    need no restart; nothing is delivered twice.
    """
    installation = install(database, PATIENT)
    tenant = installation.add_tenant("/hook")
    installation.start()
    with tenant.publishing():
        tenant.accept(50)
        installation.valkey.kill()
        tenant.accept(100)
        eventually_blocking(
            lambda: installation.receiver.arrived("/hook") > 150, within=20, what="deliveries without Redis"
        )
        installation.valkey.start()
        tenant.accept(100)
    installation.check()
    assert not tenant.published.refused


@pytest.mark.chaos
def test_redis_may_be_away_for_a_minute_while_events_are_accepted_and_delivered(
    database: LiveDatabase, install: Install
) -> None:
    """Setup: default settings, the API, two workers, 50 events a second.

    Timeline: Valkey is killed, and started again, empty, after a minute; 100 events more.
    What this proves: not one publish is refused in that minute; all of them are delivered, once, without waiting for
    its end; and all processes return to the queue.
    """
    installation = install(database, {})
    tenant = installation.add_tenant("/one", "/two")
    installation.start(workers=2)
    with tenant.publishing(rate=50):
        tenant.accept(50)
        installation.valkey.kill()
        away_until = time.monotonic() + 60
        eventually_blocking(lambda: time.monotonic() > away_until, within=70, every=1, what="the minute's end")
        accepted = len(tenant.published.accepted)
        eventually_blocking(
            lambda: installation.receiver.arrived("/one") >= accepted, within=10, what="deliveries without Redis"
        )
        installation.valkey.start()
        tenant.accept(100)
    assert installation.check().duplicates == 0
    assert not tenant.published.refused
    assert not tenant.published.unanswered


@mostly_sqlite
def test_a_redis_that_hangs_holds_up_neither_accepting_nor_delivering(database: LiveDatabase, install: Install) -> None:
    """Setup: the API, a worker, 100 events a second.

    Timeline: Valkey is frozen: it takes connections and never answers. 300 events are accepted and delivered
    meanwhile. Then it goes on.
    What this proves: no request waits for Redis, and workers notice that it does not answer.
    """
    installation = install(database, PATIENT)
    tenant = installation.add_tenant("/hook")
    installation.start()
    with tenant.publishing():
        tenant.accept(50)
        installation.valkey.freeze()
        tenant.accept(300, within=15)
        eventually_blocking(
            lambda: installation.receiver.arrived("/hook") > 300, within=20, what="deliveries while Redis hangs"
        )
        installation.valkey.thaw()
        tenant.accept(50)
    installation.check()
    assert not tenant.published.refused


def test_by_their_constants_workers_find_the_work_of_lost_jobs_within_10_seconds() -> None:
    assert SWEEP_LAG_UNDER_LOAD.total_seconds() + SWEEP_SECONDS < 10
    assert SWEEP_LAG.total_seconds() + LONGEST_WITHOUT_SWEEP_SECONDS + SWEEP_SECONDS < 10


@mostly_postgres
def test_the_work_of_flushed_jobs_is_found_within_10_seconds(database: LiveDatabase, install: Install) -> None:
    """Setup: default settings, no worker, 500 events whose jobs wait in Redis.

    Timeline: FLUSHALL; a worker starts.
    What this proves: within 10 seconds everything is delivered although no job names it.
    """
    installation = install(database, {})
    tenant = installation.add_tenant("/hook")
    tenant.publish(500)
    installation.valkey.flush()
    installation.new_worker().start()
    installation.check(within=10)


@mostly_sqlite
def test_a_worker_sweeps_although_redis_says_that_another_does(database: LiveDatabase, install: Install) -> None:
    """Setup: default settings; in Redis a key without expiry says that another worker sweeps.

    Timeline: so it is when Valkey's clock is set back, for its keys expire by it. 100 events whose jobs are lost; a
    worker starts.
    What this proves: workers do not rely on Redis to elect the sweeper.
    """
    installation = install(database, {})
    tenant = installation.add_tenant("/hook")
    tenant.publish(100)
    with installation.valkey.client() as client:
        client.flushall()
        client.set("sendoff:sweep", "taken")
    installation.new_worker().start()
    installation.check(within=10)


@mostly_sqlite
def test_a_long_queue_does_not_stop_the_sweeper(database: LiveDatabase, install: Install) -> None:
    """Setup: jobs wait, each with 200 ids of deliveries that do not exist.

    Timeline: 100 events whose jobs are lost; a worker starts; as many jobs are added as it takes.
    What this proves: with a long queue, too, due deliveries are sent within 10 seconds, and not because the queue came
    to an end.
    """
    installation = install(database, {})
    tenant = installation.add_tenant("/hook")
    tenant.publish(100)
    with installation.valkey.client() as client:
        client.flushall()
    with long_queue(installation) as sizes:
        installation.new_worker().start()
        installation.wait_until_done(within=10)
    assert min(sizes) > LONG_QUEUE / 2
    assert sum(LONG_QUEUE - size for size in sizes) > 0, "the worker takes jobs meanwhile"
    installation.check()


@contextmanager
def long_queue(installation: Installation) -> Iterator[list[int]]:
    """Keep LONG_QUEUE jobs in the queue within the block; gives the sizes that were found each time."""
    bodies = [
        serialize_job(DELIVER, ([new_id() for _ in range(IDS_PER_JOB)],), {}, None, 0, serializer=orjson.dumps)
        for _ in range(100)
    ]
    numbers = count()
    sizes: list[int] = []
    ended = threading.Event()

    def fill(client: Redis, jobs: int) -> None:
        pipeline = client.pipeline(transaction=False)
        for number in islice(numbers, jobs):
            pipeline.set(f"arq:job:{number}", bodies[number % len(bodies)])
            pipeline.zadd(BULK_DELIVERIES, {str(number): number})
        pipeline.execute()

    def keep_full() -> None:
        with installation.valkey.client() as client:
            while not ended.wait(0.02):
                sizes.append(cast("int", client.zcard(BULK_DELIVERIES)))
                fill(client, LONG_QUEUE - sizes[-1])

    with installation.valkey.client() as client:
        fill(client, LONG_QUEUE)
    filling = threading.Thread(target=keep_full)
    filling.start()
    try:
        yield sizes
    finally:
        ended.set()
        filling.join()
