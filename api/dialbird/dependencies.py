"""What the surface's routes ask for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from sendoff.accounts.authentication import API_WEBHOOKS
from sendoff.accounts.token_owner import TokenOwner
from sendoff.audit import Actor

from ..http.bodies import refuse_fields
from ..http.validation import check_query
from ..openapi.operations import response_of
from .errors import DialbirdError

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="`Authorization: Bearer <API key or OAuth access token>`",
)
_Documented = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]

MEANINGS = {
    400: "`validation_error`, `invalid_event_type` or `invalid_phone_number`",
    401: "`missing_token`, `invalid_token` or `expired_token`",
    403: "`insufficient_scope`, `forbidden` or `business_suspended`",
    404: "`not_found`",
    408: "`validation_error`: the body did not arrive in time",
    409: "`conflict`, `idempotency_key_reused` or `idempotency_in_progress`",
    410: "`gone`",
    413: "`validation_error`: the body is too large",
    415: "`validation_error`: the body is not JSON",
    422: "`unprocessable_entity`",
    429: "`rate_limited`; `Retry-After` says when to come back",
    500: "`internal_error`",
    503: "`internal_error`, brief; safe to try again",
}


@dataclass(frozen=True, slots=True)
class TokenAuth:
    """Whose token it is, and how the audit log names them."""

    owner: TokenOwner
    actor: Actor

    @property
    def organization_id(self) -> str:
        return self.owner.organization_id

    @property
    def client_id(self) -> str:
        return self.owner.client_id


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: these statuses, and those that every route of the surface has."""
    return {
        status: response_of(MEANINGS[status], DialbirdError)
        for status in sorted({*statuses, 400, 401, 403, 429, 500, 503, *((408,) if 413 in statuses else ())})
    }


def _authenticated(scope: str | None) -> Callable[..., Awaitable[TokenAuth]]:
    async def authenticated(request: Request, _documented: _Documented) -> TokenAuth:
        owner: TokenOwner = request.state.owner
        owner.check() if scope is None else owner.require(scope)
        check_query(request)
        await refuse_fields(request)
        return TokenAuth(owner, Actor(owner.actor, request.state.request_id))

    return authenticated


Bearer = Annotated[TokenAuth, Depends(_authenticated(None))]
WebhooksBearer = Annotated[TokenAuth, Depends(_authenticated(API_WEBHOOKS))]
