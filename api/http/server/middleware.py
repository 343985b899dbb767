"""What every request passes through, as plain ASGI: its id, client, bounds of its body, unforeseen errors, metrics."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any, Protocol

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from sendoff.clock import Clock, SystemClock
from sendoff.errors import SendoffError, TooLarge
from sendoff.ids import new_request_id
from sendoff.observability.metrics import REQUEST_SECONDS, REQUESTS

from ..error_response import ErrorResponse
from ..errors import (
    Internal,
    TooManyHeaders,
    TooSlow,
    UnsupportedEncoding,
    UrlTooLong,
    answer_error,
    answer_problem,
    describe,
    respond,
)
from .byte_budget import UnfinishedBodies
from .client_address import TrustedProxies, network_of
from .disconnect import refuse_if_client_has_left
from .protocol import BODY_IS_HERE

BATCH_LIMIT_BYTES = 32 * 1024 * 1024
"""Bytes of a batch of events. Each batch under way takes a few times this in memory."""

LEAST_BODY_BYTES_PER_SECOND = 1_024
BODY_GRACE_SECONDS = 10.0
"""A body arrives at the least rate on average, not counting the grace. Lower rates let clients hold connections longer
for less traffic of theirs; higher ones fail on poor mobile networks."""

LONGEST_QUERY_BYTES = 16 * 1024
"""Bytes of a URL's query. Reading one this long takes 3 ms; a hundred event types of the longest name fit."""

MANY_UNDER_WAY = 2
"""Requests under way beyond which a read first waits until the event loop has seen which clients have left. With fewer,
reads wait a little longer; with more, clients that leave at once cost others more: 600 of them a second made a victim's
p95 91 ms without this, and 25 ms with it. A write ends by itself when its body is asked for."""

MOST_HEADERS = 200
"""Headers of a request. Browsers behind several proxies send about 40."""

Endpoint = Callable[[Request], Awaitable[Response]]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_UNMATCHED = "unmatched"
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

_log = structlog.get_logger(__name__)

_requests, _request_seconds = cache(REQUESTS.labels), cache(REQUEST_SECONDS.labels)
"""Metrics by their labels, which take the library as long as counting does. There are a few hundred at most."""


class Gate(Protocol):
    """Refuses requests before anything of them is worked on."""

    async def refuse(self, scope: Scope) -> SendoffError | None:
        """Why the request is refused, if it is."""

    def note(self, scope: Scope, status: int, *, matched: bool) -> None:
        """See how a request was answered, if it was. `matched`: whether there is a route for it."""


class RequestMiddleware:
    """The outermost middleware. No exception of the product gets past it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        body_limit: int,
        body_timeout: float,
        proxies: TrustedProxies | None = None,
        clock: Clock | None = None,
        unfinished: UnfinishedBodies | None = None,
        gate: Gate | None = None,
    ) -> None:
        """`body_limit`: bytes, for routes without a limit of their own. `body_timeout`: seconds, for all bodies.

        `unfinished`: the bodies that are being received, if others count them too.
        """
        self._app = app
        self._clock = clock or SystemClock()
        self._body_limit = body_limit
        self._body_timeout = body_timeout
        self._proxies = proxies or TrustedProxies()
        self._unfinished = unfinished or UnfinishedBodies()
        self._gate = gate
        self._under_way = 0
        # Uploads count their own bytes, by kind of upload.
        self._limits = {
            "/api/v1/events/batch": BATCH_LIMIT_BYTES,
            "/operator/v1/import": BATCH_LIMIT_BYTES,
            "/api/v1/uploads": None,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        scope = {**self._proxies.resolve(scope), "method": "GET" if method == "HEAD" else method}
        request_id = _request_id(scope)
        scope.setdefault("state", {}).update(request_id=request_id, is_head=method == "HEAD")
        headers = scope["state"].setdefault("response_headers", {})
        response = _Response(send, request_id, headers, without_body=method == "HEAD")
        limit = self._limits.get(scope["path"], self._body_limit)
        body = _BoundedBody(receive, scope, limit=limit, seconds=self._body_timeout, unfinished=self._unfinished)
        started = self._clock.monotonic()
        self._under_way += 1
        try:
            with bound_contextvars(request_id=request_id):
                await self._handle(scope, body, response)
        finally:
            self._under_way -= 1
            self._unfinished.remove(body)
        route = _route_name(scope)
        if self._gate is not None and response.status:
            self._gate.note(scope, response.status, matched=route != _UNMATCHED)
        _requests(method if method in _METHODS else "OTHER", route, response.status).inc()
        if response.status >= 400:
            _log_refusal(scope, method, response)
        _request_seconds(route).observe(self._clock.monotonic() - started)

    async def _handle(self, scope: Scope, receive: Receive, response: _Response) -> None:
        try:
            if self._under_way > MANY_UNDER_WAY and scope["method"] == "GET":
                await asyncio.sleep(0)
                refuse_if_client_has_left(scope)
            refusal = _refuse_head(scope)
            if refusal is None and self._gate is not None:
                refusal = await self._gate.refuse(scope)
            if refusal is None:
                await self._app(scope, receive, response)
            else:
                await answer_problem(scope, refusal)(scope, receive, response)
        except ClientDisconnect:
            return
        except Exception as error:
            _log.exception("request_failed", method=scope["method"], path=scope["path"])
            if response.status:
                raise  # half a response is out: the server closes the connection, which shows the client that it is cut
            scope["state"]["refusal"] = problem = describe(error)
            await respond(scope["path"], response.request_id, problem)(scope, receive, response)


def _refuse_head(scope: Scope) -> SendoffError | None:
    """Why a request's query or headers are not read at all."""
    if len(scope.get("query_string", b"")) > LONGEST_QUERY_BYTES:
        return UrlTooLong()
    return TooManyHeaders() if len(scope["headers"]) > MOST_HEADERS else None


