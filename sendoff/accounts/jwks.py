"""The authorization server's public keys: a JWKS from a file or, through the guarded way out, from a URL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import structlog

from sendoff.clock import Clock
from sendoff.context import Context
from sendoff.errors import SendoffError, Unavailable
from sendoff.wire.http.client import Client
from sendoff.wire.http.httpx_transport import GuardedTransport
from sendoff.wire.tls.trust import default_ssl_context

KEPT_SECONDS = 300.0
"""How long the keys are believed before they are read again."""

SHORTEST_PAUSE_SECONDS = 10.0
"""Minimum time between two fetches, so that tokens with unknown key ids cannot flood the issuer."""

_LARGEST_DOCUMENT_BYTES = 1024 * 1024
_PATIENCE_SECONDS = 5.0

_log = structlog.get_logger(__name__)

Key = dict[str, Any]
Read = Callable[[], Awaitable[bytes]]
Connect = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]


@dataclass
class KeySet:
    """The keys as they were read last. When they cannot be read again, those that are known go on to count."""

    read: Read
    clock: Clock
    _keys: list[Key] | None = None
    _tried_at: float = float("-inf")
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def of(cls, context: Context) -> KeySet:
        """The keys of the setting `OAUTH_JWKS`, read when a token first needs them."""
        return cls(reader(context.settings.oauth_jwks or "", lambda: _open_http(context)), context.clock)

    async def candidates(self, key_id: str | None) -> list[Key]:
        """The signing keys that a token may mean which names `key_id`, or no key at all.

        Raises Unavailable when the keys were never read.
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
        except (OSError, ValueError, httpx.HTTPError, SendoffError) as error:
            _log.warning("jwks_not_read", error=str(error) or type(error).__name__)


def reader(source: str, connect: Connect) -> Read:
    """Reads the setting `OAUTH_JWKS`: a file, or a URL by a client that `connect` makes."""
    if source.startswith(("https://", "http://")):
        return lambda: _fetch(source, connect)
    return lambda: asyncio.to_thread(Path(source.removeprefix("file://")).read_bytes)


@asynccontextmanager
async def _open_http(context: Context) -> AsyncIterator[httpx.AsyncClient]:
    """The guarded way out for documents that are larger than a receiver's answer is worth keeping."""
    ssl_context = default_ssl_context(context.settings.ca_file)
    async with Client(
        context.addresses,
        ssl_context=ssl_context,
        proxy=context.settings.egress_proxy_url,
        body_cap=_LARGEST_DOCUMENT_BYTES,
    ) as wire:
        transport = GuardedTransport(wire, context.addresses)
        async with httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False) as client:
            yield client


async def _fetch(url: str, connect: Connect) -> bytes:
    async with asyncio.timeout(_PATIENCE_SECONDS + 0.5), connect() as client:
        response = await client.get(url, timeout=_PATIENCE_SECONDS, headers={"Accept": "application/json"})
    if response.status_code != 200 or response.extensions.get("truncated"):
        raise ValueError(f"{url} answered {response.status_code}, or more than a JWKS holds")
    return response.content


def _signing_keys(text: bytes) -> list[Key]:
    document = orjson.loads(text)
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise ValueError("not a JWKS: the list `keys` is missing")  # noqa: TRY004 - one kind of error for one cause
    return [key for key in keys if isinstance(key, dict) and key.get("use", "sig") == "sig"]
