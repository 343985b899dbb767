"""The API killed under load: what it had answered with a 2xx is there."""

from __future__ import annotations

from tests.acceptance.conftest import Install, mostly_postgres
from tests.support.databases import LiveDatabase
from tests.support.installation import PATIENT


@mostly_postgres
def test_events_accepted_by_a_killed_api_are_delivered_once(database: LiveDatabase, install: Install) -> None:
    """Setup: the API, a worker, two endpoints, 100 events a second.

    Timeline: the API is killed under load and started again.
    What this proves: a 2xx comes after the commit; notifications lost with the API are recovered; nothing comes twice.
    """
    installation = install(database, PATIENT)
    tenant = installation.add_tenant("/one", "/two")
    installation.start()
    with tenant.publishing():
        tenant.accept(100)
        installation.api.kill()
        installation.api.start()
        tenant.accept(50)
    assert tenant.published.unanswered
    installation.check()
