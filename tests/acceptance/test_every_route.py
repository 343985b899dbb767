"""Every route while its dependencies fail: clients get a 503 with Retry-After, never a 500."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from sendoff.accounts.authentication import SCOPES
from sendoff.accounts.organizations import create_key, set_credits
from sendoff.audit import Actor
from sendoff.processes.startup import open_context
from sendoff.settings import load
from tests.acceptance.conftest import Install
from tests.integration.api.every_route import CALLS, DIALBIRD
from tests.support.databases import PostgresDatabase, Row
from tests.support.installation import STEADY, Installation
from tests.support.polling import eventually_blocking
from tests.support.random_clients import RandomClients, Route

UNLIMITED = {"ANONYMOUS_RATE_LIMIT": "1000000", "CLIENT_RATE_LIMIT": "1000000"}
KEYS = 30  # each of them may write sixty times a minute
CALLS_BETWEEN_FAULTS = 300
FAULT_SECONDS = 0.5
ACTOR = Actor(name="test")


async def make_keys(installation: Installation, organization_id: str) -> list[str]:
    """Keys of the organization with every scope, and credits for uploads."""
    async with open_context(load(**installation.settings)) as context:
        await set_credits(context, ACTOR, organization_id, 10**9)
        minted = [
            await create_key(
                context,
                ACTOR,
                organization_id=organization_id,
                email=f"dev{number}@example.com",
                scopes=SCOPES,
            )
            for number in range(KEYS)
        ]
    return [key.key for key in minted]


def all_routes(installation: Installation) -> list[Route]:
    """Every route, with bodies that change something where there is something to change."""
    hook = installation.receiver.url("/hook")
    numbers = iter(range(10**9))
    bodies: dict[tuple[str, str], Callable[[], object]] = {
        ("POST", "/api/v1/webhooks"): lambda: {"url": hook},
        ("POST", "/api/v1/uploads"): lambda: {"phone_numbers": [f"+1415555{number}" for number in range(2000, 2200)]},
        ("POST", "/api/v1/subscriptions"): lambda: {
            "event_type": "message.incoming.received",
            "target_url": f"{hook}/{next(numbers)}",
        },
        ("POST", "/operator/v1/replays"): lambda: {"filter": {}, "all": True, "dry_run": next(numbers) % 2 == 0},
        ("PATCH", "/operator/v1/endpoints/{endpoint_id}"): lambda: {"rate_limit": 1000},
        ("PATCH", "/api/v1/subscriptions/{subscription_id}"): lambda: {"status": "disabled"},
    }
    # With these, all other calls would soon be refused, and no worker would be left.
    ends = {
        ("POST", "/operator/v1/workers/{worker_id}/drain"),
        ("POST", "/operator/v1/organizations/{organization}/suspend"),
        ("POST", "/operator/v1/keys/{key_id}/revoke"),
    }
    plain = {route: (lambda call=call: call.body) for route, call in CALLS.items() if route not in ends}
    known = {route: (lambda: None) for route in DIALBIRD} | plain | bodies
    routes = [Route(method, path, body) for (method, path), body in sorted(known.items())]
    publish = [route for route in routes if (route.method, route.path) == ("POST", "/api/v1/events")]
    return routes + publish * len(routes)  # which is most of what an API is asked


def unfinished(database: PostgresDatabase) -> list[Row]:
    """How much of what was begun has not come to an end, by kind and state."""
    return database.query("""
        SELECT 'delivery', state, count(*) FROM deliveries WHERE state NOT IN ('delivered', 'dead') GROUP BY state
        UNION ALL
        SELECT 'upload', status, count(*) FROM uploads WHERE status LIKE '%processing' GROUP BY status
        UNION ALL
        SELECT 'replay', state, count(*) FROM replays WHERE state = 'running' GROUP BY state
    """)


@pytest.mark.parametrize("faults", [4, pytest.param(60, marks=pytest.mark.chaos)])
def test_no_route_says_500_whatever_is_stopped(
    crashing_postgres: PostgresDatabase, install: Install, faults: int
) -> None:
    """Setup: the API and a worker on PostgreSQL, clients that call every route in any order with every scope.

    Timeline: PostgreSQL and Valkey are stopped, killed and frozen in turns, each for a moment under calls.
    What this proves: requests that fail get a 503 with Retry-After; every request is answered, nothing is lost,
    and each process goes on by itself.
    """
    installation = install(crashing_postgres, {**STEADY, **UNLIMITED})
    tenant = installation.add_tenant("/hook")
    installation.start()
    keys = asyncio.run(make_keys(installation, tenant.organization_id))
    server, valkey = crashing_postgres.server, installation.valkey
    ways = [
        (server.stop, server.start),
        (valkey.kill, valkey.start),
        (server.kill, server.start),
        (server.freeze, server.thaw),
        (valkey.freeze, valkey.thaw),
    ]
    random_clients = RandomClients(f"http://127.0.0.1:{installation.port}", keys, all_routes(installation))
    with random_clients.calling() as answers:

        def go_on(calls: int) -> None:
            wanted = answers.statuses.total() + calls
            eventually_blocking(lambda: answers.statuses.total() >= wanted, within=60, what=lambda: str(answers))

        for number in range(faults):
            go_on(CALLS_BETWEEN_FAULTS)
            begin, end = ways[number % len(ways)]
            begin()
            try:
                time.sleep(FAULT_SECONDS)
            finally:
                end()
        go_on(CALLS_BETWEEN_FAULTS)
    assert answers.forbidden == []
    assert ("POST", "/api/v1/events") in answers.routes_with(503)
    assert len(answers.routes_with(200, 202)) > len(CALLS) / 2
    eventually_blocking(
        lambda: not unfinished(crashing_postgres), within=120, what=lambda: str(unfinished(crashing_postgres))
    )
    installation.audit()
