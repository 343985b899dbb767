"""The application: lifespan, middleware, routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache, partial

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from sendoff.errors import SendoffError
from sendoff.observability.statistics import Statistics
from sendoff.processes.memory import return_memory_regularly
from sendoff.processes.startup import open_context
from sendoff.settings import Settings

from . import health
from .customers import deliveries as own_deliveries
from .customers import event_types, listening, portal_links, trials
from .dialbird import subscriptions, token
from .dialbird.middleware import DialbirdAuthMiddleware
from .events import routes as event_routes
from .http.errors import answer_error
from .http.gate import KeyGate
from .http.server.allow_header import Methods
from .http.server.byte_budget import UnfinishedBodies
from .http.server.client_address import TrustedProxies
from .http.server.middleware import RequestMiddleware, called_directly
from .openapi import serving
from .operator import (
    alert_endpoints,
    audit,
    endpoints,
    keys,
    organizations,
    overview,
    secrets,
    statistics,
    transfers,
)
from .operator import event_types as all_event_types
from .operator import portal_links as operator_portal_links
from .operator.traffic import attempts, dead_letters, deliveries, events, replays, search
from .optimaldial import uploads, webhooks
from .pages import routes as pages
from .pages.portal.brand import Brand

_ROUTERS = (
    webhooks.router,
    own_deliveries.router,
    trials.router,
    listening.router,
    event_types.router,
    portal_links.router,
    uploads.router,
    event_routes.router,
    subscriptions.router,
    token.router,
    dead_letters.router,
    replays.router,
    deliveries.router,
    endpoints.router,
    events.router,
    attempts.router,
    alert_endpoints.router,
    audit.router,
    overview.router,
    operator_portal_links.router,
    statistics.router,
    search.router,
    all_event_types.router,
    organizations.router,
    keys.router,
    secrets.router,
    transfers.router,
    health.router,
)


class Api(FastAPI):
    """Publishing goes past the framework, whose middleware and routing take longer than the endpoint itself."""

    publish: Mapping[str, ASGIApp]
    """By path; what is called for a POST to it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        publish = self.publish.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if publish is None:
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        await publish(scope, receive, send)


def create_app(settings: Settings) -> FastAPI:
    """The API. It opens its context when it starts: errors.WrongSchema and the like are raised there."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_context(settings, traced_as="sendoff-web") as context:
            app.state.context = context
            context.service(Brand.of)  # a logo that cannot be used is said at start, not at the first page
            regularly = (Statistics.of(context).flush_regularly(), return_memory_regularly())
            background = [asyncio.create_task(each) for each in regularly]
            yield
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)

    app = Api(
        lifespan=lifespan,
        # No interactive pages, which load their scripts from a CDN; `serving` serves the document itself.
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers={
            SendoffError: answer_error,
            HTTPException: pages.answer_framework_error,
            RequestValidationError: answer_error,
        },
    )
    app.add_middleware(DialbirdAuthMiddleware)
    outermost = partial(
        RequestMiddleware,
        body_limit=settings.body_limit_bytes,
        body_timeout=settings.body_timeout_seconds,
        proxies=TrustedProxies(settings.trusted_proxies),
        unfinished=UnfinishedBodies(),
        gate=KeyGate(),
    )
    app.add_middleware(outermost)
    app.publish = {route.path: outermost(called_directly(route.endpoint)) for route in event_routes.PUBLISHING}
    include_routes(app)
    app.state.methods = Methods.of(app)
    return app


def include_routes(app: FastAPI) -> None:
    """Add every route of the API."""
    app.router.routes.extend(_routes())


@cache
def _routes() -> Sequence[BaseRoute]:
    """Every route. Making them takes FastAPI most of the time that an application takes, and they hold no state."""
    router = APIRouter()
    for one in _ROUTERS:
        router.include_router(one)
    return (*event_routes.PUBLISHING, *router.routes, serving.ROUTE, *pages.ROUTES)
