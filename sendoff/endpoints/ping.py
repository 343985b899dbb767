"""The signed ping: an endpoint is saved only if its receiver answers one with a 2xx."""

from __future__ import annotations

import secrets as randomness
from collections.abc import Sequence

import orjson

from sendoff.authorization.requests import Credentials, send_signed, sign_request
from sendoff.context import Context
from sendoff.dialects.base import EventData
from sendoff.errors import PingFailed
from sendoff.ids import new_event_id
from sendoff.policy.delivery.attempt_result import classify_response
from sendoff.policy.endpoints.matching import PING
from sendoff.wire.errors import WireError
from sendoff.wire.http.message import Response


async def ping(
    context: Context, *, dialect: str, url: str, secrets: Sequence[str], credentials: Credentials, organization_id: str
) -> Response:
    """Send a `webhook.ping`, signed with each of `secrets`, to `url`, and return the receiver's 2xx.

    Raises UnsafeUrl, and PingFailed without a 2xx in time. It carries the endpoint's headers and authentication.
    """
    event_data = EventData(
        event_id=new_event_id(),
        type=PING,
        organization_id=organization_id,
        occurred_at=context.clock.now(),
        data=orjson.dumps({"challenge": randomness.token_urlsafe(24)}),
    )
    request = sign_request(context, event_data, dialect=dialect, url=url, secrets=secrets, credentials=credentials)
    try:
        response = await send_signed(
            context, request, timeout=context.settings.ping_timeout_seconds, owner=organization_id
        )
    except WireError as error:
        raise PingFailed(
            "The endpoint did not answer the ping; see `underlying_error`.",
            status_code=None,
            underlying_error=str(error),
            outcome=error.name,
        ) from error
    if not 200 <= response.status < 300:
        raise PingFailed(
            f"The endpoint answered the ping with {response.status}; it must answer with a 2xx to be saved.",
            status_code=response.status,
            underlying_error=None,
            outcome=classify_response(response.status, (), context.clock.now()).name,
            answer=response.body.decode(errors="replace"),
        )
    return response
