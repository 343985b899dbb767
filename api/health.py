"""`/`, `/health`, `/ready` and `/metrics`: open to every client that reaches them, without any data of tenants."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Literal, cast

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from starlette.datastructures import State

from sendoff import __version__
from sendoff.context import Context
from sendoff.errors import SendoffError, Unavailable
from sendoff.observability.metrics import CONTENT_TYPE, INSTALLATION, exposition
from sendoff.operators.installation.measurements import (
    MEASURE_SLOWLY_SECONDS,
    Measurements,
    count_unreadable_secrets,
    opens_no_secret,
    update_metrics,
)
from sendoff.operators.installation.workers import list_workers

from .dialbird.errors import DialbirdError
from .http.dependencies import ContextOf
from .http.errors import UNAVAILABLE_SECONDS
from .http.schemas import ResponseModel
from .openapi.operations import open_responses, response_of
from .pages.front import front_page, is_browser

router = APIRouter(tags=["health"])

_PATIENCE_SECONDS = 2.0
"""How long a dependency may take to answer before it counts as failing."""

_CHECK_EVERY_SECONDS = 1.0

WRITE_SECONDS = 5.0
"""How often `/ready` lets the database commit a write. More often costs a commit each; less often tells later of a full
disk."""

_FAILED = "failed"

_log = structlog.get_logger(__name__)


class Health(ResponseModel):
    """The process serves."""

    status: Literal["ok"] = "ok"
    version: str = __version__


class Readiness(ResponseModel):
    """The process takes requests. What it works without for a while is among the warnings."""

    status: Literal["ready"] = "ready"
    warnings: list[str] = Field(default_factory=list)
    """What fails or differs, though events are accepted all the same: `redis` is away, the `schema` is newer or older
    than this version's own, no key opens some of the `secrets`, or no worker runs (`workers`)."""


class NotReadyDetail(ResponseModel):
    """Why no request should be sent here.

    `database` and `schema` fail, it takes no writes, as with a full disk (`writable`), this process's keys open none of
    the `secrets`, or the process is `draining`.
    """

    error: Literal["not_ready"] = "not_ready"
    message: str
    failing: list[str]


class NotReady(BaseModel):
    """The process should get no requests."""

    detail: NotReadyDetail


_LINKS = {
    "dashboard": "/dashboard",
    "portal": "/portal",
    "api reference": "/docs",
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


class Index(ResponseModel):
    """The service and the paths to go on from."""

    name: str = "Sendoff"
    version: str = __version__
    description: str = "Self-hosted webhook delivery: signed, retried for hours, never silently dropped."
    links: dict[str, str] = Field(default_factory=_LINKS.copy)


@router.get("/", operation_id="index", response_model=Index, responses=open_responses())
async def index(request: Request) -> Index | Response:
    """What this service is, and where to go from here. A browser gets it as a page."""
    return front_page(request, Index()) if is_browser(request) else Index()


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

    Without Redis, without a worker, and on a newer schema that this version runs on, it serves: those are warnings.
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
    checks = (
        _ask("database", context.database.ping()),
        _ask("writable", context.service(_Writable.of).check(context)),
        _ask("schema", context.database.check_schema()),
        _check_secrets(context),
        _ask("redis", _ping_redis(context)),
        _ask("workers", _check_workers(context)),
    )
    answers = dict(zip(_CHECKED, await asyncio.gather(*checks), strict=True))
    failing = [name for name in _NEEDED if answers[name] == _FAILED]
    if "database" in failing:
        failing = [name for name in failing if name != "writable"]  # it says nothing more
    warnings = [name for name in _WARNED if answers[name] is not None and name not in failing]
    return ReadinessState(failing, warnings)


_CHECKED = ("database", "writable", "schema", "secrets", "redis", "workers")
_NEEDED = ("database", "writable", "schema", "secrets")
_WARNED = ("schema", "secrets", "redis", "workers")


class _Writable:
    """Tries a write every WRITE_SECONDS, and says in between what came of it."""

    def __init__(self) -> None:
        self._tried_at = float("-inf")
        self._refusal: Unavailable | None = None

    @classmethod
    def of(cls, _context: Context) -> _Writable:
        return cls()

    async def check(self, context: Context) -> None:
        """Raises Unavailable if the database takes no writes."""
        if context.clock.monotonic() - self._tried_at >= WRITE_SECONDS:
            self._tried_at, self._refusal = context.clock.monotonic(), None
            try:
                await context.database.check_writable()
            except Unavailable as refusal:
                self._refusal = refusal
        if self._refusal is not None:
            raise self._refusal


async def _check_secrets(context: Context) -> str | None:
    """As `_ask`. A check that cannot be made does not fail: the database or Redis is reported instead."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            measured = await context.service(Measurements.of).current(context, not_older_than=MEASURE_SLOWLY_SECONDS)
    except TimeoutError:
        return None
    if measured is None:
        return None
    if opens_no_secret(context, measured):
        _log.error("not_ready", dependency="secrets", error="SENDOFF_SECRET_KEYS opens none of the endpoints' secrets.")
        return _FAILED
    unreadable = count_unreadable_secrets(context, measured)
    return f"{unreadable} secrets cannot be opened." if unreadable else None


async def _check_workers(context: Context) -> str | None:
    return None if await list_workers(context) else "No worker runs."


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
