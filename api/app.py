"""The application: lifespan, gate, routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api import events, health
from api.dialbird import subscriptions, token
from api.dialbird.door import DialbirdDoor
from api.errors import answer_error
from api.event_schemas import PLAIN_OPERATIONS
from api.gate import Gate
from api.openapi import document
from api.operator import audit, dead_letters, deliveries, endpoints, replays
from api.optimaldial import uploads, webhooks
from api.routes import Methods
from sendoff import __version__
from sendoff.errors import SendoffError
from sendoff.operations.runtime import open_runtime
from sendoff.settings import Settings

_ROUTERS = (
    webhooks.router,
    uploads.router,
    events.router,
    subscriptions.router,
    token.router,
    dead_letters.router,
    replays.router,
    deliveries.router,
    endpoints.router,
    audit.router,
    health.router,
)


def create_app(settings: Settings) -> FastAPI:
    """The API. It opens its runtime when it starts: errors.WrongSchema and the like are raised there."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_runtime(settings) as runtime:
            app.state.runtime = runtime
            yield

    app = FastAPI(
        title="Sendoff",
        version=__version__,
        lifespan=lifespan,
        # The interactive pages load their scripts from a CDN; the document itself is at /openapi.json.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            SendoffError: answer_error,
            HTTPException: answer_error,
            RequestValidationError: answer_error,
        },
    )
    app.add_middleware(DialbirdDoor)
    app.add_middleware(Gate, body_limit=settings.body_limit_bytes)
    app.router.routes[:0] = events.PUBLISHING
    for router in _ROUTERS:
        app.include_router(router)
    app.state.methods = Methods.of(app)
    app.openapi = lambda: document(app, PLAIN_OPERATIONS)  # type: ignore[method-assign]
    return app
