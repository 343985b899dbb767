"""Redis killed, flushed, frozen: it only rings, so nothing depends on it but how soon."""

from __future__ import annotations

from tests.acceptance.conftest import Install, mostly_sqlite
from tests.support.databases import LiveDatabase, PostgresDatabase, SqliteFile
from tests.support.polling import eventually_blocking


@mostly_sqlite
def test_a_killed_valkey_costs_nothing_but_bells(database: LiveDatabase, install: Install) -> None:
    """Setup: a worker, 100 events a second.

    Timeline: Valkey is killed; 100 events are accepted without it, and delivered; it is started again, empty; 100 more.
    What this proves: publishing needs SQL alone; workers find by themselves what is due, go back to the bell, and
    need no restart; nothing comes twice.
    """
    installation = install(database)
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


def test_a_redis_that_hangs_holds_up_neither_accepting_nor_delivering(sqlite: SqliteFile, install: Install) -> None:
    """Setup: the API, a worker, 100 events a second.

    Timeline: Valkey is frozen: it takes connections and never answers. 300 events are accepted and delivered
    meanwhile. Then it goes on.
    What this proves: no request waits for the bell, and workers notice that nobody answers them.
    """
    installation = install(sqlite)
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


def test_bells_that_were_flushed_are_rung_again_within_10_seconds(postgres: PostgresDatabase, install: Install) -> None:
    """Setup: default settings, no worker, 500 events whose bells wait in Redis.

    Timeline: FLUSHALL; a worker starts.
    What this proves: within 10 seconds all is delivered that no bell tells of any more.
    """
    installation = install(postgres, {})
    tenant = installation.add_tenant("/hook")
    tenant.publish(500)
    installation.valkey.flush()
    installation.new_worker().start()
    installation.check(within=10)


def test_a_sweep_that_nobody_makes_is_made_by_somebody(sqlite: SqliteFile, install: Install) -> None:
    """Setup: default settings; in Redis a key says, and will say for ever, that somebody is at sweeping.

    Timeline: so it is when Valkey's clock is set back, for its keys expire by it. 100 events whose bells are lost; a
    worker starts.
    What this proves: workers do not rely on Redis for whose turn it is.
    """
    installation = install(sqlite, {})
    tenant = installation.add_tenant("/hook")
    tenant.publish(100)
    with installation.valkey.client() as client:
        client.flushall()
        client.set("sendoff:sweep", "taken")
    installation.new_worker().start()
    installation.check(within=10)


def test_jobs_that_nobody_finishes_do_not_stop_the_sweeper(sqlite: SqliteFile, install: Install) -> None:
    """Setup: 150 jobs stand in the queue as arq leaves them when the workers that run them are killed.

    Timeline: 100 events whose bells are lost; a worker starts.
    What this proves: a queue that does not move is no excuse: what is due is delivered within 10 seconds.
    """
    installation = install(sqlite, {})
    tenant = installation.add_tenant("/hook")
    tenant.publish(100)
    with installation.valkey.client() as client:
        client.flushall()
        for number in range(150):
            client.zadd("sendoff:jobs", {f"job{number}": number + 1})
            client.set(f"arq:in-progress:job{number}", "1")
    installation.new_worker().start()
    installation.check(within=10)
