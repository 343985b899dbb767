"""The signed ping: an endpoint is saved only if its receiver answers one with a 2xx."""

from __future__ import annotations

import secrets as randomness
from collections.abc import Sequence

import orjson

from sendoff.context import Context
from sendoff.dialects.base import AttemptInfo, EventData
from sendoff.errors import PingFailed
from sendoff.ids import new_event_id, new_id
from sendoff.policy.addresses import check_url
from sendoff.policy.matching import PING
from sendoff.wire.errors import WireError
from sendoff.wire.http.message import encode_headers


async def ping(context: Context, *, dialect: str, url: str, secrets: Sequence[str], organization_id: str) -> None:
    """Send a `webhook.ping`, signed with each of `secrets`, to `url`.

    Raises UnsafeUrl, and PingFailed without a 2xx in time.
    """
    spoken = context.dialects.get(dialect)
    now = context.clock.now()
    event_data = EventData(
        event_id=new_event_id(),
        type=PING,
        organization_id=organization_id,
        occurred_at=now,
        data=orjson.dumps({"challenge": randomness.token_urlsafe(24)}),
    )
    body = spoken.body(event_data)
    attempt_info = AttemptInfo(delivery_id=new_id(), attempt=1, timestamp=int(now.timestamp()))
    headers = spoken.headers(event_data, attempt_info, body, secrets)
    status = await _post(context, url, headers, body, organization_id)
    if not 200 <= status < 300:
        raise PingFailed(
            f"The endpoint answered the ping with {status}; it must answer with a 2xx to be saved.",
            status_code=status,
            underlying_error=None,
        )


async def _post(context: Context, url: str, headers: list[tuple[str, str]], body: bytes, organization_id: str) -> int:
    # By the same way as deliveries: a second reader of URLs might see another host in one, or see none and fail.
    target = check_url(url, context.addresses)
    try:
        response = await context.wire.send(
            target,
            encode_headers(headers),
            body,
            timeout=context.settings.ping_timeout_seconds,
            owner=organization_id,
        )
    except WireError as error:
        raise PingFailed(
            "The endpoint did not answer the ping; see `underlying_error`.",
            status_code=None,
            underlying_error=str(error),
        ) from error
    return response.status
