"""Open what a process works with: the context on the settings' database, Redis and network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from sendoff.clock import SharedClock, SystemClock
from sendoff.context import Context
from sendoff.dialects.branded import BrandedDialect
from sendoff.dialects.registry import Dialects
from sendoff.errors import BadSettings
from sendoff.observability.tracing import open_tracer
from sendoff.policy.endpoints.addresses import AddressPolicy
from sendoff.processes.process import descriptor_limit
from sendoff.queue import RedisQueue, connect
from sendoff.server_time import following_server_time
from sendoff.server_urls.smtp import parse_smtp_url
from sendoff.settings import Settings
from sendoff.store.engine.database import Database
from sendoff.store.vault import Vault
from sendoff.wire.alert_wire import AlertWire
from sendoff.wire.http.client import MOST_IDLE_CONNECTIONS, Client
from sendoff.wire.smtp import Mailer
from sendoff.wire.tls.trust import default_ssl_context


def address_policy(settings: Settings) -> AddressPolicy:
    """What the address guard lets through besides public addresses."""
    return AddressPolicy(
        allow_networks=tuple(settings.dangerously_allow_networks), allow_http=settings.dangerously_allow_http
    )


def alert_address_policy(settings: Settings) -> AddressPolicy:
    """What the address guard lets through to alert endpoints, which operators register."""
    return AddressPolicy(
        allow_networks=(*settings.dangerously_allow_networks, *settings.alert_allow_networks),
        allow_http=settings.dangerously_allow_http or settings.alert_allow_http,
        allow_mail=True,
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
async def open_context(
    settings: Settings, *, pool_size: int = 10, traced_as: str | None = None
) -> AsyncIterator[Context]:
    """A context on the settings' database, Redis and network; closed at the end of the block.

    `traced_as` names the service in traces; without it none are made.
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
    queue = RedisQueue(redis, key_tag=settings.redis_key_tag)
    addresses = address_policy(settings)
    wire = _open_wire(settings, addresses)
    alert_addresses = alert_address_policy(settings)
    alert_wire = _open_alert_wire(settings, alert_addresses, wire)
    tracer = None if traced_as is None else open_tracer(traced_as)
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
            alert_wire=alert_wire,
            alert_addresses=alert_addresses,
            dialects=Dialects(branded_dialect(settings)),
            tracer=tracer,
        )
        try:
            async with following_server_time(database, clock):
                yield context
        finally:
            await context.close_services()
    finally:
        if tracer is not None:
            await tracer.aclose()
        await alert_wire.aclose()
        await wire.aclose()
        await queue.close()
        await database.close()


def _open_wire(settings: Settings, addresses: AddressPolicy) -> Client:
    new_ssl_context = partial(default_ssl_context, settings.ca_file)
    return Client(
        addresses,
        ssl_context=new_ssl_context(),
        new_ssl_context=new_ssl_context,
        proxy=settings.egress_proxy_url,
        max_idle=min(MOST_IDLE_CONNECTIONS, descriptor_limit() // 4),
    )


def _open_alert_wire(settings: Settings, addresses: AddressPolicy, wire: Client) -> AlertWire:
    """The customers' client serves alert endpoints too, unless these may have other addresses."""
    client = wire
    if settings.alert_allow_networks or settings.alert_allow_http:
        client = _open_wire(settings, addresses)
    server = None if settings.smtp_url is None else parse_smtp_url(settings.smtp_url)
    return AlertWire(client, Mailer(server, settings.smtp_from, partial(default_ssl_context, settings.ca_file)))
