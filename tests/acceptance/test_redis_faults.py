"""Redis killed, flushed, frozen: it only rings, so nothing depends on it but how soon."""

from __future__ import annotations

import time

import pytest

from sendoff.ids import new_id
from sendoff.queue import DUE
from tests.acceptance.conftest import Install, mostly_postgres, mostly_sqlite
from tests.support.databases import LiveDatabase
from tests.support.installation import PATIENT
from tests.support.polling import eventually_blocking
from worker.sweeps import ENOUGH_DUE, LONGEST_WITHOUT_SWEEP_SECONDS, SWEEP_SECONDS, TRUST, TRUST_IN_A_CROWD


@mostly_sqlite
def test_a_killed_valkey_costs_nothing_but_bells(database: LiveDatabase, install: Install) -> None:
    """Setup: a worker, 100 events a second.

    Timeline: Valkey is killed; 100 events are accepted without it, and delivered; it is started again, empty; 100 more.
    What this proves: publishing needs SQL alone; workers find by themselves what is due, go back to the bell, and
    need no restart; nothing comes twice.
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
    its end; and everybody goes back to the bell.
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
    What this proves: no request waits for the bell, and workers notice that nobody answers them.
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


def test_by_their_constants_workers_find_within_10_seconds_what_no_bell_tells_of() -> None:
    assert TRUST_IN_A_CROWD.total_seconds() + SWEEP_SECONDS < 10
    assert TRUST.total_seconds() + LONGEST_WITHOUT_SWEEP_SECONDS + SWEEP_SECONDS < 10


@mostly_postgres
def test_bells_that_were_flushed_are_rung_again_within_10_seconds(database: LiveDatabase, install: Install) -> None:
    """Setup: default settings, no worker, 500 events whose bells wait in Redis.

    Timeline: FLUSHALL; a worker starts.
    What this proves: within 10 seconds all is delivered that no bell tells of any more.
    """
    installation = install(database, {})
    tenant = installation.add_tenant("/hook")
    tenant.publish(500)
    installation.valkey.flush()
    installation.new_worker().start()
    installation.check(within=10)


@mostly_sqlite
def test_a_sweep_that_nobody_makes_is_made_by_somebody(database: LiveDatabase, install: Install) -> None:
    """Setup: default settings; in Redis a key says, and will say for ever, that somebody is at sweeping.

    Timeline: so it is when Valkey's clock is set back, for its keys expire by it. 100 events whose bells are lost; a
    worker starts.
    What this proves: workers do not rely on Redis for whose turn it is.
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
def test_a_crowd_of_bells_does_not_stop_the_sweeper(database: LiveDatabase, install: Install) -> None:
    """Setup: 50,000 ids are rung for that nobody has anything to send of.

    Timeline: 100 events whose bells are lost; a worker starts.
    What this proves: much to hear is no excuse: what is due is delivered within 10 seconds, before
    most of the crowd is heard.
    """
    installation = install(database, {})
    tenant = installation.add_tenant("/hook")
    tenant.publish(100)
    with installation.valkey.client() as client:
        client.flushall()
        client.rpush(DUE, *[new_id() for _ in range(50_000)])
    installation.new_worker().start()
    installation.check(within=10)
    with installation.valkey.client() as client:
        assert client.llen(DUE) > ENOUGH_DUE
