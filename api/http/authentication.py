"""The authentication of a request: the API key is checked first, then its scope, then the rate limits."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from sendoff.accounts.authentication import Principal, authenticate, hash_bearer_key
from sendoff.audit import Actor
from sendoff.context import Context
from sendoff.errors import Unauthenticated

from .limits import RefusedKeys, key_turn, limit_reads, limit_writes
from .server.disconnect import refuse_if_client_has_left


@dataclass(frozen=True, slots=True)
class RequestAuth:
    """The principal of the API key, and how the audit log names it."""

    principal: Principal
    actor: Actor

    @property
    def organization_id(self) -> str:
        return self.principal.organization_id

    @property
    def client_id(self) -> str:
        return self.principal.key_id

    @property
    def request_id(self) -> str | None:
        return self.actor.request_id


def context_of(request: Request) -> Context:
    """The context of this process."""
    context: Context = request.app.state.context
    return context


def refuse_key_in_url(request: Request) -> None:
    """Raise Unauthenticated for a key that was sent as a query parameter."""
    if request.scope["query_string"] and "access_token" in request.query_params:
        raise Unauthenticated("Send the API key in the `Authorization` header, never in the URL: URLs are logged.")


async def authenticate_request(request: Request, scope: str, *, counts_as_write: bool) -> RequestAuth:
    """Authenticate a key that carries `scope`, and count the request; `counts_as_write` for key and organization.

    Raises Unauthenticated, then MissingScope, then RateLimited, which comes first for a key with too many writes at
    once; ClientDisconnect if the client left while others of its key had their turns. While Redis is away, a write is
    counted in this process alone. What is neither counted as a write nor a GET has no limit.
    """
    refuse_key_in_url(request)
    context = context_of(request)
    authorization = request.headers.get("authorization")
    key_hash = hash_bearer_key(authorization)
    async with key_turn(context, key_hash, counts_as_write=counts_as_write):
        refuse_if_client_has_left(request.scope)
        principal = await authenticate(context, authorization)
        request.state.is_authenticated = True
        principal.require(scope)
        refused_keys = context.service(RefusedKeys.of)
        with refused_keys.kept(key_hash, request.method, request.scope["path"], context.clock.now()):
            if counts_as_write:
                await limit_writes(context, principal)
            elif request.method == "GET":
                limit_reads(context, principal.organization_id)
    return RequestAuth(principal, Actor(f"key:{principal.key_prefix}", request.state.request_id))
