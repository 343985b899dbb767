"""Who publishes and who receives: organizations with a key each, and their endpoints.

Made by the product's own operations in this process, because the command line takes seconds for each key and the API
takes 60 registrations a minute; every endpoint answers its ping like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from bench.options import Options
from sendoff.operations import accounts
from sendoff.operations.actors import Actor
from sendoff.operations.authenticate import EVENTS_WRITE, WEBHOOKS_MANAGE, authenticate
from sendoff.operations.endpoints import NewEndpoint, register_endpoint
from sendoff.operations.runtime import Runtime, open_runtime
from sendoff.settings import load

EVENT_TYPE = "upload.completed"

_ACTOR = Actor(name="bench")
_AT_ONCE = 8


async def found_town(environment: Mapping[str, str], options: Options, hosts: Sequence[str], port: int) -> list[str]:
    """Make it, and give the organizations' keys."""
    settings = load(**{name.removeprefix("SENDOFF_").lower(): value for name, value in environment.items()})
    urls = [f"http://{hosts[number % len(hosts)]}:{port}/hook/{number}" for number in range(options.endpoints)]
    turns = asyncio.Semaphore(_AT_ONCE)
    async with open_runtime(settings) as runtime:

        async def found(number: int) -> str:
            async with turns:
                ours = urls[number * options.fanout : (number + 1) * options.fanout]
                return await _found_organization(runtime, f"Bench {number}", ours)

        return await asyncio.gather(*(found(number) for number in range(options.organizations)))


async def _found_organization(runtime: Runtime, name: str, urls: Sequence[str]) -> str:
    organization = await accounts.create_organization(runtime, _ACTOR, name=name, credits=None)
    minted = await accounts.create_key(
        runtime,
        _ACTOR,
        organization_id=organization.id,
        email=f"{organization.id}@example.com",
        scopes=(EVENTS_WRITE, WEBHOOKS_MANAGE),
    )
    principal = await authenticate(runtime, f"Bearer {minted.key}")
    for first in range(0, len(urls), _AT_ONCE):
        chunk = [NewEndpoint(url, events=(EVENT_TYPE,)) for url in urls[first : first + _AT_ONCE]]
        await asyncio.gather(*(register_endpoint(runtime, principal, _ACTOR, endpoint) for endpoint in chunk))
    return minted.key
