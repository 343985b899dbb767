"""Dependencies of routes. A route asks for authentication before its body, so that 401, 403 and 429 come before 400."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from sendoff.accounts.authentication import (
    EVENTS_WRITE,
    OPERATOR,
    OPERATOR_READ,
    UPLOADS_READ,
    UPLOADS_WRITE,
    WEBHOOKS_MANAGE,
)
from sendoff.context import Context
from sendoff.idempotency import LONGEST_KEY, check_key

from .authentication import RequestAuth, authenticate_request, context_of
from .bodies import read_json_object, refuse_fields
from .validation import Model, check_query, validate

_bearer = HTTPBearer(auto_error=False, scheme_name="apiKey", description="`Authorization: Bearer od_live_…`")
_Documented = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


def _authenticated(scope: str, *, counts_as_write: bool = False) -> Callable[..., Awaitable[RequestAuth]]:
    async def authenticated(request: Request, _documented: _Documented) -> RequestAuth:
        auth = await authenticate_request(request, scope, counts_as_write=counts_as_write)
        check_query(request)
        await refuse_fields(request)
        return auth

    return authenticated


def json_body(model: type[Model]) -> Callable[[Request], Awaitable[Model]]:
    """A dependency that reads the JSON body as `model`; document it with `openapi.body_of(model)`."""

    async def read(request: Request) -> Model:
        return validate(model, await read_json_object(request))

    return read


def optional_json_body(model: type[Model]) -> Callable[[Request], Awaitable[Model]]:
    """The same for a body that may be left out, which means `{}`; document it with `openapi.optional_body_of`."""

    async def read(request: Request) -> Model:
        return validate(model, await read_json_object(request, optional=True))

    return read


_DocumentedKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="The same key and the same request within 24 hours: the write is done once.",
        json_schema_extra={"minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[ -~]+$"},
    ),
]


async def _context(request: Request) -> Context:
    return context_of(request)  # as a coroutine: the framework runs plain functions in threads, which takes longer


async def _idempotency_key(request: Request, _documented: _DocumentedKey = None) -> str | None:
    return idempotency_key(request)


def idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key of a request, if it has one. Raises Invalid for one that cannot be a key."""
    key = request.headers.get("idempotency-key")
    return None if key is None else check_key(key)


ContextOf = Annotated[Context, Depends(_context)]
WebhooksReader = Annotated[RequestAuth, Depends(_authenticated(WEBHOOKS_MANAGE))]
WebhooksWriter = Annotated[RequestAuth, Depends(_authenticated(WEBHOOKS_MANAGE, counts_as_write=True))]
UploadsReader = Annotated[RequestAuth, Depends(_authenticated(UPLOADS_READ))]
UploadsWriter = Annotated[RequestAuth, Depends(_authenticated(UPLOADS_WRITE, counts_as_write=True))]
EventsWriter = Annotated[RequestAuth, Depends(_authenticated(EVENTS_WRITE))]
Operator = Annotated[RequestAuth, Depends(_authenticated(OPERATOR))]
OperatorReader = Annotated[RequestAuth, Depends(_authenticated(OPERATOR_READ))]
IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
