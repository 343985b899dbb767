"""The product in one process without servers: real database and wire, and a clock, rng and queue of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sendoff.accounts import organizations
from sendoff.accounts.authentication import SCOPES, Principal
from sendoff.audit import Actor
from sendoff.clock import FakeClock
from sendoff.context import Context
from sendoff.delivery.dispatcher import Dispatcher
from sendoff.endpoint_health.draining import drain_inactive_endpoints
from sendoff.endpoints.fields import NewEndpoint
from sendoff.endpoints.manage import RegisteredEndpoint, register_endpoint
from sendoff.idempotency import StoredResponse
from sendoff.processes.startup import open_context
from sendoff.publishing.operational_events import publish_operational_events
from sendoff.publishing.publish import AcceptedEvent, NewEvent, publish
from sendoff.recovery.sweep import sweep
from sendoff.settings import load
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import accounts
from tests.support.polling import eventually
from tests.support.uncounted import uncounted_redis

START = datetime(2026, 4, 24, 12, 34, 56, 789_000, tzinfo=UTC)
ACTOR = Actor(name="test")


@dataclass
class ListQueue:
    """A work queue that collects the ids it gets in lists."""

    deliveries: list[str] = field(default_factory=list)
    backlog: set[str] = field(default_factory=set)
    uploads: list[str] = field(default_factory=list)
    replays: list[str] = field(default_factory=list)

    def enqueue_deliveries(self, delivery_ids: Iterable[str], endpoint_ids: Mapping[str, str] | None = None) -> None:
        self.deliveries.extend(delivery_ids)

    def enqueue_backlog(self, endpoint_ids: Iterable[str]) -> None:
        self.backlog.update(endpoint_ids)

    def enqueue_uploads(self, upload_ids: Iterable[str]) -> None:
        self.uploads.extend(upload_ids)

    def enqueue_replays(self, replay_ids: Iterable[str]) -> None:
        self.replays.extend(replay_ids)

    async def close(self) -> None:
        """Nothing to let go of."""


@dataclass
class AppFixture:
    """An installation with one organization, and a worker that runs on demand."""

    context: Context
    clock: FakeClock
    queue: ListQueue
    principal: Principal

    async def register(self, url: str, *events: str, **fields: Any) -> RegisteredEndpoint:
        """An endpoint of the organization; its receiver has answered the ping."""
        new = NewEndpoint(url=url, events=list(events) or None, **fields)
        return await register_endpoint(self.context, self.principal, ACTOR, new)

    async def publish(self, *events: NewEvent) -> list[AcceptedEvent]:
        """Publish, by default one `upload.completed`."""
        accepted: list[AcceptedEvent] = []

        def answer(found: list[AcceptedEvent]) -> StoredResponse:
            accepted.extend(found)
            return StoredResponse(202, b"")

        chosen = events or (NewEvent("upload.completed", b'{"upload":{"id":"1"}}'),)
        await publish(self.context, self.principal.organization_id, chosen, answer=answer)
        return accepted

    async def work(self) -> None:
        """Deliver all queued and due deliveries, until none is left."""
        dispatcher = Dispatcher(self.context)
        while True:
            await sweep(self.context)
            await drain_inactive_endpoints(self.context)
            await publish_operational_events(self.context)
            queued, self.queue.deliveries = self.queue.deliveries, []
            backlog, self.queue.backlog = self.queue.backlog, set()
            if not queued and not backlog:
                break
            dispatcher.backlog_available(backlog)
            await dispatcher.submit(queued)
            await eventually(lambda: dispatcher.is_idle, within=30, what=lambda: "an idle dispatcher")
        await dispatcher.drain(0)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A look at the database."""
        async with self.context.database.read() as tx:
            yield tx


@asynccontextmanager
async def open_app(database_url: str, **settings: object) -> AsyncIterator[AppFixture]:
    """An app on a migrated database; `settings` by field name."""
    overrides: dict[str, object] = {
        "database_url": database_url,
        "secret_keys": ["k" * 32],
        "dangerously_allow_networks": "127.0.0.0/8",
        "dangerously_allow_http": True,
        "redis_url": "redis://127.0.0.1:1",
    }
    clock, queue = FakeClock(START), ListQueue()
    async with open_context(load(**{**overrides, **settings})) as opened:
        redis = opened.redis if "redis_url" in settings else uncounted_redis()
        context = replace(opened, clock=clock, queue=queue, redis=redis, random_source=lambda: 0.0)
        organization = await organizations.create_organization(context, ACTOR, name="Acme", credits=1_000)
        minted = await organizations.create_key(
            context, ACTOR, organization_id=organization.id, email="dev@example.com", scopes=SCOPES
        )
        async with context.database.read() as tx:
            key = await accounts.find_key(tx, minted.id)
        assert key is not None
        principal = Principal(key.id, key.prefix, key.organization_id, key.user_id, frozenset(key.scopes))
        yield AppFixture(context, clock, queue, principal)