def _log_refusal(scope: Scope, method: str, response: _Response) -> None:
    """A line for a 4xx at the level debug, and for every 5xx. The client sees less than the reason here."""
    problem: ErrorResponse | None = scope["state"].get("refusal")
    if problem is not None and isinstance(problem.error, Internal):
        return  # `request_failed` has its trace
    fields = {
        "method": method,
        "path": scope["path"],
        "status": response.status,
        "because": None if problem is None else str(problem.error),
        "error": None if problem is None else type(problem.error).__name__,
        "request_id": response.request_id,
    }
    if response.status >= 500:
        _log.warning("request_refused", **fields)
    else:
        _log.debug("request_refused", **fields)


def called_directly(endpoint: Endpoint) -> ASGIApp:
    """The endpoint as an application, past the framework's middleware and routes, which take longer than it does."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["endpoint"] = endpoint
        request = _IndexedRequest(scope, receive)
        try:
            response = await endpoint(request)
        except SendoffError as error:
            response = await answer_error(request, error)
        await response(scope, receive, send)

    return app


class _IndexedRequest(Request):
    """The framework's, at a third of its cost for what publishing asks: six headers by name, and the body."""

    async def body(self) -> bytes:
        pieces: list[bytes] = []
        while not hasattr(self, "_body"):
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                self._body = b"".join(pieces)
        return self._body

    @property
    def headers(self) -> Headers:
        if not hasattr(self, "_headers"):
            self._headers = _IndexedHeaders(scope=self.scope)
        return self._headers


class _IndexedHeaders(Headers):
    def __init__(self, *, scope: Scope) -> None:
        super().__init__(scope=scope)
        self._index = dict(reversed(self._list))  # of several with one name the first counts

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.lower().encode("latin-1") in self._index

    def __getitem__(self, key: str) -> str:
        return self._index[key.lower().encode("latin-1")].decode("latin-1")

    def get(self, key: str, default: Any = None) -> Any:
        value = self._index.get(key.lower().encode("latin-1"))
        return default if value is None else value.decode("latin-1")


class _Response:
    """Passes a response on, with the request's id and its surface's headers; without the body for HEAD."""

    __slots__ = ("_headers", "_send", "_without_body", "request_id", "status")

    def __init__(self, send: Send, request_id: str, headers: Mapping[str, str], *, without_body: bool) -> None:
        self._send = send
        self._headers = headers
        self._without_body = without_body
        self.request_id = request_id
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.request_id
            headers.update(self._headers)
        elif self._without_body:
            message = {**message, "body": b""}
        await self._send(message)


class _BoundedBody:
    """Passes a body on until it is too large or too slow; nothing is read of one that announces what is not taken."""

    __slots__ = (
        "_complete",
        "_evicted",
        "_limit",
        "_receive",
        "_received",
        "_scope",
        "_seconds",
        "_timeout",
        "_unfinished",
        "_waited",
    )

    def __init__(
        self, receive: Receive, scope: Scope, *, limit: int | None, seconds: float, unfinished: UnfinishedBodies
    ) -> None:
        self._receive = receive
        self._scope = scope
        self._limit = limit
        self._seconds = seconds
        self._received = -1
        self._waited = 0.0
        self._complete = False
        self._unfinished = unfinished
        self._evicted = False
        self._timeout: asyncio.Timeout | None = None

    def evict(self) -> None:
        """Refuse it as too slow: too many bodies are being received."""
        self._evicted = True
        if self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def __call__(self) -> Message:
        if self._complete:
            return await self._receive()
        if self._received < 0:
            self._check_announced()
            self._received = 0
        message = await self._receive_in_time()
        size = len(message.get("body", b""))
        self._received += size
        self._complete = not message.get("more_body", False)
        self._check_size(self._received)
        if self._complete:
            self._unfinished.remove(self)
        elif self._limit is not None:  # what has no limit here is written to disk as it arrives
            self._unfinished.add(self, network_of(self._scope), size)
            if self._evicted:
                raise TooSlow
        return message

    async def _receive_in_time(self) -> Message:
        """The next piece. Only the time in which the client is waited for counts."""
        if self._evicted:
            raise TooSlow
        if self._scope.get(BODY_IS_HERE):  # as of most requests, which then need no timer
            return await self._receive()
        clock = asyncio.get_running_loop().time
        started = clock()
        allowed = min(self._seconds, BODY_GRACE_SECONDS + self._received / LEAST_BODY_BYTES_PER_SECOND)
        try:
            async with asyncio.timeout_at(started + allowed - self._waited) as self._timeout:
                return await self._receive()
        except TimeoutError:
            raise TooSlow from None
        finally:
            self._timeout = None
            self._waited += clock() - started

    def _check_announced(self) -> None:
        for name, value in self._scope["headers"]:
            if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                raise UnsupportedEncoding
            if name == b"content-length" and value.isdigit() and self._limit is not None:
                self._check_size(int(value[:20]))

    def _check_size(self, size: int) -> None:
        if self._limit is not None and size > self._limit:
            raise TooLarge(f"The body is larger than {self._limit:,} bytes, the limit here; send less at a time.")


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return new_request_id()


def _route_name(scope: Scope) -> str:
    route = scope.get("route")
    if route is not None:
        return str(route.path)
    return str(scope["path"]) if "endpoint" in scope and not scope.get("path_params") else _UNMATCHED
