"""A replay into one endpoint goes behind what that endpoint is to get now."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from sendoff.audit import Actor
from sendoff.operators.replays.replay import Selection, start_replay
from sendoff.processes.startup import open_context
from sendoff.settings import load
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from tests.acceptance.conftest import Install, mostly_sqlite
from tests.support.databases import LiveDatabase
from tests.support.installation import PATIENT, Installation
from tests.support.latency import Latencies, note
from tests.support.polling import eventually_blocking

DEAD_LETTERS = 5_000
REPLAYED = int(os.environ.get("CHAOS_EVENTS", "10000"))
PATIENCE_SECONDS = 150 + REPLAYED / 100


async def replay_everything(installation: Installation) -> None:
    async with open_context(load(**installation.settings)) as context:
        await start_replay(context, Actor(name="test"), Selection(DeadLetterFilter()), rate=5_000)


@mostly_sqlite
@pytest.mark.chaos
def test_a_replay_into_one_endpoint_is_about_as_fast_as_plain_delivery(
    database: LiveDatabase, install: Install
) -> None:
    """Setup: two workers and an endpoint that answers at once, with a backlog of new events, then of dead letters.

    Timeline: the backlog is delivered; then as many dead letters are replayed.
    What this proves: the replay, which feeds the endpoint piece by piece, takes at most three times as long.
    """
    installation = install(database, {**PATIENT, "RETRY_SCHEDULE": "none", "DISABLE_AFTER_FAILURES": "1000000"})
    tenant = installation.add_tenant("/hook")
    installation.receiver.program("/hook", 500)
    installation.start(workers=2)
    tenant.publish(REPLAYED)
    eventually_blocking(lambda: installation.count("dead") == REPLAYED, within=PATIENCE_SECONDS, what="dead letters")
    installation.receiver.program("/hook", 200)
    dead = set(tenant.published.accepted)
    for worker in installation.workers:
        worker.stop()
    tenant.publish(REPLAYED)
    for worker in installation.workers:
        worker.launch()
    for worker in installation.workers:
        worker.wait_until_ready()
    wait_for(installation, REPLAYED)
    new = [one.first_at for one in installation.receiver.receipts() if one.event_id not in dead]
    plain = max(new) - min(new)
    began = time.monotonic()
    asyncio.run(replay_everything(installation))
    wait_for(installation, 2 * REPLAYED)
    replay = time.monotonic() - began
    note("replay", f"{REPLAYED} into one endpoint: {REPLAYED / plain:.0f}/s new, {REPLAYED / replay:.0f}/s replayed")
    assert replay < 3 * plain


def wait_for(installation: Installation, delivered: int) -> None:
    eventually_blocking(
        lambda: installation.count("delivered") >= delivered,
        within=PATIENCE_SECONDS,
        every=0.2,
        what=f"{delivered} delivered",
    )


@mostly_sqlite
@pytest.mark.chaos
def test_live_events_of_an_endpoint_go_before_those_replayed_into_it(database: LiveDatabase, install: Install) -> None:
    """Setup: two workers, an endpoint with 5,000 dead letters, which answers again.

    Timeline: all of them are replayed at once; meanwhile 50 events a second are published for the endpoint.
    What this proves: nearly all of those arrive while the replay goes on, and hardly any waits behind it.
    """
    installation = install(database, {**PATIENT, "RETRY_SCHEDULE": "none", "DISABLE_AFTER_FAILURES": "1000000"})
    tenant = installation.add_tenant("/hook")
    installation.receiver.program("/hook", 500)
    installation.start(workers=2)
    tenant.publish(DEAD_LETTERS)
    eventually_blocking(lambda: installation.count("dead") == DEAD_LETTERS, within=120, what="dead letters")
    replayed = set(tenant.published.accepted)
    installation.receiver.program("/hook", 200)
    began = time.monotonic()
    asyncio.run(replay_everything(installation))
    with tenant.publishing(rate=50):
        eventually_blocking(
            lambda: installation.count("delivered") >= DEAD_LETTERS, within=120, every=0.2, what="the replay delivered"
        )
        lasted = time.monotonic() - began
    installation.wait_until_done()
    live = Latencies.of(tenant.published, installation.receiver.receipts(), leaving_out=replayed)
    note("replay", f"{DEAD_LETTERS} into one endpoint in {lasted:.1f} s; live events into it meanwhile: {live}")
    assert live.quantile(0.9) < lasted / 5
