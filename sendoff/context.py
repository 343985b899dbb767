"""What an operation works with: made once per process, handed to each operation."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar, cast

from sendoff.clock import Clock, SystemClock
from sendoff.dialects.registry import Dialects
from sendoff.policy.delivery.auto_disable import AutoDisable
from sendoff.policy.delivery.retry import RandomSource, RetrySchedule
from sendoff.policy.operational_events import OPERATORS
from sendoff.store.hot import HotStore, open_hot_store

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from sendoff.observability.tracing import Tracer
    from sendoff.policy.endpoints.addresses import AddressPolicy
    from sendoff.queue import Queue
    from sendoff.settings import Settings
    from sendoff.store.engine.database import Database
    from sendoff.store.vault import Vault
    from sendoff.wire.alert_wire import AlertWire
    from sendoff.wire.http.client import Client

T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """The process's settings, clock, random numbers and ways out: database, vault, queue, Redis, wire.

    Requests to addresses that customers choose are sent by `wire` alone. `under_way` belongs to idempotency.py: the
    requests that this process works on, by organization and Idempotency-Key.
    """

    settings: Settings
    database: Database
    vault: Vault
    queue: Queue
    redis: Redis
    wire: Client
    addresses: AddressPolicy
    alert_wire: AlertWire | None = None
    """What `wire` is to alert endpoints; None sends to them as to customers' endpoints."""
    alert_addresses: AddressPolicy | None = None
    dialects: Dialects = field(default_factory=Dialects)
    clock: Clock = field(default_factory=SystemClock)
    random_source: RandomSource = random.random
    tracer: Tracer | None = None
    """Makes the spans of publishing and delivering; None unless traces are sent somewhere."""
    under_way: dict[tuple[str, str], str] = field(default_factory=dict, repr=False)
    _services: dict[Callable[[Context], object], object] = field(default_factory=dict, repr=False)

    @cached_property
    def hot(self) -> HotStore:
        """The statements of every delivery, on this context's database."""
        return open_hot_store(self.database)

    @cached_property
    def schedule(self) -> RetrySchedule:
        return RetrySchedule(tuple(self.settings.retry_schedule))

    @cached_property
    def auto_disable(self) -> AutoDisable:
        return AutoDisable(
            self.settings.disable_after_failures,
            self.settings.warn_after_failures,
            timedelta(seconds=self.settings.disable_after_seconds),
        )

    def wire_of(self, organization_id: str | None) -> Client | AlertWire:
        """The way out to the organization's endpoints."""
        return self.alert_wire if organization_id == OPERATORS and self.alert_wire is not None else self.wire

    def addresses_of(self, organization_id: str | None) -> AddressPolicy:
        """Which addresses the organization's endpoints may have."""
        if organization_id == OPERATORS and self.alert_addresses is not None:
            return self.alert_addresses
        return self.addresses

    def service(self, make: Callable[[Context], T]) -> T:
        """What `make` returns for this context, made at the first call and kept: for what one subsystem alone needs."""
        if make not in self._services:
            self._services[make] = make(self)
        return cast("T", self._services[make])

    async def close_services(self) -> None:
        """Close those services that have an `aclose`; of no use afterwards."""
        for service in self._services.values():
            aclose = getattr(service, "aclose", None)
            if aclose is not None:
                await aclose()
