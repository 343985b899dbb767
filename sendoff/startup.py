"""Open what a process works with: the context on the settings' database, Redis and network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from sendoff.clock import SharedClock, SystemClock
from sendoff.context import Context
from sendoff.dialects.branded import BrandedDialect
from sendoff.dialects.registry import Dialects
from sendoff.policy.addresses import AddressPolicy
from sendoff.queue import RedisQueue, connect
from sendoff.server_time import following_server_time
from sendoff.settings import BadSettings, Settings
from sendoff.store.engine.database import Database
from sendoff.store.vault import Vault
from sendoff.wire.http.client import Client
from sendoff.wire.tls.trust import default_ssl_context


def address_policy(settings: Settings) -> AddressPolicy:
    """What the address guard lets through besides public addresses."""
    return AddressPolicy(
        allow_networks=tuple(settings.dangerously_allow_networks), allow_http=settings.dangerously_allow_http
    )


def branded_dialect(settings: Settings) -> BrandedDialect:
    """What this installation's product calls its own. Raises BadSettings for names that no header can have."""
    try:
        return BrandedDialect(
            brand=settings.brand,
            api_version=settings.dialect_api_version,
            header_prefix=settings.dialect_header_prefix,
            user_agent=settings.dialect_user_agent,
            signature_header=settings.dialect_signature_header,
            scheme=settings.dialect_signature_scheme,
            envelope=settings.dialect_envelope,
        )
    except ValueError as error:
        raise BadSettings(f"SENDOFF_BRAND or SENDOFF_DIALECT_…: {error}") from None


@asynccontextmanager
async def open_context(settings: Settings, *, pool_size: int = 10) -> AsyncIterator[Context]:
    """A context on the settings' database, Redis and network; closed at the end of the block.

    Raises errors.WrongSchema when the database needs `sendoff migrate` first.
    """
    database = Database.open(
        settings.database_url,
        pool_size=pool_size,
        prepared_statements=settings.database_prepared_statements,
        connection_seconds=settings.database_connection_seconds,
    )
    clock = SharedClock(SystemClock())
    redis = connect(settings)
    queue = RedisQueue(redis)
    addresses = address_policy(settings)
    new_ssl_context = partial(default_ssl_context, settings.ca_file)
    wire = Client(
        addresses, ssl_context=new_ssl_context(), new_ssl_context=new_ssl_context, proxy=settings.egress_proxy_url
    )
    try:
        await database.check_schema()
        context = Context(
            clock=clock,
            settings=settings,
            database=database,
            vault=Vault([key.get_secret_value() for key in settings.secret_keys]),
            queue=queue,
            redis=redis,
            wire=wire,
            addresses=addresses,
            dialects=Dialects(branded_dialect(settings)),
        )
        try:
            async with following_server_time(database, clock):
                yield context
        finally:
            await context.close_services()
    finally:
        await wire.aclose()
        await queue.close()
        await database.close()
