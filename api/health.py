"""`/health`, `/ready` and `/metrics`: open to whoever reaches them, and silent about tenants."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Literal, cast

import structlog
from fastapi import APIRouter, Response
from pydantic import BaseModel
from redis.exceptions import RedisError

from sendoff import __version__
from sendoff.context import Context
from sendoff.errors import SendoffError
from sendoff.metrics import CONTENT_TYPE, exposition

from .http.dependencies import ContextOf
from .http.errors import UNAVAILABLE_SECONDS

router = APIRouter(tags=["health"])

_PATIENCE_SECONDS = 2.0

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


@router.get("/health", operation_id="health")
async def health() -> Health:
    """200 while the process serves."""
    return Health()


@router.get(
    "/ready",
    operation_id="ready",
    responses={503: {"model": NotReady, "description": "Some dependencies fail"}},
)
async def ready(context: ContextOf, response: Response) -> Readiness | NotReady:
    """200 when database, schema and Redis are fine; otherwise 503 with the names of those that are not."""
    checks = {
        "database": context.database.ping(),
        "schema": context.database.check_schema(),
        "redis": _ping_redis(context),
    }
    answers = await asyncio.gather(*(_fails(name, check) for name, check in checks.items()))
    failing = [name for name, failed in zip(checks, answers, strict=True) if failed]
    if not failing:
        return Readiness()
    response.status_code = 503
    response.headers["Retry-After"] = str(UNAVAILABLE_SECONDS)
    return NotReady(detail=NotReadyDetail(message=f"Not ready: {', '.join(failing)}.", failing=failing))


@router.get("/metrics", operation_id="metrics", response_class=Response)
async def metrics() -> Response:
    """The process's metrics in Prometheus' text format."""
    return Response(exposition(), headers={"Content-Type": CONTENT_TYPE})


async def _ping_redis(context: Context) -> None:
    await cast(Awaitable[bool], context.redis.ping())  # the library types it for both of its worlds


async def _fails(name: str, check: Awaitable[None]) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await check
    except (SendoffError, RedisError, OSError, TimeoutError) as error:
        _log.warning("not_ready", dependency=name, error=str(error) or type(error).__name__)
        return True
    return False
