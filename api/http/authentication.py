"""Who calls, and whether they may: the API key, its scope, then the rate limits, in this order."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from sendoff.accounts.authentication import Principal, authenticate
from sendoff.audit import Actor
from sendoff.context import Context
from sendoff.errors import Unauthenticated

from .limits import limit_writes


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key it is, and how the audit log names them."""

    principal: Principal
    actor: Actor

    @property
    def organization_id(self) -> str:
        return self.principal.organization_id

    @property
    def request_id(self) -> str | None:
        return self.actor.request_id


def context_of(request: Request) -> Context:
    """What operations work with."""
    context: Context = request.app.state.context
    return context


def refuse_key_in_url(request: Request) -> None:
    """Raise Unauthenticated for a key that was sent as a query parameter."""
    if "access_token" in request.query_params:
        raise Unauthenticated("Send the API key in the `Authorization` header, never in the URL: URLs are logged.")


async def admit(request: Request, scope: str, *, limited: bool) -> Caller:
    """The caller, whose key carries `scope`; `limited` counts the request as a write of key and organization.

    Raises Unauthenticated, then MissingScope, then RateLimited. Without Redis a write is not counted.
    """
    refuse_key_in_url(request)
    context = context_of(request)
    principal = await authenticate(context, request.headers.get("authorization"))
    principal.require(scope)
    if limited:
        await limit_writes(context, principal)
    return Caller(principal, Actor(f"key:{principal.key_prefix}", request.state.request_id))
