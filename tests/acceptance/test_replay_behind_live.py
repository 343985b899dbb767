"""A replay into one endpoint goes behind what that endpoint is to get now."""

from __future__ import annotations

import asyncio
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


async def replay_everything(installation: Installation) -> None:
    async with open_context(load(**installation.settings)) as context:
        await start_replay(context, Actor(name="test"), Selection(DeadLetterFilter()), rate=5_000)


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
