"""What every request of the Dialbird surface passes before it is routed: who it is, and whether its budget lasts.

Before, because every answer carries the rate limit's headers, also that there is nothing at a path.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network

import structlog
from starlette.datastructures import Headers, QueryParams
from starlette.types import ASGIApp, Receive, Scope, Send

from sendoff.accounts.grants import Grant, read_grant
from sendoff.context import Context
from sendoff.errors import SendoffError, Unauthenticated

from ..http.errors import answer_problem
from ..http.limits import Budget, spend
from .paths import is_on_surface, needs_token

_log = structlog.get_logger(__name__)


class DialbirdAuthMiddleware:
    """Middleware within the gate; paths of other surfaces pass untouched.

    Leaves the `Grant` of the token in the request's state, and the rate limit's headers for the gate to add.
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
    grant: Grant | None = None
    refusal: Exception | None = None
    try:
        grant = await _grant(context, scope)
    except Exception as error:  # whatever it is, its answer carries the headers, too
        refusal = error
    budget = await _spend(context, scope, grant)
    scope["state"]["response_headers"].update(budget.headers())
    budget.check(context)
    if refusal is not None:
        raise refusal
    scope["state"]["grant"] = grant


async def _grant(context: Context, scope: Scope) -> Grant | None:
    if "access_token" in QueryParams(scope["query_string"]):
        raise Unauthenticated("Send the token in the `Authorization` header, never in the URL: URLs are logged.")
    if not needs_token(scope["path"]):
        return None
    return await read_grant(context, Headers(scope=scope).get("authorization"))


async def _spend(context: Context, scope: Scope, grant: Grant | None) -> Budget:
    if grant is not None:
        name = f"client:{grant.organization_id}:{grant.client_id}"
        return await spend(context, name, limit=context.settings.client_rate_limit)
    # Requests without a valid token have a counter of their own: guessing tokens must not make `/health` a 429.
    kind = "guess" if needs_token(scope["path"]) else "health"
    return await spend(context, f"{kind}:{_network(scope)}", limit=context.settings.anonymous_rate_limit)


def _network(scope: Scope) -> str:
    """The caller's IP address; of IPv6 the network that one caller has to himself."""
    host = scope["client"][0] if scope.get("client") else ""
    try:
        address = ip_address(host)
    except ValueError:
        return "unknown"
    return str(ip_network(f"{address}/64", strict=False)) if isinstance(address, IPv6Address) else str(address)
