"""A tenant of an installation under test: an organization with endpoints, and a backend that publishes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice

import orjson

from sendoff.accounts.authentication import EVENTS_WRITE, authenticate
from sendoff.accounts.organizations import create_key, create_organization
from sendoff.audit import Actor
from sendoff.endpoints.fields import NewEndpoint
from sendoff.endpoints.manage import register_endpoint
from sendoff.idempotency import StoredResponse
from sendoff.processes.startup import open_context
from sendoff.publishing.publish import MAX_DELIVERIES, AcceptedEvent, NewEvent, publish
from sendoff.settings import load
from tests.support.polling import eventually_blocking
from tests.support.publisher import EVENT_TYPE, Published, Publisher
from tests.support.uncounted import uncounted_redis

_ACTOR = Actor(name="test")
_BATCH = 1000


@dataclass
class Tenant:
    """`paths`: the receiver's path of each endpoint, by the endpoint's id."""

    settings: Mapping[str, str]
    port: int
    organization_id: str
    key: str
    paths: Mapping[str, str]
    published: Published = field(default_factory=Published)

    @contextmanager
    def publishing(self, *, rate: float = 100, threads: int = 4) -> Iterator[Published]:
        """Publish events to the API within the block, `rate` per second."""
        with Publisher(self.port, self.key, self.published, rate=rate, threads=threads).running() as published:
            yield published

    def publish(self, events: int) -> None:
        """Publish this number of events at once, without the API."""
        first = len(self.published.accepted) + 1
        asyncio.run(self._publish(range(first, first + events)))

    def accept(self, more: int, *, within: float = 30) -> None:
        """Wait until `more` events have been accepted from now on; call it within `publishing`."""
        wanted = len(self.published.accepted) + more
        eventually_blocking(
            lambda: len(self.published.accepted) >= wanted,
            within=within,
            what=lambda: f"{wanted} accepted events, got {len(self.published.accepted)}; {self._refusals()}",
        )

    async def _publish(self, numbers: Sequence[int]) -> None:
        accepted: list[AcceptedEvent] = []

        def answer(found: list[AcceptedEvent]) -> StoredResponse:
            accepted.extend(found)
            return StoredResponse(202, b"")

        events = iter([NewEvent(EVENT_TYPE, orjson.dumps({"number": number})) for number in numbers])
        at_once = min(_BATCH, max(1, MAX_DELIVERIES // len(self.paths)))
        async with open_context(load(**self.settings)) as context:
            while batch := list(islice(events, at_once)):
                await publish(context, self.organization_id, batch, answer=answer)
        self.published.accepted |= {event.id: number for event, number in zip(accepted, numbers, strict=True)}

    def _refusals(self) -> str:
        return f"unanswered {self.published.unanswered}, refused {self.published.refused[-3:]}"


async def open_tenant(
    settings: Mapping[str, str], port: int, urls: Sequence[str], paths: Sequence[str], *, ordered: bool = False
) -> Tenant:
    """A new organization with an endpoint for each URL, straight into the database that `settings` name."""
    async with open_context(load(**settings)) as opened:
        # Tests register a thousand endpoints at one host; the ping limit must not stop them.
        context = replace(opened, redis=uncounted_redis())
        organization = await create_organization(context, _ACTOR, name="Acme", credits=None)
        minted = await create_key(
            context, _ACTOR, organization_id=organization.id, email="ada@example.com", scopes=[EVENTS_WRITE]
        )
        principal = await authenticate(context, f"Bearer {minted.key}")
        chosen = [NewEndpoint(url=url, events=[EVENT_TYPE], ordered=ordered) for url in urls]
        ids = [(await register_endpoint(context, principal, _ACTOR, new)).endpoint.id for new in chosen]
    return Tenant(settings, port, organization.id, minted.key, dict(zip(ids, paths, strict=True)))
