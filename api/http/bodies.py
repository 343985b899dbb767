"""JSON bodies, read after authentication. The middleware bounds their size and time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request

from sendoff.errors import Invalid, UnsupportedMediaType
from sendoff.publishing.incoming.json_limits import (
    DEEPEST_NESTING,
    BadJson,
    has_more_keys,
    is_nested_deeper,
    malformed,
)

from .validation import unknown_name

MOST_KEYS = 1_000
"""Keys in a body, all of its objects together; a hundred times what any of ours has."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some editors and exports begin UTF-8 with it (RFC 8259, 8.1)

_LARGEST_EXACT_INTEGER = 2**53  # of a float


def _number(text: str) -> int | float:
    """A number with a fraction or an exponent; `60.0` is the integer that JSON takes it for."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) <= _LARGEST_EXACT_INTEGER else number


_decoder = msgspec.json.Decoder(float_hook=_number)


async def read_json_object(request: Request, *, optional: bool = False) -> dict[str, Any]:
    """The body, an object. Raises UnsupportedMediaType, TooLarge, or Invalid when it is anything else.

    An empty body is `{}` if it is `optional`.
    """
    body = await read_json_bytes(request, optional=optional)
    if not body:
        return {}
    try:
        decoded = _decoder.decode(body)
    except BadJson as error:
        raise malformed(error) from None
    if not isinstance(decoded, dict):
        raise Invalid("The body must be a JSON object, such as {…}.")
    if is_nested_deeper(body, DEEPEST_NESTING):
        raise Invalid(f"The body is nested deeper than {DEEPEST_NESTING} levels; flatten it.")
    if has_more_keys(body, MOST_KEYS):
        raise Invalid(f"The body has more than {MOST_KEYS:,} keys.")
    return decoded


def _is_json_or_undeclared(media_type: str) -> bool:
    return media_type in ("", "application/json")


async def read_json_bytes(
    request: Request,
    *,
    optional: bool = False,
    count: Callable[[int], None] | None = None,
    takes: Callable[[str], bool] = _is_json_or_undeclared,
) -> bytes:
    """The body as it was sent, declared as JSON or not declared at all; empty only if it is `optional`.

    `count` hears the size of each piece as it arrives, and may raise. `takes` says of a media type whether the body may
    be declared as that.
    """
    if not takes(media_type_of(request.headers)):
        raise UnsupportedMediaType("The content type is not supported here; send JSON as `application/json`.")
    body = (await (request.body() if count is None else _read(request, count))).removeprefix(_BYTE_ORDER_MARK)
    if not body and not optional:
        raise Invalid("The body is empty; send a JSON object.")
    return body


async def refuse_fields(request: Request) -> None:
    """Raise Invalid for a JSON object with fields on a route that takes no body: they were meant to say something."""
    takes_body = "requestBody" in (getattr(request.scope.get("route"), "openapi_extra", None) or {})
    is_json = media_type_of(request.headers) in ("", "application/json")
    if takes_body or not is_json or request.method in ("GET", "HEAD"):
        return
    try:
        decoded = _decoder.decode(await request.body() or b"{}")
    except BadJson:
        return
    if isinstance(decoded, dict) and decoded:
        raise unknown_name(next(iter(decoded)), ())


def media_type_of(headers: Headers) -> str:
    """What the body is declared as, without parameters, in lower case; empty if it is not."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


async def _read(request: Request, count: Callable[[int], None]) -> bytes:
    pieces = []
    async for piece in request.stream():
        count(len(piece))
        pieces.append(piece)
    return b"".join(pieces)
