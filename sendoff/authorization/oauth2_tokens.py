"""Access tokens by OAuth2 client credentials: one for many deliveries of a process, fetched by one request at a time.

The token endpoint is an address that a customer chose: it is reached under the same rules as a receiver.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections import OrderedDict
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

import msgspec

from sendoff.context import Context
from sendoff.errors import UnsafeUrl
from sendoff.policy.endpoints.addresses import check_url
from sendoff.policy.endpoints.auth import OAuth2Auth
from sendoff.wire.errors import LocalFailure, WireError
from sendoff.wire.http.message import Response, encode_headers

MOST_TOKENS = 10_000
"""Tokens that a process keeps, of up to 8 KB each. The one used longest ago is forgotten, and fetched again."""

FETCH_SECONDS = 10.0
"""The longest that a token endpoint may take to answer. Longer, and deliveries wait longer to fail."""

_DEFAULT_SECONDS = 300.0  # for how long a token is good whose server does not say so
_EARLY_SHARE, _EARLY_SECONDS = 0.2, 60.0
_LONGEST_TOKEN = 8_000  # which receivers take in a header as a rule
_REFUSALS = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED)

Key = tuple[str, OAuth2Auth]


class OAuth2Failed(WireError):
    """No access token can be had from the endpoint's token URL."""

    name: ClassVar[str] = "oauth2_failed"


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    good_until: float
    """On the loop's clock: shortly before it expires."""


class _Grant(msgspec.Struct):
    """A successful answer of a token endpoint (RFC 6749, 5.1)."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - the name of a kind of token
    expires_in: float | str | None = None


class OAuth2Tokens:
    """The tokens of a process, by organization and credentials: what changes is another token."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._kept: OrderedDict[Key, _Token] = OrderedDict()
        self._fetching: dict[Key, asyncio.Task[_Token]] = {}

    async def get(self, owner: str, auth: OAuth2Auth, *, refused: str | None = None, within: float) -> str:
        """A token that is good and is not the `refused` one, unless the server gives that again.

        Those who ask while it is fetched wait for the same request, each `within` its own seconds. Raises OAuth2Failed,
        and LocalFailure where the request could not leave this machine.
        """
        key = owner, auth
        kept = self._kept.get(key)
        if kept is not None and kept.value != refused and kept.good_until > asyncio.get_running_loop().time():
            self._kept.move_to_end(key)
            return kept.value
        fetching = self._fetching.get(key)
        if fetching is None:
            fetching = self._fetching[key] = asyncio.create_task(self._fetch_and_keep(key))
            fetching.add_done_callback(_retrieve)
        try:
            async with asyncio.timeout(within):
                return (await asyncio.shield(fetching)).value
        except TimeoutError:
            raise OAuth2Failed("The token endpoint did not answer in time; nothing was sent to the receiver.") from None

    async def aclose(self) -> None:
        """End the requests that are under way."""
        for task in list(self._fetching.values()):
            task.cancel()
        await asyncio.gather(*self._fetching.values(), return_exceptions=True)

    async def _fetch_and_keep(self, key: Key) -> _Token:
        try:
            token = self._kept[key] = await fetch_token(self._context, *key)
            self._kept.move_to_end(key)
            if len(self._kept) > MOST_TOKENS:
                self._kept.popitem(last=False)
            return token
        finally:
            del self._fetching[key]


async def fetch_token(context: Context, owner: str, auth: OAuth2Auth) -> _Token:
    """Ask the token endpoint, as HTTP Basic or, if the server refuses the client that way, with the secret in the body.

    RFC 6749, 2.3.1 demands the first of servers; some take the second alone.
    """
    asked_at = asyncio.get_running_loop().time()
    try:
        response = await _ask(context, owner, auth, in_body=False)
        if response.status in _REFUSALS and _error_of(response) == "invalid_client":
            response = await _ask(context, owner, auth, in_body=True)
    except LocalFailure:
        raise
    except (WireError, UnsafeUrl) as error:
        raise OAuth2Failed(f"The token endpoint cannot be reached: {error}") from None
    return _read_token(response, asked_at)


async def _ask(context: Context, owner: str, auth: OAuth2Auth, *, in_body: bool) -> Response:
    asked = {"grant_type": "client_credentials", "scope": auth.scope, "audience": auth.audience}
    headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Accept", "application/json"),
        ("User-Agent", context.dialects.default.agent),
    ]
    if in_body:
        asked |= {"client_id": auth.client_id, "client_secret": auth.client_secret}
    else:
        # A space as %20, which those decode as well that do not know `+` for it.
        pair = f"{quote(auth.client_id, safe='')}:{quote(auth.client_secret, safe='')}"
        headers.append(("Authorization", f"Basic {b64encode(pair.encode()).decode()}"))
    body = urlencode({name: value for name, value in asked.items() if value is not None}).encode()
    target = check_url(auth.token_url, context.addresses_of(owner))
    return await context.wire_of(owner).send(target, encode_headers(headers), body, timeout=FETCH_SECONDS, owner=owner)


def _read_token(response: Response, asked_at: float) -> _Token:
    if response.status != HTTPStatus.OK:
        error = _error_of(response)
        raise OAuth2Failed(f"The token endpoint answered {response.status}{f' ({error})' if error else ''}.")
    try:
        grant = msgspec.json.decode(response.body, type=_Grant)
        seconds = _DEFAULT_SECONDS if grant.expires_in is None else max(0.0, float(grant.expires_in))
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        raise OAuth2Failed("The token endpoint's answer is not the JSON of a token (RFC 6749, 5.1).") from None
    if grant.token_type.lower() != "bearer":
        raise OAuth2Failed("The token endpoint gives tokens of another type than Bearer.")
    token = grant.access_token
    if not (token.isascii() and token.isprintable() and " " not in token and 0 < len(token) <= _LONGEST_TOKEN):
        raise OAuth2Failed(f"The token is not printable ASCII of up to {_LONGEST_TOKEN:,} characters.")
    return _Token(token, asked_at + seconds - min(_EARLY_SECONDS, seconds * _EARLY_SHARE))


def _error_of(response: Response) -> str | None:
    """The code of an error answer (RFC 6749, 5.2), if it is one; its description may repeat what was sent."""
    try:
        answer: Any = msgspec.json.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    code = answer.get("error") if isinstance(answer, dict) else None
    is_code = isinstance(code, str) and len(code) <= 50 and code.replace("_", "").isalpha() and code.isascii()
    return code if is_code else None


def _retrieve(task: asyncio.Task[_Token]) -> None:
    """Take note of its failure, which is not logged then: those who waited for it may be gone."""
    if not task.cancelled():
        task.exception()
