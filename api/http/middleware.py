"""What every request passes through, as plain ASGI: its id, the size of its body, the last word on errors, metrics."""

from __future__ import annotations

import re
from collections.abc import Mapping

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from sendoff.clock import Clock, SystemClock
from sendoff.errors import TooLarge
from sendoff.ids import new_request_id
from sendoff.metrics import REQUEST_SECONDS, REQUESTS

from .errors import describe, respond

BATCH_LIMIT_BYTES = 32 * 1024 * 1024

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_UNMATCHED = "unmatched"
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

_log = structlog.get_logger(__name__)


class RequestMiddleware:
    """The outermost middleware. Nothing that the product raises gets past it."""

    def __init__(self, app: ASGIApp, *, body_limit: int, clock: Clock | None = None) -> None:
        """`body_limit`: bytes, for routes that have no limit of their own."""
        self._app = app
        self._clock = clock or SystemClock()
        self._body_limit = body_limit
        # Uploads count their own bytes, by kind of upload.
        self._limits = {"/api/v1/events/batch": BATCH_LIMIT_BYTES, "/api/v1/uploads": None}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id, scope["state"].setdefault("answer_headers", {}))
        started = self._clock.monotonic()
        with bound_contextvars(request_id=request_id):
            await self._handle(scope, self._bound(scope, receive), answer)
        route = _route_name(scope)
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        REQUESTS.labels(method, route, answer.status).inc()
        REQUEST_SECONDS.labels(route).observe(self._clock.monotonic() - started)

    async def _handle(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            return
        except Exception as error:
            _log.exception("request_failed", method=scope["method"], path=scope["path"])
            if answer.status:
                raise  # half an answer is out: the server cuts the connection, which is all that is left to say
            await respond(scope["path"], answer.request_id, describe(error))(scope, receive, answer)

    def _bound(self, scope: Scope, receive: Receive) -> Receive:
        limit = self._limits.get(scope["path"], self._body_limit)
        return receive if limit is None else _BoundedReceive(receive, scope, limit)


class _Answer:
    """Passes an answer on, with the request's id and what a surface adds to all of its answers among its headers."""

    __slots__ = ("_headers", "_send", "request_id", "status")

    def __init__(self, send: Send, request_id: str, headers: Mapping[str, str]) -> None:
        self._send = send
        self._headers = headers
        self.request_id = request_id
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.request_id
            headers.update(self._headers)
        await self._send(message)


class _BoundedReceive:
    """Passes a body on until it is larger than the limit; one that announces it is not read at all."""

    __slots__ = ("_left", "_limit", "_receive", "_scope")

    def __init__(self, receive: Receive, scope: Scope, limit: int) -> None:
        self._receive = receive
        self._scope = scope
        self._limit = limit
        self._left: int | None = None

    async def __call__(self) -> Message:
        if self._left is None:
            self._left = self._limit - _announced(self._scope, self._limit)
            self._check()
            self._left = self._limit
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        self._check()
        return message

    def _check(self) -> None:
        if self._left is not None and self._left < 0:
            raise TooLarge(f"The body is larger than {self._limit:,} bytes, the limit here.")


def _announced(scope: Scope, limit: int) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value) if len(value) < 20 else limit + 1
    return 0


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
