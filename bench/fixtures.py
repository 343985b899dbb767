"""The organizations that publish, with a key each, and their endpoints.

Made by the product's own operations in this process, because the command line takes seconds for each key and the API
takes 60 registrations a minute; every endpoint answers its ping like any other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from bench.options import BenchOptions
from sendoff.accounts import organizations
from sendoff.accounts.authentication import EVENTS_WRITE, WEBHOOKS_MANAGE, authenticate
from sendoff.audit import Actor
from sendoff.context import Context
from sendoff.endpoints.fields import NewEndpoint
from sendoff.endpoints.manage import register_endpoint
from sendoff.processes.startup import open_context
from sendoff.settings import load
from tests.support.uncounted import uncounted_redis

EVENT_TYPE = "upload.completed"

_ACTOR = Actor(name="bench")
_AT_ONCE = 8


async def create_fixtures(
    environment: Mapping[str, str], options: BenchOptions, hosts: Sequence[str], port: int
) -> list[str]:
    """Create organizations and endpoints; returns the keys of the organizations."""
    urls = [f"http://{hosts[number % len(hosts)]}:{port}/hook/{number}" for number in range(options.endpoints)]
    return await register_urls(environment, urls, fanout=options.fanout)


async def register_urls(environment: Mapping[str, str], urls: Sequence[str], *, fanout: int) -> list[str]:
    """Register an endpoint for each URL, `fanout` for each new organization; returns the keys of those."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))  # not a line for each
    settings = load(**{name.removeprefix("SENDOFF_").lower(): value for name, value in environment.items()})
    turns = asyncio.Semaphore(_AT_ONCE)
    async with open_context(settings) as opened:
        # The benchmark registers a thousand endpoints at one host; the ping limit must not stop it.
        context = replace(opened, redis=uncounted_redis())

        async def found(number: int) -> str:
            async with turns:
                ours = urls[number * fanout : (number + 1) * fanout]
                return await _found_organization(context, f"Bench {number}", ours)

        return await asyncio.gather(*(found(number) for number in range(max(1, len(urls) // fanout))))


async def _found_organization(context: Context, name: str, urls: Sequence[str]) -> str:
    organization = await organizations.create_organization(context, _ACTOR, name=name, credits=None)
    minted = await organizations.create_key(
        context,
        _ACTOR,
        organization_id=organization.id,
        email=f"{organization.id}@example.com",
        scopes=(EVENTS_WRITE, WEBHOOKS_MANAGE),
    )
    principal = await authenticate(context, f"Bearer {minted.key}")
    for first in range(0, len(urls), _AT_ONCE):
        chunk = [NewEndpoint(url=url, events=[EVENT_TYPE]) for url in urls[first : first + _AT_ONCE]]
        await asyncio.gather(*(register_endpoint(context, principal, _ACTOR, endpoint) for endpoint in chunk))
    return minted.key
