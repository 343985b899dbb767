"""`sendoff listen` while the API that it asks is killed and stopped again and again."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.acceptance.conftest import Install
from tests.integration.cli.listener import Listener
from tests.support.databases import LiveDatabase
from tests.support.publisher import Publisher

RESTARTS = 10


@pytest.mark.chaos
def test_a_listener_shows_each_event_once_through_many_restarts(database: LiveDatabase, install: Install) -> None:
    """Setup: an API that a listener asks, a second one that a backend publishes to, no endpoint and no worker.

    Timeline: the first API is killed or stopped ten times; each time events are published until it is started again.
    What this proves: every event is shown once, and after each restart the listener says how many were missed.
    """
    installation = install(database)
    installation.start(workers=0)
    tenant = installation.add_tenant()
    second = installation.start_another_api()
    key = installation.new_key(tenant.organization_id, "webhooks:manage")
    missed: list[int] = []
    with Listener(f"http://127.0.0.1:{installation.port}", key) as listener:
        assert "listening on" in listener.said()
        with Publisher(second, tenant.key, tenant.published, rate=20, threads=2).running():
            for number in range(RESTARTS):
                tenant.accept(20, within=60)
                if number % 2:
                    installation.api.kill()
                else:
                    assert installation.api.stop() == 0
                assert "Trying again" in listener.said()
                tenant.accept(20, within=60)
                installation.api.start()
                said = re.search(r"connected again; (\d+) missed", listener.said())
                assert said is not None
                missed.append(int(said[1]))
        accepted = tenant.published.accepted
        shown = Counter(listener.event()["event"]["id"] for _ in accepted)
        code, more, told = listener.end()
    assert shown == Counter(accepted.keys())
    assert (code, more) == (0, "")
    assert told == f"-- {len(accepted)} shown, 0 not answered with 2xx\n"
    assert min(missed) >= 20
