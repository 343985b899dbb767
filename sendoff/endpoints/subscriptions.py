"""Dialbird's subscriptions: endpoints for one event type each, saved without a ping (Dialbird contract)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sendoff.accounts.token_owner import TokenOwner
from sendoff.audit import Actor
from sendoff.context import Context
from sendoff.dialects.dialbird import DIALBIRD
from sendoff.endpoint_health.draining import drain_endpoint
from sendoff.endpoints.fields import audit_snapshot
from sendoff.endpoints.manage import RegisteredEndpoint, page_organization
from sendoff.endpoints.ping_limits import limit_subscriptions
from sendoff.endpoints.state import apply_changes, check_count, mark_deleted, record_change
from sendoff.errors import Conflict, Gone, Invalid, NotFound, UnknownEventType, UnsafeUrl
from sendoff.ids import is_uuid, new_id
from sendoff.policy.delivery.auto_disable import AutoDisable
from sendoff.policy.endpoints.addresses import check_url
from sendoff.policy.endpoints.matching import BUILT_IN_TYPES, DIALBIRD_TYPES, is_event_type_name
from sendoff.policy.states import EndpointState
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import accounts, endpoints
from sendoff.store.queries.traffic import events
from sendoff.store.tables import Endpoint
from sendoff.wire.errors import RefusedAddress, WireError

LOOK_UP_SECONDS = 2.0
"""How long to wait for a URL's name to be resolved. A name that takes longer is saved and checked at delivery."""


@dataclass(frozen=True, slots=True)
class NewSubscription:
    """The subscription that is asked for."""

    event_type: str
    target_url: str
    rate_limit: int | None = None
    """Maximum deliveries per second; None for no limit."""


class SubscriptionStatus(StrEnum):
    """A subscription's status (Dialbird contract, "Subscriptions")."""

    ACTIVE = "active"
    FAILING = "failing"
    DISABLED = "disabled"


def status_of(endpoint: Endpoint, auto_disable: AutoDisable) -> SubscriptionStatus:
    """`failing` past the warning threshold of consecutive failures, `disabled` when it is not sent to."""
    if endpoint.state != EndpointState.ACTIVE:
        return SubscriptionStatus.DISABLED
    return (
        SubscriptionStatus.FAILING if auto_disable.warns(endpoint.consecutive_failures) else SubscriptionStatus.ACTIVE
    )


async def subscribe(context: Context, owner: TokenOwner, actor: Actor, new: NewSubscription) -> RegisteredEndpoint:
    """Save a subscription. It replaces one of the same type and URL whose receiver answered 410.

    Raises UnknownEventType (`event_type`), Invalid (`target_url`, `rate_limit`), or Conflict when there is the same
    already.
    """
    await _check_url(context, owner.organization_id, new.target_url)
    secret = DIALBIRD.new_secret()
    endpoint = _endpoint(context, owner, new, secret)
    async with context.database.write() as tx:
        await _check_event_type(tx, new.event_type)
        replaced = await _replace_former(tx, context, actor, endpoint)
        tx.add(endpoint)
        await record_change(tx, actor, "endpoint.create", endpoint, before=None)
    for endpoint_id in replaced:
        await drain_endpoint(context, endpoint_id)
    return RegisteredEndpoint(endpoint, secret)


async def page_subscriptions(context: Context, organization_id: str) -> AsyncIterator[list[Endpoint]]:
    """The business's subscriptions, newest first, in pages that are read one after the other."""
    async for page in page_organization(context, organization_id):
        yield [endpoint for endpoint in page if endpoint.dialect == DIALBIRD.name]


async def get_subscription(context: Context, organization_id: str, subscription_id: str) -> Endpoint:
    """One subscription. Raises NotFound, for another business's as well."""
    async with context.database.read() as tx:
        return await _find(tx, organization_id, subscription_id)


@dataclass(frozen=True, slots=True)
class SubscriptionChange:
    """What to change of a subscription; fields that are absent stay as they are."""

    fields: dict[str, Any]
    """`is_active`, which forgets the failures when true; `rate_limit` in deliveries per second, or None."""


