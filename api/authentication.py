"""Who calls, and whether they may: the API key, its scope, then the rate limits, in this order."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from api.limits import limit_writes
from sendoff.errors import Unauthenticated
from sendoff.operations.actors import Actor
from sendoff.operations.authenticate import Principal, authenticate
from sendoff.operations.runtime import Runtime


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


def runtime_of(request: Request) -> Runtime:
    """What operations work with."""
    runtime: Runtime = request.app.state.runtime
    return runtime


def refuse_key_in_url(request: Request) -> None:
    """Raise Unauthenticated for a key that was sent as a query parameter."""
    if "access_token" in request.query_params:
        raise Unauthenticated("Send the API key in the `Authorization` header, never in the URL: URLs are logged.")


async def admit(request: Request, scope: str, *, limited: bool) -> Caller:
    """The caller, whose key carries `scope`; `limited` counts the request as a write of key and organization.

    Raises Unauthenticated, then MissingScope, then RateLimited. Without Redis a write is not counted.
    """
    refuse_key_in_url(request)
    runtime = runtime_of(request)
    principal = await authenticate(runtime, request.headers.get("authorization"))
    principal.require(scope)
    if limited:
        await limit_writes(runtime, principal)
    return Caller(principal, Actor(f"key:{principal.key_prefix}", request.state.request_id))
