"""`/`, `/health`, `/ready` and `/metrics`: open to every client that reaches them, without any data of tenants."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Literal, cast

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from redis.exceptions import RedisError
from starlette.datastructures import State

from sendoff import __version__
from sendoff.context import Context
from sendoff.errors import SendoffError
from sendoff.metrics import CONTENT_TYPE, exposition

from .dialbird.errors import DialbirdError
from .http.dependencies import ContextOf
from .http.errors import UNAVAILABLE_SECONDS
from .openapi.operations import open_responses, response_of

router = APIRouter(tags=["health"])

_PATIENCE_SECONDS = 2.0
"""How long a dependency may take to answer before it counts as failing."""

_CHECK_EVERY_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class Health(BaseModel):
    """The process serves."""

    status: Literal["ok"] = "ok"
    version: str = __version__


class Readiness(BaseModel):
    """The process and what it depends on serve."""

    status: Literal["ready"] = "ready"


class NotReadyDetail(BaseModel):
    """Which dependencies fail."""

    error: Literal["not_ready"] = "not_ready"
    message: str
    failing: list[str]


class NotReady(BaseModel):
    """Some dependencies fail."""

    detail: NotReadyDetail


class Index(BaseModel):
    """The service and the paths to go on from."""

    name: str = "Sendoff"
    version: str = __version__
    description: str = "Self-hosted webhook delivery: signed, retried for hours, never silently dropped."
    links: dict[str, str] = {
        "openapi": "/openapi.json",
        "health": "/health",
        "ready": "/ready",
        "metrics": "/metrics",
        "publish an event": "/api/v1/events",
        "webhook endpoints": "/api/v1/webhooks",
        "uploads": "/api/v1/uploads",
        "subscriptions": "/api/v1/subscriptions",
        "operators": "/operator/v1/deliveries",
    }


@router.get("/", operation_id="index", responses=open_responses())
async def index() -> Index:
    """What this service is, and where to go from here."""
    return Index()


@router.get(
    "/health",
    operation_id="health",
    responses={**open_responses(), 429: response_of("`rate_limited`", DialbirdError)},
)
async def health() -> Health:
    """200 while the process serves."""
    return Health()


@router.get(
    "/ready",
    operation_id="ready",
    responses={**open_responses(), 503: {"model": NotReady, "description": "Some dependencies fail"}},
)
async def ready(request: Request, context: ContextOf, response: Response) -> Readiness | NotReady:
    """200 when database, schema and Redis are fine; otherwise 503 with the names of those that are not."""
    failing = await _failing(request.app.state, context)
    if not failing:
        return Readiness()
    response.status_code = 503
    response.headers["Retry-After"] = str(UNAVAILABLE_SECONDS)
    return NotReady(detail=NotReadyDetail(message=f"Not ready: {', '.join(failing)}.", failing=failing))


async def _failing(state: State, context: Context) -> list[str]:
    """The names of the dependencies that fail, as found within the last second.

    Requests share a check, so that the number of requests does not decide how often the database is asked.
    """
    checked, at, check = getattr(state, "readiness", (None, 0.0, None))
    now = context.clock.monotonic()
    if check is None or checked is not context or now - at >= _CHECK_EVERY_SECONDS:
        check = asyncio.create_task(_check(context))
        state.readiness = (context, now, check)
    return await asyncio.shield(check)


async def _check(context: Context) -> list[str]:
    checks = {
        "database": context.database.ping(),
        "schema": context.database.check_schema(),
        "redis": _ping_redis(context),
    }
    answers = await asyncio.gather(*(_fails(name, check) for name, check in checks.items()))
    return [name for name, failed in zip(checks, answers, strict=True) if failed]


@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=Response,
    responses={**open_responses(), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics() -> Response:
    """The process's metrics in Prometheus' text format."""
    return Response(exposition(), headers={"Content-Type": CONTENT_TYPE})


async def _ping_redis(context: Context) -> None:
    await cast("Awaitable[bool]", context.redis.ping())  # the library types it for both of its worlds


async def _fails(name: str, check: Awaitable[None]) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await check
    except (SendoffError, RedisError, OSError, TimeoutError) as error:
        _log.warning("not_ready", dependency=name, error=str(error) or type(error).__name__)
        return True
    return False
