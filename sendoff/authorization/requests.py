"""A signed request to an endpoint, and what it carries besides: its owner's headers, and what authenticates it.

The same for deliveries, pings and test calls. What is shown or stored of a request has `***` in place of the values.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from typing import Protocol

import orjson

from sendoff.authorization.oauth2_tokens import OAuth2Tokens
from sendoff.context import Context
from sendoff.dialects.base import AttemptInfo, EventData, Headers
from sendoff.ids import new_id
from sendoff.policy.endpoints.addresses import check_again
from sendoff.policy.endpoints.auth import MASK, Auth, BasicAuth, BearerAuth, MtlsAuth, OAuth2Auth, parse_auth
from sendoff.store.queries.endpoints import Destination
from sendoff.store.tables import Endpoint
from sendoff.store.vault import Vault
from sendoff.wire.http.message import Response, encode_headers
from sendoff.wire.tls.client_certificate import ClientCertificate

_AUTHORIZATION = "Authorization"
_SHORTEST_SECRET = 8
"""Characters from which a value is taken out of what a receiver sends back. Shorter ones, such as `acme`, are in it by
chance, and as a rule are not secrets."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """An endpoint's own headers and its authentication, opened."""

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    auth: Auth | None = field(default=None, repr=False)

    def masked(self, taken: Iterable[tuple[str, str]] = ()) -> Headers:
        """The headers that are added to the `taken` ones, without their values."""
        names = [name for name, _ in self.beside(taken)]
        if self.auth is not None and not isinstance(self.auth, MtlsAuth):
            names.append(_AUTHORIZATION)
        return [(name, MASK) for name in names]

    def beside(self, taken: Iterable[tuple[str, str]]) -> Headers:
        """The own headers but those that the dialect sends itself: its names may have changed since they were saved."""
        if not self.headers:
            return []
        names = {name.lower() for name, _ in taken}
        return [(name, value) for name, value in self.headers if name.lower() not in names]

    def redact_response(self, response: Response) -> Response:
        """The response without the secret values: receivers that echo requests send them back."""
        secrets = _secrets_of(self)
        if not secrets:
            return response
        body, headers = response.body, response.headers
        for secret in secrets:
            for spelled in _spellings(secret):
                body = body.replace(spelled, MASK.encode())
            headers = [(name, value.replace(secret, MASK)) for name, value in headers]
        return replace(response, body=body, headers=headers)


NO_CREDENTIALS = Credentials()


class _Sealed(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def headers(self) -> bytes | None: ...
    @property
    def auth(self) -> bytes | None: ...


def open_credentials(vault: Vault, endpoint: _Sealed) -> Credentials:
    """What the endpoint's requests carry. Raises CannotOpenSecret."""
    if endpoint.headers is None and endpoint.auth is None:
        return NO_CREDENTIALS
    headers = None if endpoint.headers is None else vault.open(endpoint.headers, bound_to=endpoint.id)
    auth = None if endpoint.auth is None else vault.open(endpoint.auth, bound_to=endpoint.id)
    return Credentials(
        () if headers is None else tuple(orjson.loads(headers).items()), None if auth is None else parse_auth(auth)
    )


def open_secrets(vault: Vault, endpoint: Endpoint | Destination, *, now: datetime) -> list[str]:
    """The endpoint's valid secrets, newest first: one, or two while the overlap of a rotation lasts.

    Raises CannotOpenSecret when the current one cannot be opened.
    """
    sealed = [endpoint.secret]
    if endpoint.previous_secret is not None and endpoint.previous_secret_until is not None:
        sealed += [endpoint.previous_secret] * (now < endpoint.previous_secret_until)
    return [vault.open(one, bound_to=endpoint.id) for one in sealed]


@dataclass(slots=True)
class SignedRequest:
    """A request as a dialect makes it of an event, signed."""

    url: str
    headers: Headers
    body: bytes
    credentials: Credentials

    @property
    def shown_headers(self) -> Headers:
        """The headers as they are kept and shown, without the values that the endpoint's owner keeps secret."""
        return [*self.headers, *self.credentials.masked(self.headers)]


def sign_request(
    context: Context,
    event_data: EventData,
    *,
    dialect: str,
    url: str,
    secrets: Sequence[str],
    credentials: Credentials,
    delivery_id: str | None = None,
    attempt: int = 1,
) -> SignedRequest:
    """Render the event in the dialect and sign it with each of `secrets`, as an attempt that is made now.

    The body is the same at every attempt. What is not a delivery, such as a ping, gets an id of its own.
    """
    spoken = context.dialects.get(dialect)
    body = spoken.body(event_data)
    timestamp = int(context.clock.machine_now().timestamp())
    attempt_info = AttemptInfo(delivery_id=delivery_id or new_id(), attempt=attempt, timestamp=timestamp)
    return SignedRequest(url, spoken.headers(event_data, attempt_info, body, secrets), body, credentials)


async def send_signed(
    context: Context,
    request: SignedRequest,
    *,
    timeout: float,  # noqa: ASYNC109 - as the wire takes it
    owner: str,
) -> Response:
    """Send a request for the organization `owner`, within `timeout` seconds in all.

    Raises UnsafeUrl, and WireError; among them OAuth2Failed without a token. A receiver that answers 401 to a token
    gets a new one, once.
    """
    target, body, credentials = check_again(request.url, context.addresses_of(owner)), request.body, request.credentials
    headers = [*request.headers, *credentials.beside(request.headers)]
    auth, wire = credentials.auth, context.wire_of(owner)
    if not isinstance(auth, OAuth2Auth):
        certificate = ClientCertificate(auth.certificate, auth.private_key) if isinstance(auth, MtlsAuth) else None
        head = encode_headers([*headers, *_fixed_authorization(auth)])
        return await wire.send(target, head, body, timeout=timeout, owner=owner, certificate=certificate)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    tokens = context.service(OAuth2Tokens)
    token: str | None = None
    while True:
        refused, token = token, await tokens.get(owner, auth, refused=token, within=deadline - loop.time())
        head = encode_headers([*headers, (_AUTHORIZATION, f"Bearer {token}")])
        response = await wire.send(target, head, body, timeout=deadline - loop.time(), owner=owner)
        if response.status != HTTPStatus.UNAUTHORIZED or refused is not None:
            return response


def _fixed_authorization(auth: BasicAuth | BearerAuth | MtlsAuth | None) -> Headers:
    match auth:
        case BasicAuth():
            return [(_AUTHORIZATION, f"Basic {_basic(auth)}")]
        case BearerAuth():
            return [(_AUTHORIZATION, f"Bearer {auth.token}")]
        case _:
            return []


def _basic(auth: BasicAuth) -> str:
    return b64encode(f"{auth.username}:{auth.password}".encode()).decode()


def _secrets_of(credentials: Credentials) -> list[str]:
    """The secret values, the longest first: one may be a part of another."""
    found = [value for _, value in credentials.headers]
    match credentials.auth:
        case BasicAuth() as auth:
            found += [auth.password, _basic(auth)]
        case BearerAuth() as auth:
            found += [auth.token]
        case OAuth2Auth() as auth:
            found += [auth.client_secret]
    return sorted({value for value in found if len(value) >= _SHORTEST_SECRET}, key=len, reverse=True)


def _spellings(secret: str) -> list[bytes]:
    """How a receiver may write the value down that it got in a header."""
    return [secret.encode()] if secret.isascii() else [secret.encode(), secret.encode("latin-1", "backslashreplace")]