async def change_subscription(
    context: Context, organization_id: str, actor: Actor, subscription_id: str, change: SubscriptionChange
) -> Endpoint:
    """Change a subscription.

    Raises NotFound; Gone when its receiver answered 410 and it is to be switched; Conflict when an operator disabled it
    and it is to be switched on.
    """
    async with context.database.write() as tx:
        endpoint = await _find(tx, organization_id, subscription_id, lock=True)
        if "is_active" in change.fields and endpoint.state == EndpointState.GONE:
            raise Gone("The subscription's receiver answered 410 Gone, which disables it for good; subscribe again.")
        before = audit_snapshot(endpoint)
        apply_changes(endpoint, change.fields, context.clock.now())
        await record_change(tx, actor, "endpoint.update", endpoint, before=before)
    if endpoint.drain_due:
        await drain_endpoint(context, endpoint.id)
    return endpoint


async def unsubscribe(context: Context, organization_id: str, actor: Actor, subscription_id: str) -> None:
    """Stop further deliveries for good. Raises NotFound."""
    async with context.database.write() as tx:
        endpoint = await _find(tx, organization_id, subscription_id, lock=True)
        await mark_deleted(tx, actor, endpoint, context.clock.now())
    await drain_endpoint(context, endpoint.id)


async def _check_url(context: Context, organization_id: str, url: str) -> None:
    """Raise Invalid for a URL that is unsafe or resolves to an unsafe address; nothing is sent there."""
    try:
        await limit_subscriptions(context, organization_id, url)
        target = check_url(url, context.addresses)
        await context.wire.check(target, timeout=LOOK_UP_SECONDS, owner=organization_id)
    except UnsafeUrl as error:
        raise Invalid(error.message.replace("url ", "target_url ", 1), field="target_url") from None
    except RefusedAddress as error:
        raise Invalid(f"target_url is not safe: {error}", field="target_url") from None
    except WireError:
        return  # the name cannot be looked up at the moment; it is checked again at every delivery


async def _check_event_type(tx: Transaction, event_type: str) -> None:
    registered = event_type not in BUILT_IN_TYPES and is_event_type_name(event_type)
    if event_type in DIALBIRD_TYPES or (registered and await events.find_type(tx, event_type) is not None):
        return
    raise UnknownEventType(
        f"Unknown event type {event_type!r}; there are {', '.join(DIALBIRD_TYPES)}.", field="event_type"
    )


def _endpoint(context: Context, owner: TokenOwner, new: NewSubscription, secret: str) -> Endpoint:
    now, identifier = context.clock.now(), new_id()
    return Endpoint(
        id=identifier,
        organization_id=owner.organization_id,
        user_id=owner.user_id,
        dialect=DIALBIRD.name,
        url=new.target_url,
        events=[new.event_type],
        secret=context.vault.seal(secret, bound_to=identifier),
        rate_limit=new.rate_limit,
        created_at=now,
        updated_at=now,
    )


async def _replace_former(tx: Transaction, context: Context, actor: Actor, new: Endpoint) -> list[str]:
    """Mark the subscriptions that the new one replaces as deleted, and return their ids.

    Raises Conflict while one of them is in use, and at the limit of endpoints.
    """
    await accounts.lock_organization(tx, new.organization_id)
    same = [
        endpoint
        for endpoint in await _subscriptions(tx, new.organization_id)
        if (endpoint.url, endpoint.events) == (new.url, new.events)
    ]
    if any(endpoint.state != EndpointState.GONE for endpoint in same):
        raise Conflict(f"There is a subscription of {new.events[0]} for this target_url already; delete it first.")
    for endpoint in same:
        await mark_deleted(tx, actor, endpoint, context.clock.now())
    await tx.flush()
    await check_count(tx, new.organization_id, context.settings.max_endpoints_per_organization)
    return [endpoint.id for endpoint in same]


async def _subscriptions(tx: Transaction, organization_id: str) -> list[Endpoint]:
    found = await endpoints.of_organization(tx, organization_id)
    return [endpoint for endpoint in found if endpoint.dialect == DIALBIRD.name]


async def _find(tx: Transaction, organization_id: str, subscription_id: str, *, lock: bool = False) -> Endpoint:
    found = await endpoints.find(tx, subscription_id, lock=lock) if is_uuid(subscription_id) else None
    if (
        found is None
        or found.organization_id != organization_id
        or found.state == EndpointState.DELETED
        or found.dialect != DIALBIRD.name
    ):
        raise NotFound("There is no such subscription.")
    return found
