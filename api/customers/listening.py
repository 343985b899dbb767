"""`/api/v1/listen`: what the organization's endpoints would get, for a client that no request can reach.

A client asks again with the `cursor` of the answer before. It is not a stream: an answer that waits until there is
an event passes every proxy, and ends with the process that gives it.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

import structlog
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from sendoff.accounts.authentication import hash_bearer_key
from sendoff.endpoints.fields import MAX_EVENTS
from sendoff.endpoints.listening import (
    LONGEST_WAIT_SECONDS,
    Answer,
    Cursor,
    Shown,
    Window,
    listen,
    listener_secret,
    show_again,
)
from sendoff.policy.redaction import redact_url
from sendoff.publishing.history import get_event

from ..http.authentication import RequestAuth
from ..http.dependencies import ContextOf, WebhooksReader, json_body
from ..http.idempotency import Write
from ..http.schemas import Time
from ..http.server.disconnect import until_client_leaves
from ..http.validation import RequestBody, Text, UuidText
from ..openapi.operations import body_of, error_responses
from ..operator.schemas import RequestView

router = APIRouter(prefix="/api/v1/listen", tags=["listening"])

_log = structlog.get_logger(__name__)


class WindowQuery(BaseModel):
    """As which endpoint events are signed; without one, with a secret of the key's own."""

    model_config = ConfigDict(extra="forbid")

    endpoint_id: UuidText | None = None

    def window(self, request: Request, auth: RequestAuth, event_types: tuple[str, ...] = ("*",)) -> Window:
        secret = listener_secret(hash_bearer_key(request.headers.get("authorization")))
        return Window(auth.organization_id, secret, event_types, self.endpoint_id)


class ListenQuery(WindowQuery):
    """What is shown, after what, and how long to wait for it."""

    cursor: Text | None = Field(None, description="Of the answer before. Left out, it begins now.")
    event_type: Annotated[list[Text], Field(max_length=MAX_EVENTS)] = Field(
        default_factory=list, description="Only these types; `upload.*` stands for all that begin so."
    )
    wait_seconds: float = Field(0, ge=0, le=LONGEST_WAIT_SECONDS, description="Seconds to wait for an event.")

    FORMER_NAMES: ClassVar = {"wait": "wait_seconds"}
    """No generated client of Java can have `wait`: every object has a method of that name."""

    @model_validator(mode="before")
    @classmethod
    def _take_former_names(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {cls.FORMER_NAMES.get(name, name): value for name, value in given.items()}


class ShownEvent(BaseModel):
    """An event as an endpoint would get it. Without a `request`, `because` says why its transform fails."""

    id: str
    type: str
    created_at: Time
    request: RequestView | None
    because: str | None

    @classmethod
    def of(cls, shown: Shown) -> Self:
        call = shown.request
        return cls(
            id=shown.event.id,
            type=shown.event.type,
            created_at=shown.event.created_at,
            request=call and RequestView(url=redact_url(call.url), headers=dict(call.headers), body=call.body.decode()),
            because=shown.because,
        )


class ShownEvents(BaseModel):
    """What there is to show, oldest first."""

    data: list[ShownEvent]
    cursor: str
    skipped: int = Field(ge=0, description="Events that were accepted too long ago to be shown.")
    secret: str | None = Field(
        description="What requests are signed with, the same for every answer to a key; null where an endpoint's is."
    )

    @classmethod
    def of(cls, answer: Answer, window: Window) -> Self:
        return cls(
            data=[ShownEvent.of(one) for one in answer.shown],
            cursor=answer.cursor.write(),
            skipped=answer.skipped,
            secret=window.secret if window.endpoint_id is None else None,
        )


class ListenerAnswer(RequestBody):
    """What a local receiver answered to an event; `status` is null when it could not be reached."""

    status: int | None = Field(ge=100, le=599)
    duration_ms: int = Field(ge=0, le=86_400_000)
    error: Text | None = Field(None, max_length=500)


@router.get("", operation_id="listen", responses=error_responses(400, 404, 429))
async def listen_for(
    request: Request, auth: WebhooksReader, context: ContextOf, query: Annotated[ListenQuery, Query()]
) -> ShownEvents:
    """Events of the organization as they are accepted, signed as an endpoint would get them; none is a delivery."""
    window = query.window(request, auth, tuple(query.event_type) or ("*",))
    cursor = Cursor.read(query.cursor) if query.cursor else None
    work = listen(context, window, cursor, wait_seconds=query.wait_seconds)
    answer = await until_client_leaves(request, work)
    return ShownEvents.of(answer, window)


@router.get("/{event_id}", operation_id="listenAgain", responses=error_responses(400, 404))
async def listen_again(
    request: Request, auth: WebhooksReader, context: ContextOf, event_id: str, query: Annotated[WindowQuery, Query()]
) -> ShownEvent:
    """One event, signed again: receivers refuse a signature that is minutes old."""
    return ShownEvent.of(await show_again(context, query.window(request, auth), event_id))


@router.post(
    "/{event_id}/answer",
    operation_id="reportAnswer",
    status_code=204,
    openapi_extra=body_of(ListenerAnswer),
    response_class=Response,
    responses=error_responses(400, 404, 409, 413, 415),
)
async def report(
    auth: WebhooksReader,
    write: Write,
    context: ContextOf,
    event_id: str,
    body: Annotated[ListenerAnswer, Depends(json_body(ListenerAnswer))],
) -> Response:
    """Report what a local receiver answered, for the log. It changes nothing about the event or its deliveries."""

    async def work() -> None:
        event, *_ = await get_event(context, auth.organization_id, event_id)
        _log.info(
            "listener_answered",
            organization_id=auth.organization_id,
            event_id=event.id,
            status=body.status,
            duration_ms=body.duration_ms,
            error=body.error,
        )

    return await write.once(auth, work, status=204)
