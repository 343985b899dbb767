"""The router's application: from a request to the cell of its organization."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson
from starlette.datastructures import Headers, State
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sendoff import __version__
from sendoff.accounts.authentication import bearer_token
from sendoff.clock import SystemClock
from sendoff.errors import Invalid, NotFound, SendoffError, Unauthenticated, Unavailable
from sendoff.observability.metrics import CONTENT_TYPE, exposition
from sendoff.rate_windows import LocalCounters, refuse_above
from sendoff.settings import Settings

from ..health import NotReadyDetail, is_draining
from ..http.errors import MOVED_HEADER, answer_problem
from ..http.server.byte_budget import UnfinishedBodies
from ..http.server.client_address import TrustedProxies, network_of
from ..http.server.middleware import RequestMiddleware
from ..pages.front import is_browser, router_page
from . import operators
from .client import CellClient
from .connection import Headers as RawHeaders
from .directory import Directory, Placement

_OPEN = ("/openapi.json", "/docs", "/static/")
"""What every cell answers alike, to everybody."""


class Router:
    """An ASGI application. `state` has what a server notes, as an application of the framework does."""

    def __init__(self, settings: Settings) -> None:
        self.state = State()
        self._settings = settings
        self._client = CellClient(settings.cells, ca_file=settings.ca_file)
        self._directory = Directory(self._client)
        self._guesses = LocalCounters()
        self._clock = SystemClock()
        self._app: ASGIApp = RequestMiddleware(
            self._answer,
            body_limit=settings.body_limit_bytes,
            body_timeout=settings.body_timeout_seconds,
            proxies=TrustedProxies(settings.trusted_proxies),
            unfinished=UnfinishedBodies(),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._app({**scope, "app": self}, receive, send)

    def close(self) -> None:
        """End all connections to cells."""
        self._client.close()

    async def _live(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        self.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._route(scope, receive, send)
        except SendoffError as error:
            await answer_problem(scope, error)(scope, receive, send)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, request = scope["path"], Request(scope)
        is_page = not path.startswith(("/api/", operators.ROOT, *_OPEN, "/health", "/metrics", "/ready"))
        if is_page and request.method in {"GET", "HEAD"} and is_browser(request):
            await router_page(request, status=200 if path == "/" else 404)(scope, receive, send)
        elif path in {"/", "/health"}:
            await JSONResponse({"status": "ok", "version": __version__})(scope, receive, send)
        elif path == "/metrics":
            await Response(exposition(), media_type=CONTENT_TYPE)(scope, receive, send)
        elif path == "/ready":
            await (await self._readiness())(scope, receive, send)
        elif path.startswith(_OPEN):
            await self._forward_open(scope, receive, send)
        elif not path.startswith("/api/") and not path.startswith(operators.ROOT):
            raise NotFound("Pages are served by each cell under its own address, not by the router.")
        else:
            await self._forward_with_token(scope, receive, send)

    async def _forward_with_token(self, scope: Scope, receive: Receive, send: Send) -> None:
        authorization = Headers(scope=scope).get("authorization")
        bearer_token(authorization)  # raises Unauthenticated without one
        token = str(authorization).encode("latin-1")
        placement = await self._placement(scope, token)
        if scope["path"].startswith(operators.ROOT):
            await self._serve_operator(scope, receive, send, placement, token)
            return
        watched = _Watched(send)
        await self._client.forward(placement.cells[0], scope, receive, watched, query=scope["query_string"])
        if watched.is_from_elsewhere:
            self._directory.forget(token)

    async def _placement(self, scope: Scope, token: bytes) -> Placement:
        """Raises Unauthenticated for a token that no cell knows, RateLimited for an address that tries many."""
        placement = self._directory.remembered(token)
        if placement is None:
            self._count_guess(scope)
            placement = await self._directory.find(token)
        if not placement.cells:
            raise Unauthenticated
        return placement

    def _count_guess(self, scope: Scope) -> None:
        now = self._clock.now()
        refuse_above(self._settings.anonymous_rate_limit, self._guesses.count(network_of(scope), now), now)

    async def _forward_open(self, scope: Scope, receive: Receive, send: Send) -> None:
        for cell in self._client.names:
            try:
                await self._client.forward(cell, scope, receive, send, query=scope["query_string"])
            except Unavailable:
                continue
            return
        raise Unavailable("No cell can be reached; try again.")

    async def _serve_operator(
        self, scope: Scope, receive: Receive, send: Send, placement: Placement, token: bytes
    ) -> None:
        named, pairs = _without_cell(scope["query_string"])
        query = urlencode(pairs).encode()
        cells = placement.cells
        if named is not None:
            if named not in cells:
                raise Invalid(f"Unknown `cell`; your key is known to {', '.join(cells)}.", field="cell")
            cells = (named,)
        path, headers = scope["path"], _asking(scope, token)
        noun, is_read = path.removeprefix(operators.ROOT).split("/")[0], scope["method"] == "GET"
        if len(cells) == 1:
            await self._client.forward(cells[0], scope, receive, send, query=query)
        elif operators.is_of_one_thing(path):
            cell = await self._cell_of(scope, cells, headers)
            await self._client.forward(cell, scope, receive, send, query=query)
        elif is_read and noun in operators.MERGED:
            found = await operators.merged_list(self._client, cells, noun, dict(pairs), headers)
            await _shown(*found)(scope, receive, send)
        elif is_read and noun in operators.SIDE_BY_SIDE:
            found = await operators.side_by_side(self._client, cells, path, dict(pairs), headers)
            await _shown(*found)(scope, receive, send)
        else:
            body = await Request(scope, receive).body()
            cell = await operators.cell_of_body(self._client, cells, _parsed(body), headers)
            await self._client.forward(cell, scope, receive, send, query=query, body=body)

    async def _cell_of(self, scope: Scope, cells: tuple[str, ...], headers: RawHeaders) -> str:
        try:
            return await operators.cell_of_resource(self._client, cells, scope["path"], headers)
        except NotFound:
            # A PUT makes what is in no cell yet, and cells show no single worker.
            if scope["method"] == "PUT" or scope["path"].startswith(f"{operators.ROOT}workers/"):
                raise operators.unclear(cells) from None
            raise

    async def _readiness(self) -> Response:
        """200 while any cell is ready, with the others as warnings: their organizations get 503s of their own."""
        answers = await asyncio.gather(
            *(self._client.ask(cell, "/ready") for cell in self._client.names), return_exceptions=True
        )
        failing = [
            cell
            for cell, answer in zip(self._client.names, answers, strict=True)
            if isinstance(answer, BaseException) or answer.status != 200
        ]
        if len(failing) < len(answers) and not is_draining(self.state):
            return JSONResponse({"status": "ready", "warnings": failing})
        detail = NotReadyDetail(message="No cell is ready, or the router ends.", failing=failing or ["draining"])
        return JSONResponse({"detail": detail.model_dump()}, 503)


class _Watched:
    """A way to send that notes whether the answer says that the cell does not have the token, or not any more."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.is_from_elsewhere = False

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message["headers"]}
            self.is_from_elsewhere = message["status"] == 401 or MOVED_HEADER.lower().encode() in names
        await self._send(message)


def _asking(scope: Scope, token: bytes) -> RawHeaders:
    """The headers of the router's own questions for an operator."""
    return [(b"authorization", token), (b"x-request-id", scope["state"]["request_id"].encode())]


def _without_cell(query: bytes) -> tuple[str | None, list[tuple[str, str]]]:
    """The cell that a query names, and the rest of the query."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    named = next((value for name, value in pairs if name == "cell"), None)
    return named, [(name, value) for name, value in pairs if name != "cell"]


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None  # the cell says what is wrong with it


def _shown(status: int, document: Any) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")
