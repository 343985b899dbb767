"""A signed request to an endpoint's URL that is not a delivery: a ping or a test call, which is sent once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sendoff.authorization.credentials import NO_CREDENTIALS, Credentials, send_authorized
from sendoff.context import Context
from sendoff.dialects.base import AttemptInfo, EventData, Headers
from sendoff.ids import new_id
from sendoff.policy.endpoints.addresses import check_url
from sendoff.wire.http.message import Response


@dataclass(frozen=True, slots=True)
class SignedCall:
    """The request that an event makes in a dialect."""

    url: str
    headers: Headers
    body: bytes
    credentials: Credentials = NO_CREDENTIALS

    @property
    def shown_headers(self) -> Headers:
        """The headers as they are shown, without the values that its owner keeps secret."""
        return [*self.headers, *self.credentials.masked(self.headers)]


def sign_call(
    context: Context, event_data: EventData, *, dialect: str, url: str, secrets: Sequence[str], credentials: Credentials
) -> SignedCall:
    """Render the event in the dialect and sign it with each of `secrets`, as a first attempt made now."""
    spoken = context.dialects.get(dialect)
    body = spoken.body(event_data)
    timestamp = int(context.clock.machine_now().timestamp())
    attempt_info = AttemptInfo(delivery_id=new_id(), attempt=1, timestamp=timestamp)
    return SignedCall(url, spoken.headers(event_data, attempt_info, body, secrets), body, credentials)


async def send_call(context: Context, call: SignedCall, *, organization_id: str) -> Response:
    """Send it once, within the time for a ping. Raises UnsafeUrl and WireError."""
    # By the same way as deliveries: a second reader of URLs might see another host in one, or see none and fail.
    target = check_url(call.url, context.addresses_of(organization_id))
    return await send_authorized(
        context,
        target,
        call.headers,
        call.body,
        call.credentials,
        timeout=context.settings.ping_timeout_seconds,
        owner=organization_id,
    )
