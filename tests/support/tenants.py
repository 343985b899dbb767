"""A tenant of an installation under test: an organization with endpoints, and a backend that publishes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from sendoff.operations.accounts import create_key, create_organization
from sendoff.operations.actors import Actor
from sendoff.operations.authenticate import EVENTS_WRITE, authenticate
from sendoff.operations.endpoints import NewEndpoint, register_endpoint
from sendoff.operations.runtime import open_runtime
from sendoff.settings import load
from tests.support.polling import eventually_blocking
from tests.support.publisher import EVENT_TYPE, Published, Publisher

_ACTOR = Actor(name="test")
_BATCH = 1000


@dataclass
class Tenant:
    """`paths`: the receiver's path of each endpoint, by the endpoint's id."""

    port: int
    key: str
    paths: Mapping[str, str]
    published: Published = field(default_factory=Published)

    @contextmanager
    def publishing(self, *, rate: float = 100, threads: int = 4) -> Iterator[Published]:
        """Publish events within the block, so many per second."""
        with Publisher(self.port, self.key, self.published, rate=rate, threads=threads).running() as published:
            yield published

    def publish(self, events: int) -> None:
        """Publish so many events at once, all of which must be accepted."""
        publisher = Publisher(self.port, self.key, self.published, rate=1)
        for first in range(0, events, _BATCH):
            assert publisher.publish_at_once(min(_BATCH, events - first)), "a batch was refused; see the API's log"

    def accept(self, more: int, *, within: float = 30) -> None:
        """Wait until so many more events than now are accepted; somebody must be publishing."""
        wanted = len(self.published.accepted) + more
        eventually_blocking(
            lambda: len(self.published.accepted) >= wanted,
            within=within,
            what=lambda: f"{wanted} accepted events, got {len(self.published.accepted)}; {self._refusals()}",
        )

    def _refusals(self) -> str:
        return f"unanswered {self.published.unanswered}, refused {self.published.refused[-3:]}"


async def open_tenant(settings: Mapping[str, str], port: int, urls: Sequence[str], paths: Sequence[str]) -> Tenant:
    """A new organization with an endpoint for each URL, straight into the database that `settings` name."""
    async with open_runtime(load(**settings)) as runtime:
        organization = await create_organization(runtime, _ACTOR, name="Acme", credits=None)
        minted = await create_key(
            runtime, _ACTOR, organization_id=organization.id, email="ada@example.com", scopes=[EVENTS_WRITE]
        )
        principal = await authenticate(runtime, f"Bearer {minted.key}")
        chosen = [NewEndpoint(url, events=(EVENT_TYPE,)) for url in urls]
        ids = [(await register_endpoint(runtime, principal, _ACTOR, new)).endpoint.id for new in chosen]
    return Tenant(port, minted.key, dict(zip(ids, paths, strict=True)))
