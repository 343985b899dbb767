"""The authorization server's public keys: a JWKS from a file, or from a URL under the address policy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import structlog

from sendoff.clock import Clock
from sendoff.context import Context
from sendoff.errors import SendoffError, Unavailable
from sendoff.policy.endpoints.addresses import AddressPolicy, check_url
from sendoff.wire.errors import WireError
from sendoff.wire.http.client import Client
from sendoff.wire.http.message import encode_headers
from sendoff.wire.tls.trust import default_ssl_context

KEPT_SECONDS = 300.0
"""Seconds until the keys are read again. A key that the authorization server withdraws is accepted for as long."""

SHORTEST_PAUSE_SECONDS = 10.0
"""Minimum time between two fetches, so that tokens with unknown key ids cannot flood the issuer."""

_LARGEST_DOCUMENT_BYTES = 1024 * 1024
"""A longer document is not read: 1 MiB holds about a thousand keys with their certificates."""

_TIMEOUT_SECONDS = 5.0
"""Seconds for the whole exchange. Requests whose tokens name an unknown key wait for as long as this."""

_log = structlog.get_logger(__name__)

Key = dict[str, Any]
Read = Callable[[], Awaitable[bytes]]


@dataclass
class KeySet:
    """The keys as they were read last. They stay valid when they cannot be read again."""

    read: Read
    clock: Clock
    _keys: list[Key] | None = None
    _tried_at: float = float("-inf")
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def of(cls, context: Context) -> KeySet:
        """The keys of the setting `OAUTH_JWKS`, read when a token first needs them."""
        return cls(reader(context), context.clock)

    async def candidates(self, key_id: str | None) -> list[Key]:
        """The signing keys with the id `key_id`, or all of them for a token without a key id.

        Raises Unavailable if the keys have never been read.
        """
        await self._refresh(KEPT_SECONDS if self._keys is not None else SHORTEST_PAUSE_SECONDS)
        found = self._named(key_id)
        if not found:
            await self._refresh(SHORTEST_PAUSE_SECONDS)
            found = self._named(key_id)
        return found

    def _named(self, key_id: str | None) -> list[Key]:
        return [key for key in self._keys or () if key_id is None or key.get("kid") == key_id]

    async def _refresh(self, older_than: float) -> None:
        async with self._lock:
            now = self.clock.monotonic()
            if now - self._tried_at >= older_than:
                self._tried_at = now
                await self._read_again()
            if self._keys is None:
                raise Unavailable("The keys that tokens are checked with cannot be read at the moment.")

    async def _read_again(self) -> None:
        try:
            self._keys = _signing_keys(await self.read())
        except (OSError, ValueError, WireError, SendoffError) as error:
            _log.warning("jwks_not_read", error=str(error) or type(error).__name__)


def reader(context: Context) -> Read:
    """Reads the setting `OAUTH_JWKS`: a file, or a URL."""
    source, settings = context.settings.oauth_jwks or "", context.settings
    if source.startswith(("https://", "http://")):
        return lambda: fetch(source, context.addresses, ca_file=settings.ca_file, proxy=settings.egress_proxy_url)
    return lambda: asyncio.to_thread(Path(source.removeprefix("file://")).read_bytes)


async def fetch(url: str, addresses: AddressPolicy, *, ca_file: Path | None = None, proxy: str | None = None) -> bytes:
    """The document at `url`, requested under the address policy; redirects are not followed.

    Raises UnsafeUrl, WireError, and ValueError for any other answer than a complete document with status 200.
    """
    target = check_url(url, addresses)
    async with Client(
        addresses,
        ssl_context=default_ssl_context(ca_file),
        proxy=proxy,
        body_cap=_LARGEST_DOCUMENT_BYTES,
        body_seconds=_TIMEOUT_SECONDS,
    ) as client:
        head = encode_headers([("Accept", "application/json")])
        response = await client.send(target, head, b"", timeout=_TIMEOUT_SECONDS, method="GET")
    if response.status != 200:
        raise ValueError(f"{url} answered {response.status}; it must answer 200 with the JWKS itself")
    if response.truncated:
        raise ValueError(
            f"{url} answered more than {_LARGEST_DOCUMENT_BYTES} bytes, or its answer was cut off; check the URL"
        )
    return response.body


def _signing_keys(text: bytes) -> list[Key]:
    document = orjson.loads(text)
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise ValueError("not a JWKS: the list `keys` is missing")  # noqa: TRY004 - one kind of error for one cause
    return [key for key in keys if isinstance(key, dict) and key.get("use", "sig") == "sig"]
