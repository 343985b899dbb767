"""Endpoints as their owners manage them: register, list, change, delete.

Dialbird's subscriptions are endpoints of another surface; the functions here do not find them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sendoff.audit import Actor
from sendoff.authorization.requests import NO_CREDENTIALS, open_credentials, open_secrets
from sendoff.context import Context
from sendoff.dialects.alert import FOR_PEOPLE
from sendoff.dialects.base import Dialect
from sendoff.dialects.dialbird import DIALBIRD
from sendoff.dialects.signing import PRIVATE_PREFIX, public_key
from sendoff.endpoint_health.draining import drain_endpoint
from sendoff.endpoints.credentials import changed_credentials, check_credentials, seal_credentials
from sendoff.endpoints.fields import NewEndpoint, audit_snapshot
from sendoff.endpoints.ping import ping
from sendoff.endpoints.ping_limits import limit_pings
from sendoff.endpoints.state import apply_changes, check_can_switch_on, check_count, mark_deleted, record_change
from sendoff.errors import Conflict, Invalid, NotFound
from sendoff.ids import is_uuid, new_id
from sendoff.policy.endpoints.addresses import check_url
from sendoff.policy.endpoints.matching import DEFAULT_SUBSCRIPTION
from sendoff.policy.operational_events import OPERATORS
from sendoff.policy.states import EndpointState
from sendoff.publishing.event_types import check_operational_subscription, check_subscription
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import accounts, endpoints
from sendoff.store.queries.traffic import ordering
from sendoff.store.tables import Endpoint

PAGE_SIZE = 100
"""Endpoints read at a time for a list of all. A larger page takes the event loop for longer in one piece."""


@dataclass(frozen=True, slots=True)
class RegisteredEndpoint:
    """A saved endpoint with its signing secret, which is shown this once."""

    endpoint: Endpoint
    secret: str
    """The signing secret; a private key for a dialect with asymmetric signatures."""
    warnings: list[str] = field(default_factory=list)
    """What the owner should know about it, in sentences."""
    ping_status: int | None = None
    """The status that the receiver answered the ping of the registration with."""

    @property
    def shared_secret(self) -> str | None:
        """The secret that the receiver needs; None if it checks signatures with a public key."""
        return None if self.public_key else self.secret

    @property
    def public_key(self) -> str | None:
        return public_key(self.secret) if self.secret.startswith(PRIVATE_PREFIX) else None

    def __repr__(self) -> str:
        return f"RegisteredEndpoint({self.endpoint.id})"


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """What to change of an endpoint, by the names in `fields.EndpointChanges`; what is absent stays as it is."""

    fields: dict[str, Any]


class Owner(Protocol):
    """Whose endpoint it becomes: the principal of an API key, or the user of the portal."""

    @property
    def organization_id(self) -> str: ...
    @property
    def user_id(self) -> str | None: ...


async def register_endpoint(context: Context, owner: Owner, actor: Actor, new: NewEndpoint) -> RegisteredEndpoint:
    """Check the URL, ping it with a signature, and only then save the endpoint.

    Raises UnsafeUrl, Invalid, UnknownEventType, PingFailed, RateLimited, or Conflict when the organization has as many
    endpoints as it may, or has the URL of a `unique` one; nothing is saved then.
    """
    events = list(DEFAULT_SUBSCRIPTION if new.events is None else new.events)
    limit = context.settings.max_endpoints_per_organization
    check_cap(context, new.max_in_flight)
    async with context.database.read() as tx:
        await check_count(tx, owner.organization_id, limit)
        await _check_subscription(tx, owner.organization_id, events)
        await _find_same_url(tx, owner.organization_id, new)
    check_url(new.url, context.addresses_of(owner.organization_id))
    dialect = find_dialect(context, new.dialect, organization_id=owner.organization_id)
    credentials = changed_credentials(NO_CREDENTIALS, {"headers": new.headers, "auth": new.auth})
    check_credentials(context, credentials, owner.organization_id, url=new.url)
    secret = _choose_secret(dialect, new.secret)
    await limit_pings(context, owner.organization_id, new.url, credentials)
    response = await ping(
        context,
        dialect=dialect.name,
        url=new.url,
        secrets=[secret],
        credentials=credentials,
        organization_id=owner.organization_id,
    )
    now = context.clock.now()
    identifier = new_id()
    endpoint = Endpoint(
        **new.model_dump(exclude={"events", "dialect", "secret", "unique", "headers", "auth"}),
        **seal_credentials(context, identifier, credentials),
        id=identifier,
        organization_id=owner.organization_id,
        user_id=owner.user_id,
        dialect=dialect.name,
        events=events,
        secret=context.vault.seal(secret, bound_to=identifier),
        verified_at=now,
        created_at=now,
        updated_at=now,
    )
    async with context.database.write() as tx:
        await accounts.lock_organization(tx, owner.organization_id)
        await check_count(tx, owner.organization_id, limit)
        same = await _find_same_url(tx, owner.organization_id, new)
        tx.add(endpoint)
        await record_change(tx, actor, "endpoint.create", endpoint, before=None)
    warnings = [f"The URL is registered already, by endpoint {same}: it gets each event once for each."] if same else []
    return RegisteredEndpoint(endpoint, secret, warnings, response.status)


async def _check_subscription(tx: Transaction, organization_id: str, events: Sequence[str]) -> None:
    """Raise UnknownEventType unless the organization can subscribe to each: operators to operational events alone."""
    if organization_id == OPERATORS:
        check_operational_subscription(events)
    else:
        await check_subscription(tx, events)


async def _find_same_url(tx: Transaction, organization_id: str, new: NewEndpoint) -> str | None:
    """The id of another endpoint with this URL. Raises Conflict if there is one and the new one should be unique."""
    found = await endpoints.find_with_url(tx, organization_id, new.url)
    if found is not None and new.unique:
        raise Conflict(f"The URL is registered already, by endpoint {found}; change that one, or leave `unique` out.")
    return found


def _choose_secret(dialect: Dialect, chosen: str | None) -> str:
    if chosen is None:
        return dialect.new_secret()
    try:
        dialect.check_secret(chosen)
    except ValueError as error:
        raise Invalid(f"secret {error}.", field="secret") from None
    return chosen


def check_cap(context: Context, max_in_flight: int | None) -> None:
    """Raise Invalid for an endpoint's cap of requests under way that exceeds the installation's."""
    most = context.settings.endpoint_max_in_flight
    if max_in_flight is not None and max_in_flight > most:
        raise Invalid(
            f"`max_in_flight` is {max_in_flight}, and this installation allows an endpoint {most}; "
            "give a lower number, or null for that.",
            field="max_in_flight",
        )


def find_dialect(context: Context, name: str, *, organization_id: str) -> Dialect:
    """A dialect that the organization's endpoints can be registered with. Raises Invalid.

    Dialbird's has a surface of its own, and those for people are of alert endpoints alone.
    """
    if name == DIALBIRD.name:
        raise Invalid("Endpoints that speak dialbird are made as subscriptions.", field="dialect")
    if name in FOR_PEOPLE and organization_id != OPERATORS:
        raise Invalid(f"The dialect {name} is for operators' alert endpoints; use another one.", field="dialect")
    return context.dialects.get(name)


async def page_endpoints(
    context: Context, organization_id: str, *, before: str | None = None
) -> AsyncIterator[list[Endpoint]]:
    """The organization's endpoints, newest first, in pages that are read one after the other."""
    async for page in page_organization(context, organization_id, before=before):
        yield [endpoint for endpoint in page if endpoint.dialect != DIALBIRD.name]


