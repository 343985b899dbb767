"""`/`, `/health`, `/ready` and `/metrics`: open to every client that reaches them, without any data of tenants."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Literal, cast

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from redis.exceptions import RedisError
from starlette.datastructures import State

from sendoff import __version__
from sendoff.context import Context
from sendoff.errors import SendoffError
from sendoff.metrics import CONTENT_TYPE, INSTALLATION, exposition
from sendoff.operators.measurements import update_metrics

from .dialbird.errors import DialbirdError
from .http.dependencies import ContextOf
from .http.errors import UNAVAILABLE_SECONDS
from .openapi.operations import open_responses, response_of

router = APIRouter(tags=["health"])

_PATIENCE_SECONDS = 2.0
"""How long a dependency may take to answer before it counts as failing."""

_CHECK_EVERY_SECONDS = 1.0
_FAILED = "failed"

_log = structlog.get_logger(__name__)


class Health(BaseModel):
    """The process serves."""

    status: Literal["ok"] = "ok"
    version: str = __version__


class Readiness(BaseModel):
    """The process takes requests. What it works without for a while is among the warnings."""

    status: Literal["ready"] = "ready"
    warnings: list[str] = []
    """Dependencies that fail or differ, though events are accepted all the same: `redis`, `schema`."""


class NotReadyDetail(BaseModel):
    """Why no request should be sent here: `database`, `schema` or `draining`."""

    error: Literal["not_ready"] = "not_ready"
    message: str
    failing: list[str]


class NotReady(BaseModel):
    """The process should get no requests."""

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
    responses={**open_responses(), 503: {"model": NotReady, "description": "The process should get no requests"}},
)
async def ready(request: Request, context: ContextOf, response: Response) -> Readiness | NotReady:
    """200 while requests can be served; otherwise 503 with what fails, or `draining` before the process ends.

    Without Redis, and on a newer schema that this version runs on, it serves: those are warnings.
    """
    state = await find_readiness(request.app.state, context)
    failing = [*state.failing, *(["draining"] if is_draining(request.app.state) else [])]
    if not failing:
        return Readiness(warnings=state.warnings)
    response.status_code = 503
    response.headers["Retry-After"] = str(UNAVAILABLE_SECONDS)
    return NotReady(detail=NotReadyDetail(message=f"Not ready: {', '.join(failing)}.", failing=failing))


def start_draining(state: State) -> None:
    """From now on the application says that it is not ready, and serves."""
    state.draining = True


def is_draining(state: State) -> bool:
    """Whether `start_draining` was called."""
    return bool(getattr(state, "draining", False))


@dataclass(frozen=True, slots=True)
class ReadinessState:
    """The names of the dependencies that fail, and of those that the process works without."""

    failing: list[str]
    warnings: list[str]


async def find_readiness(state: State, context: Context) -> ReadinessState:
    """What the dependencies were found to be within the last second.

    Requests share a check, so that the number of requests does not decide how often the database is asked.
    """
    checked, at, check = getattr(state, "readiness", (None, 0.0, None))
    now = context.clock.monotonic()
    if check is None or checked is not context or now - at >= _CHECK_EVERY_SECONDS:
        check = asyncio.create_task(_check(context))
        state.readiness = (context, now, check)
    found: ReadinessState = await asyncio.shield(check)
    return found


async def _check(context: Context) -> ReadinessState:
    database, schema, redis = await asyncio.gather(
        _ask("database", context.database.ping()),
        _ask("schema", context.database.check_schema()),
        _ask("redis", _ping_redis(context)),
    )
    failing = [name for name, answer in (("database", database), ("schema", schema)) if answer == _FAILED]
    warnings = [name for name, answer in (("schema", schema), ("redis", redis)) if answer is not None]
    return ReadinessState(failing, [name for name in warnings if name not in failing])


@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=Response,
    responses={**open_responses(), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(context: ContextOf) -> Response:
    """The process's metrics in Prometheus' text format, and those of the installation as a whole."""
    await update_metrics(context)
    return Response(exposition(INSTALLATION), headers={"Content-Type": CONTENT_TYPE})


async def _ping_redis(context: Context) -> None:
    await cast("Awaitable[bool]", context.redis.ping())  # the library types it for both of its worlds


async def _ask(name: str, check: Awaitable[str | None]) -> str | None:
    """What the check returns: None, or a sentence on what differs. `_FAILED` if it fails or takes too long."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await check
    except (SendoffError, RedisError, OSError, TimeoutError) as error:
        _log.warning("not_ready", dependency=name, error=str(error) or type(error).__name__)
        return _FAILED
