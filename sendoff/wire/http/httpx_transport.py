"""The guarded way out as a transport of httpx, for what leaves the process rarely."""

from __future__ import annotations

import httpx

from sendoff.policy.addresses import AddressPolicy, check_url
from sendoff.wire import errors
from sendoff.wire.http.client import Client
from sendoff.wire.http.message import OWN_HEADERS, encode_headers

_DEFAULT_SECONDS = 10.0
_UNDONE_HEADERS = {"content-encoding", "content-length", "transfer-encoding"}


class GuardedTransport(httpx.AsyncBaseTransport):
    """For `httpx.AsyncClient(transport=…, trust_env=False, follow_redirects=False)`.

    Raises UnsafeUrl as it is for a URL that may not be sent to, and for each WireError the httpx exception that
    comes closest, with the WireError as its `__cause__`. The longest of httpx's timeouts is the deadline of the
    whole exchange. Bodies come capped and as they were sent: nothing is ever decompressed, so Content-Encoding
    and the lengths on the wire are left out of the response's headers.
    """

    def __init__(self, client: Client, policy: AddressPolicy) -> None:
        self._client = client
        self._policy = policy

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        target = check_url(str(request.url), self._policy)
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        head = encode_headers(pair for pair in pairs if pair[0].lower() not in OWN_HEADERS)
        body = await request.aread()
        try:
            response = await self._client.send(target, head, body, timeout=_deadline(request), method=request.method)
        except errors.WireError as error:
            raise _translate(error)(str(error), request=request) from error
        headers = [pair for pair in response.headers if pair[0].lower() not in _UNDONE_HEADERS]
        return httpx.Response(
            response.status,
            headers=headers,
            stream=httpx.ByteStream(response.body),
            extensions={"truncated": response.truncated, "elapsed_ms": response.elapsed_ms},
        )

    async def aclose(self) -> None:
        """Nothing: the client belongs to whoever made it."""


def _deadline(request: httpx.Request) -> float:
    seconds = [value for value in request.extensions.get("timeout", {}).values() if value is not None]
    return max(seconds, default=_DEFAULT_SECONDS)


def _translate(error: errors.WireError) -> type[httpx.TransportError]:
    match error:
        case errors.TimedOut(phase="resolve" | "connect" | "tls"):
            return httpx.ConnectTimeout
        case errors.TimedOut(phase="write"):
            return httpx.WriteTimeout
        case errors.TimedOut():
            return httpx.ReadTimeout
        case errors.ConnectionLost():
            return httpx.ReadError
        case errors.BadResponse():
            return httpx.RemoteProtocolError
        case _:
            return httpx.ConnectError