async def list_endpoints(
    context: Context, organization_id: str, *, limit: int, before: str | None = None
) -> list[Endpoint]:
    """The organization's endpoints, newest first, at most `limit`, older than the id `before`."""
    found: list[Endpoint] = []
    async for page in page_endpoints(context, organization_id, before=before):
        found += page
        if len(found) >= limit:
            break
    return found[:limit]


async def find_endpoints(context: Context, organization_id: str, ids: Iterable[str]) -> dict[str, Endpoint]:
    """Those of the endpoints that are the organization's and not deleted, by id."""
    async with context.database.read() as tx:
        found = await endpoints.find_many(tx, ids)
    return {key: one for key, one in found.items() if _is_managed(one, organization_id)}


async def page_organization(
    context: Context, organization_id: str, *, before: str | None = None
) -> AsyncIterator[list[Endpoint]]:
    """The organization's endpoints of all dialects that are not deleted, in pages of up to `PAGE_SIZE`."""
    while True:
        async with context.database.read() as tx:
            found = await endpoints.page(tx, limit=PAGE_SIZE, before=before, organization_id=organization_id)
        yield [endpoint for endpoint in found if endpoint.state != EndpointState.DELETED]
        if len(found) < PAGE_SIZE:
            return
        before = found[-1].id


async def get_endpoint(context: Context, organization_id: str, endpoint_id: str) -> Endpoint:
    """One endpoint. Raises NotFound, for another organization's as well."""
    async with context.database.read() as tx:
        return await find_endpoint(tx, organization_id, endpoint_id)


