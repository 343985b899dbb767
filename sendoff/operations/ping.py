"""The signed ping: an endpoint is saved only if its receiver answers one with a 2xx."""

from __future__ import annotations

import asyncio
import secrets as randomness
from collections.abc import Sequence

import httpx
import orjson

from sendoff.dialects.base import Occurrence, Sending
from sendoff.errors import PingFailed
from sendoff.ids import new_event_id, new_id
from sendoff.operations.runtime import Runtime
from sendoff.policy.matching import PING


async def ping(runtime: Runtime, *, dialect: str, url: str, secrets: Sequence[str], organization_id: str) -> None:
    """Send a `webhook.ping`, signed with each of `secrets`, to `url`. Raises PingFailed without a 2xx in time."""
    spoken = runtime.dialects.get(dialect)
    now = runtime.clock.now()
    occurrence = Occurrence(
        event_id=new_event_id(),
        type=PING,
        organization_id=organization_id,
        occurred_at=now,
        data=orjson.dumps({"challenge": randomness.token_urlsafe(24)}),
    )
    body = spoken.body(occurrence)
    sending = Sending(delivery_id=new_id(), attempt=1, timestamp=int(now.timestamp()))
    headers = spoken.headers(occurrence, sending, body, secrets)
    status = await _post(runtime, url, headers, body)
    if not 200 <= status < 300:
        raise PingFailed(
            f"The endpoint answered the ping with {status}; it must answer with a 2xx to be saved.",
            status_code=status,
            underlying_error=None,
        )


async def _post(runtime: Runtime, url: str, headers: list[tuple[str, str]], body: bytes) -> int:
    timeout = runtime.settings.ping_timeout_seconds
    try:
        async with asyncio.timeout(timeout + 0.5):  # the wire's own deadline answers first, and says more
            response = await runtime.http.post(url, content=body, headers=headers, timeout=timeout)
    except (httpx.TransportError, TimeoutError) as error:
        described = str(error) or f"no answer within {timeout:g} s"
        raise PingFailed(
            "The endpoint did not answer the ping; see `underlying_error`.",
            status_code=None,
            underlying_error=described,
        ) from error
    return response.status_code
