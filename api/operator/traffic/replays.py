"""`/operator/v1/replays`: deliveries sent again, counted first."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from sendoff.audit import Actor
from sendoff.context import Context
from sendoff.endpoints.fields import is_none
from sendoff.operators.replays.replay import (
    DEFAULT_RATE,
    ReplayReport,
    Selection,
    cancel_replay,
    count_missing,
    count_replay,
    get_replay,
    list_replays,
    start_replay,
)
from sendoff.policy.states import ReplayState

from ...http.dependencies import ContextOf, Operator, OperatorReader, json_body
from ...http.idempotency import Write
from ...http.pagination import decode_cursor, split_page
from ...http.schemas import Id, Page, Time
from ...openapi.operations import body_of, either_of, error_responses, response_named, with_schemas
from ..schemas import ListQuery
from .filters import NewReplay

router = APIRouter(prefix="/operator/v1/replays", tags=["operator: replays"])


class DryRun(BaseModel):
    """How many deliveries would be sent, to how many endpoints; `missing` ones, which were never made, not counted."""

    count: int
    endpoints: int
    missing: int | None = Field(
        None, exclude_if=is_none, description="How many would be made besides, if `filter.missing` asks for them."
    )


class ReplayView(BaseModel):
    """A replay and how far it is."""

    id: Id
    state: ReplayState
    total: int
    replayed: int
    succeeded: int
    failed: int
    created_at: Time
    finished_at: Time | None

    @classmethod
    def of(cls, report: ReplayReport) -> Self:
        progress = report.progress
        return cls(
            **report.replay.model_dump(),
            replayed=progress.replayed,
            succeeded=progress.succeeded,
            failed=progress.failed,
        )


REPLAY_OR_COUNT = either_of(
    "ReplayOrCount",
    "The replay that runs from now on; after `dry_run` `count` and `endpoints`, and nothing else.",
    ReplayView,
    DryRun,
)
REPLAY_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: response_named("ReplayOrCount", "Dry run: nothing is sent"),
    202: response_named("ReplayOrCount", "The replay runs"),
}


async def count_or_start(
    context: Context, actor: Actor, chosen: Selection, *, rate: int = DEFAULT_RATE, dry_run: bool
) -> ReplayView | DryRun:
    """Start a replay of what is chosen or, with `dry_run`, count it alone."""
    if dry_run:
        count, endpoints = await count_replay(context, chosen)
        missing = await count_missing(context, chosen) if chosen.missing else None
        return DryRun(count=count, endpoints=endpoints, missing=missing)
    return ReplayView.of(await start_replay(context, actor, chosen, rate=rate))


@router.post(
    "",
    operation_id="createReplay",
    status_code=202,
    openapi_extra=with_schemas(body_of(NewReplay), REPLAY_OR_COUNT),
    response_model=None,
    responses={**REPLAY_RESPONSES, **error_responses(400, 409, 413, 415)},
)
async def create(
    auth: Operator,
    write: Write,
    context: ContextOf,
    body: Annotated[NewReplay, Depends(json_body(NewReplay))],
) -> Response:
    """Count what the filter means, or have the worker send it again at `rate` deliveries a second."""
    work = partial(count_or_start, context, auth.actor, body.selection(), rate=body.rate, dry_run=body.dry_run)
    return await write.once(auth, work, status=200 if body.dry_run else 202)


@router.get("", operation_id="listReplays", responses=error_responses(400))
async def list_page(
    _auth: OperatorReader, context: ContextOf, query: Annotated[ListQuery, Query()]
) -> Page[ReplayView]:
    """Replays, newest first."""
    found = await list_replays(context, limit=query.limit + 1, before=decode_cursor(query.cursor))
    page, cursor = split_page(found, query.limit, lambda report: report.replay.id)
    return Page(data=[ReplayView.of(report) for report in page], next_cursor=cursor)


@router.get("/{replay_id}", operation_id="getReplay", responses=error_responses(404))
async def get(_auth: OperatorReader, context: ContextOf, replay_id: Id) -> ReplayView:
    """One replay."""
    return ReplayView.of(await get_replay(context, replay_id))


@router.post(
    "/{replay_id}/cancel",
    operation_id="cancelReplay",
    response_model=ReplayView,
    responses=error_responses(400, 404, 409),
)
async def cancel(auth: Operator, write: Write, context: ContextOf, replay_id: Id) -> Response:
    """Send no more of it; what is sent already goes its way."""

    async def work() -> ReplayView:
        return ReplayView.of(await cancel_replay(context, auth.actor, replay_id))

    return await write.once(auth, work)