async def find_public_keys(context: Context, organization_id: str, endpoint_id: str) -> list[str]:
    """The keys that the endpoint's signatures are checked with, newest first: two during the overlap of a rotation.

    Raises NotFound, also for an endpoint that signs with a shared secret.
    """
    endpoint = await get_endpoint(context, organization_id, endpoint_id)
    secrets = open_secrets(context.vault, endpoint, now=context.clock.now())
    if not secrets[0].startswith(PRIVATE_PREFIX):
        raise NotFound("This endpoint has no public key: its signatures are checked with the secret.")
    return [public_key(secret) for secret in secrets]


async def update_endpoint(
    context: Context, organization_id: str, actor: Actor, endpoint_id: str, change: EndpointChange
) -> Endpoint:
    """Change an endpoint; a changed URL is checked and pinged before anything is saved.

    `is_active: true` switches on again what was paused or disabled, and forgets its failures. Raises Conflict for what
    answered 410 or an operator disabled; NotFound, UnsafeUrl, Invalid, UnknownEventType or PingFailed.
    """
    fields = change.fields
    check_cap(context, fields.get("max_in_flight"))
    async with context.database.read() as tx:
        current = await find_endpoint(tx, organization_id, endpoint_id)
        if "events" in fields:
            await _check_subscription(tx, organization_id, fields["events"])
    if fields.get("is_active"):
        check_can_switch_on(current)
    url_changed = "url" in fields and fields["url"] != current.url
    if fields.keys() & {"url", "headers", "auth"}:
        fields = fields | await _verify_requests(context, current, fields)
    async with context.database.write() as tx:
        endpoint = await find_endpoint(tx, organization_id, endpoint_id, lock=True)
        before = audit_snapshot(endpoint)
        now = context.clock.now()
        apply_changes(endpoint, fields, now)
        if url_changed:
            endpoint.verified_at = now
        changes_order = endpoint.ordered != before["ordered"]
        due = await _change_order(tx, endpoint, now) if changes_order else []
        resealed = bool(fields.keys() & {"headers", "auth"})
        await record_change(tx, actor, "endpoint.update", endpoint, before=before, resealed=resealed)
    context.queue.enqueue_deliveries(due)
    if changes_order and not endpoint.ordered:
        context.queue.enqueue_backlog([endpoint.id])
    if endpoint.drain_due:
        await drain_endpoint(context, endpoint.id)
    return endpoint


async def _change_order(tx: Transaction, endpoint: Endpoint, now: datetime) -> list[str]:
    """Put what is not under way into a line, or end the line; the ids of what is due then."""
    await tx.flush()
    if endpoint.ordered:
        await ordering.give_places(tx, endpoint.id)
    return await ordering.advance(tx, [endpoint.id], now=now)


async def delete_endpoint(context: Context, organization_id: str, actor: Actor, endpoint_id: str) -> None:
    """Stop further deliveries for good; what is still open goes to the dead-letter store."""
    async with context.database.write() as tx:
        endpoint = await find_endpoint(tx, organization_id, endpoint_id, lock=True)
        await mark_deleted(tx, actor, endpoint, context.clock.now())
    await drain_endpoint(context, endpoint.id)


async def _verify_requests(context: Context, current: Endpoint, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Check what requests carry after the changes and where they go, and ping a changed URL with it.

    Returns the columns to write for headers and authentication.
    """
    url = changes.get("url", current.url)
    credentials = changed_credentials(open_credentials(context.vault, current), changes)
    check_credentials(context, credentials, current.organization_id, url=url)
    if url != current.url:
        check_url(url, context.addresses_of(current.organization_id))
        await limit_pings(context, current.organization_id, url, credentials)
        secrets = open_secrets(context.vault, current, now=context.clock.now())
        await ping(
            context,
            dialect=current.dialect,
            url=url,
            secrets=secrets,
            credentials=credentials,
            organization_id=current.organization_id,
        )
    return seal_credentials(context, current.id, credentials) if changes.keys() & {"headers", "auth"} else {}


async def find_endpoint(tx: Transaction, organization_id: str, endpoint_id: str, *, lock: bool = False) -> Endpoint:
    """The endpoint within a larger transaction. Raises NotFound when it is deleted or another organization's."""
    found = await endpoints.find(tx, endpoint_id, lock=lock) if is_uuid(endpoint_id) else None
    if found is None or not _is_managed(found, organization_id):
        raise NotFound("There is no such webhook endpoint.")
    return found


def _is_managed(endpoint: Endpoint, organization_id: str) -> bool:
    """Whether the organization's owner manages it here: it is the organization's, not deleted, and no subscription."""
    is_here = endpoint.state != EndpointState.DELETED and endpoint.dialect != DIALBIRD.name
    return is_here and endpoint.organization_id == organization_id
