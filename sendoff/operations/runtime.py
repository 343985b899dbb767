"""What operations work with: made once per process, handed to each of them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property

import httpx
from redis.asyncio import Redis

from sendoff.bell import Bell, RedisBell, connect
from sendoff.clock import Clock, SystemClock
from sendoff.dialects.house import HouseDialect
from sendoff.dialects.registry import Dialects
from sendoff.operations.jwks import KeySet, reader
from sendoff.policy.addresses import AddressPolicy
from sendoff.policy.breaker import Breaker
from sendoff.policy.retry import Dice, RetrySchedule
from sendoff.settings import BadSettings, Settings
from sendoff.store.database import Database
from sendoff.store.vault import Vault
from sendoff.uploads.workshop import Workshop
from sendoff.wire.client import Client
from sendoff.wire.tls import default_ssl_context
from sendoff.wire.transport import GuardedTransport

_LARGEST_DOCUMENT_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Runtime:
    """The process's settings, clock, dice and ways out: database, vault, bell, Redis, wire.

    Whatever goes to an address that somebody else chose leaves by `wire`. `under_way` is the bookkeeping of
    operations/idempotency.py: what this process is at, by organization and Idempotency-Key.
    """

    settings: Settings
    database: Database
    vault: Vault
    bell: Bell
    redis: Redis
    wire: Client
    dialects: Dialects = field(default_factory=Dialects)
    clock: Clock = field(default_factory=SystemClock)
    dice: Dice = random.random
    under_way: dict[tuple[str, str], str] = field(default_factory=dict, repr=False)

    @cached_property
    def addresses(self) -> AddressPolicy:
        return address_policy(self.settings)

    @cached_property
    def schedule(self) -> RetrySchedule:
        return RetrySchedule(tuple(self.settings.retry_schedule))

    @cached_property
    def breaker(self) -> Breaker:
        return Breaker(self.settings.disable_after_failures, self.settings.warn_after_failures)

    @cached_property
    def jwks(self) -> KeySet:
        """The keys that OAuth access tokens are checked with; only with the setting `OAUTH_JWKS`."""
        return KeySet(reader(self.settings.oauth_jwks or "", lambda: _open_http(self.settings)), self.clock)

    @cached_property
    def uploads(self) -> Workshop:
        return Workshop(self.settings)


def address_policy(settings: Settings) -> AddressPolicy:
    """What the address guard lets through besides public addresses."""
    return AddressPolicy(
        allow_networks=tuple(settings.dangerously_allow_networks), allow_http=settings.dangerously_allow_http
    )


def house_dialect(settings: Settings) -> HouseDialect:
    """What this installation's product calls its own. Raises BadSettings for names that no header can have."""
    try:
        return HouseDialect(
            brand=settings.brand,
            api_version=settings.house_api_version,
            header_prefix=settings.house_header_prefix,
            user_agent=settings.house_user_agent,
            signature_header=settings.house_signature_header,
            scheme=settings.house_signature_scheme,
            envelope=settings.house_envelope,
        )
    except ValueError as error:
        raise BadSettings(f"SENDOFF_BRAND or SENDOFF_HOUSE_…: {error}") from None


@asynccontextmanager
async def _open_http(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The guarded way out for documents that are larger than a receiver's answer is worth keeping."""
    addresses = address_policy(settings)
    context = default_ssl_context(settings.ca_file)
    async with Client(
        addresses, ssl_context=context, proxy=settings.egress_proxy_url, body_cap=_LARGEST_DOCUMENT_BYTES
    ) as wire:
        transport = GuardedTransport(wire, addresses)
        async with httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False) as client:
            yield client


@asynccontextmanager
async def open_runtime(settings: Settings, *, pool_size: int = 10) -> AsyncIterator[Runtime]:
    """A runtime on the settings' database, Redis and network; closed at the end of the block.

    Raises errors.WrongSchema when the database needs `sendoff migrate` first.
    """
    database = Database.open(settings.database_url, pool_size=pool_size)
    redis = connect(settings)
    bell = RedisBell(redis)
    wire = Client(
        address_policy(settings),
        ssl_context=default_ssl_context(settings.ca_file),
        proxy=settings.egress_proxy_url,
    )
    try:
        await database.check_schema()
        yield Runtime(
            settings=settings,
            database=database,
            vault=Vault([key.get_secret_value() for key in settings.secret_keys]),
            bell=bell,
            redis=redis,
            wire=wire,
            dialects=Dialects(house_dialect(settings)),
        )
    finally:
        await wire.aclose()
        await bell.close()
        await database.close()
