"""Authentication and rate limits of the Dialbird surface, before a request is routed.

Every answer carries the rate limit's headers, also the 404 of an unknown path.
"""

from __future__ import annotations

from starlette.datastructures import Headers, QueryParams
from starlette.types import ASGIApp, Receive, Scope, Send

from sendoff.accounts.token_owner import TokenOwner, authenticate_token
from sendoff.context import Context
from sendoff.errors import SendoffError, Unauthenticated
from sendoff.rate_windows import LocalCounters

from ..http.errors import answer_problem
from ..http.limits import RateLimitWindow, count_request
from ..http.server.client_address import network_of
from .paths import is_on_surface, needs_token

_SHARES = 50
"""A connection's share of its address's limit for `/health`, which it keeps when the address has used up all of it:
with 6,000 a minute, two a second."""


class DialbirdAuthMiddleware:
    """Runs within RequestMiddleware; requests of other surfaces pass unchanged.

    Leaves the `TokenOwner` in the request's state, and the headers of the rate limit for RequestMiddleware to add.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_on_surface(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            await _admit(scope)
        except SendoffError as error:
            await answer_problem(scope, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)


async def _admit(scope: Scope) -> None:
    """Raises Unauthenticated, Forbidden, Unavailable, or RateLimited, which comes first."""
    context: Context = scope["app"].state.context
    owner: TokenOwner | None = None
    refusal: Exception | None = None
    try:
        owner = await _authenticate(context, scope)
        if owner is not None:
            scope["state"]["is_authenticated"] = True
    except Exception as error:  # the answer to any error carries the headers, too
        refusal = error
    window = await _count(context, scope, owner)
    scope["state"]["response_headers"].update(window.headers())
    if owner is not None or needs_token(scope["path"]) or _has_used_its_share(context, scope):
        window.check(context)
    if refusal is not None:
        raise refusal
    scope["state"]["owner"] = owner


async def _authenticate(context: Context, scope: Scope) -> TokenOwner | None:
    if "access_token" in QueryParams(scope["query_string"]):
        raise Unauthenticated("Send the token in the `Authorization` header, never in the URL: URLs are logged.")
    if not needs_token(scope["path"]):
        return None
    return await authenticate_token(context, Headers(scope=scope).get("authorization"))


async def _count(context: Context, scope: Scope, owner: TokenOwner | None) -> RateLimitWindow:
    if owner is not None:
        name = f"client:{owner.organization_id}:{owner.client_id}"
        return await count_request(context, name, limit=context.settings.client_rate_limit)
    # Requests without a valid token have a counter of their own, so that guessed tokens never make `/health` a 429.
    kind = "guess" if needs_token(scope["path"]) else "health"
    name = f"{kind}:{network_of(scope)}"
    return await count_request(context, name, limit=context.settings.anonymous_rate_limit)


def _has_used_its_share(context: Context, scope: Scope) -> bool:
    """Whether this connection alone has asked for `/health` often in this minute.

    Many clients may share an address, and a load balancer's health checks come from its own: another client that
    exhausts the address's limit must not make them fail.
    """
    host, port = scope.get("client") or ("", 0)
    made = context.service(_HealthChecks.of).count(f"{host} {port}", context.clock.now())
    return made > max(1, context.settings.anonymous_rate_limit // _SHARES)


class _HealthChecks(LocalCounters):
    """Requests for `/health` by connection."""
