"""How often organizations may make Sendoff call or look up a host that has not asked for it."""

from __future__ import annotations

from ipaddress import ip_network

from sendoff.authorization.requests import Credentials
from sendoff.context import Context
from sendoff.errors import Unavailable
from sendoff.policy.endpoints.addresses import Target, check_url
from sendoff.policy.endpoints.auth import OAuth2Auth
from sendoff.rate_windows import count, count_even_without_redis, refuse_above
from sendoff.wire.errors import WireError

PINGS_PER_HOST = 600
"""Pings a minute to one host, and to one address behind any number of names, from all organizations together. A higher
limit makes registration a way to flood a host that is not the customer's."""

PINGS_PER_HOST_AND_ORGANIZATION = 60
"""The share of it that one organization may use: ten of them use it up, one cannot."""

SUBSCRIPTIONS_PER_HOST_AND_ORGANIZATION = 60
"""Subscriptions a minute that one organization may make for one host. They are not pinged, but the name is resolved."""

_LOOK_UP_SECONDS = 2.0


async def limit_pings(context: Context, organization_id: str, url: str, credentials: Credentials) -> None:
    """Count a ping to the URL's host, and to that of the token URL if it needs an OAuth2 token.

    Raises UnsafeUrl, RateLimited, and Unavailable when Redis cannot be reached. A ping that cannot be counted is not
    sent: it goes to a host that has not asked for it.
    """
    await _count_ping(context, organization_id, url)
    if isinstance(credentials.auth, OAuth2Auth):
        await _count_ping(context, organization_id, credentials.auth.token_url)


async def _count_ping(context: Context, organization_id: str, url: str) -> None:
    target = check_url(url, context.addresses_of(organization_id))
    destinations = sorted({target.host, *await _networks(context, target, organization_id)})
    now = context.clock.now()
    try:
        own = await count(context, [f"pings:{destination}:{organization_id}" for destination in destinations], now)
        # What exceeds an organization's share must not use up the share of others.
        refuse_above(PINGS_PER_HOST_AND_ORGANIZATION, max(own), now)
        together = await count(context, [f"pings:{destination}" for destination in destinations], now)
    except Unavailable as error:
        raise Unavailable("The endpoint cannot be pinged at the moment; try again in a few seconds.") from error
    refuse_above(PINGS_PER_HOST, max(together), now)


async def limit_subscriptions(context: Context, organization_id: str, url: str) -> None:
    """Count a subscription for the URL's host. Raises UnsafeUrl, RateLimited."""
    target = check_url(url, context.addresses)
    now = context.clock.now()
    (observed,) = await count_even_without_redis(context, [f"subscriptions:{target.host}:{organization_id}"], now)
    refuse_above(SUBSCRIPTIONS_PER_HOST_AND_ORGANIZATION, observed, now)


async def _networks(context: Context, target: Target, organization_id: str) -> set[str]:
    """The host's addresses, of IPv6 the /64; none when the ping will find out why there is none."""
    try:
        wire = context.wire_of(organization_id)
        addresses = await wire.check(target, timeout=_LOOK_UP_SECONDS, owner=organization_id)
    except WireError:
        return set()
    return {str(ip_network((address, 64 if address.version == 6 else 32), strict=False)) for address in addresses}
