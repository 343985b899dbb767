"""`/operator/v1/dead-letters`: what was given up, with all that it takes to understand why."""

from __future__ import annotations

from typing import Annotated, Self

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel

from sendoff.operators.actions import discard_dead_letter, discard_dead_letters
from sendoff.operators.queries import DeadLetterReport, get_dead_letter, list_dead_letters
from sendoff.policy.states import DeadLetterReason, DeadLetterState

from ...http.dependencies import ContextOf, Operator, OperatorReader, json_body
from ...http.idempotency import Write
from ...http.pagination import decode_cursor, searched_page
from ...http.schemas import Id, ResponseModel, SearchedPage, Time
from ...openapi.operations import body_of, error_responses
from ..schemas import ExchangeView
from .filters import DeadLetterQuery, NewDiscard

router = APIRouter(prefix="/operator/v1/dead-letters", tags=["operator: dead letters"])


class DeadLetterView(ResponseModel):
    """A delivery that was given up, as it stood then."""

    id: Id
    delivery_id: Id
    event_id: str
    event_type: str
    endpoint_id: Id
    endpoint_url: str
    organization_id: Id
    reason: DeadLetterReason
    last_response_status: int | None
    last_error: str | None
    attempt_count: int
    died_at: Time
    state: DeadLetterState
    replayed_at: Time | None


class DetailedDeadLetter(DeadLetterView, ExchangeView):
    """A dead letter with the last request, the response and every attempt."""

    @classmethod
    def of(cls, report: DeadLetterReport) -> Self:
        return cls(**report.letter.model_dump(), **cls.parts_of(report.delivery))


@router.get("", operation_id="listDeadLetters", responses=error_responses(400))
async def list_page(
    _auth: OperatorReader, context: ContextOf, query: Annotated[DeadLetterQuery, Query()]
) -> SearchedPage[DeadLetterView]:
    """Dead letters, newest first. A page that searches for what is rare may end early, with `scanned_back_to`."""
    before = decode_cursor(query.cursor)
    found = await list_dead_letters(context, query.filter(), limit=query.limit + 1, before=before)
    return searched_page(found, query.limit, identify=lambda letter: letter.id, show=DeadLetterView.model_validate)


class Discarded(BaseModel):
    """How many dead letters are off the list now."""

    discarded: int


@router.post(
    "/discard",
    operation_id="discardDeadLetters",
    openapi_extra=body_of(NewDiscard),
    response_model=Discarded,
    responses=error_responses(400, 409, 413, 415),
)
async def discard_many(
    auth: Operator, write: Write, context: ContextOf, body: Annotated[NewDiscard, Depends(json_body(NewDiscard))]
) -> Response:
    """Take all open dead letters that the filter matches off the list; they are kept for the record."""

    async def work() -> Discarded:
        chosen = body.filter.filter()
        return Discarded(discarded=await discard_dead_letters(context, auth.actor, chosen, everything=body.everything))

    return await write.once(auth, work)


@router.get("/{dead_letter_id}", operation_id="getDeadLetter", responses=error_responses(404))
async def get(_auth: OperatorReader, context: ContextOf, dead_letter_id: Id) -> DetailedDeadLetter:
    """One dead letter with the exact last request, the response and every attempt."""
    return DetailedDeadLetter.of(await get_dead_letter(context, dead_letter_id))


@router.post(
    "/{dead_letter_id}/discard",
    operation_id="discardDeadLetter",
    response_model=DeadLetterView,
    responses=error_responses(400, 404, 409),
)
async def discard(auth: Operator, write: Write, context: ContextOf, dead_letter_id: Id) -> Response:
    """Take it off the open list; it is kept for the record."""

    async def work() -> DeadLetterView:
        return DeadLetterView.model_validate(await discard_dead_letter(context, auth.actor, dead_letter_id))

    return await write.once(auth, work)
