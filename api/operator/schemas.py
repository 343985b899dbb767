"""What operators ask with, and what they see: times as the contracts spell them, secrets never."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from sendoff.endpoints.fields import OperatorsView, RateLimit, Time
from sendoff.operators.queries import DeliveryReport
from sendoff.policy.states import DeliveryState
from sendoff.publishing.history import ListedDelivery
from sendoff.store.tables import Attempt, Delivery, LastExchange

from ..http.pagination import MOST_PER_PAGE
from ..http.schemas import Id, ResponseModel
from ..http.validation import RequestBody, Text


class ListQuery(BaseModel):
    """What every list takes. An unknown parameter is an error: a filter with a typo would mean everything."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=MOST_PER_PAGE)
    cursor: Text | None = Field(None, description="The `next_cursor` of the page before.")


class AttemptView(ResponseModel):
    """One HTTP exchange of a delivery."""

    number: int
    started_at: Time
    duration_ms: int
    outcome: str
    response_status: int | None
    error: str | None

    @classmethod
    def all_of(cls, attempts: list[Attempt]) -> list[Self]:
        return [cls.model_validate(attempt) for attempt in attempts]


class DeliveryView(ResponseModel):
    """One event for one endpoint. `next_attempt_at` is null unless it waits for it."""

    id: Id
    event_id: str
    event_type: str
    endpoint_id: Id
    endpoint_url: str | None = None
    organization_id: Id
    state: DeliveryState
    attempt_count: int
    next_attempt_at: Time | None
    replay_id: Id | None
    request_id: str | None = Field(description="Of the request that published the event.")
    created_at: Time
    last_attempt_at: Time | None
    last_response_status: int | None
    last_error: str | None
    delivered_at: Time | None
    waits_for: Id | None = Field(
        None, description="The delivery that holds it back, if its endpoint is ordered and an earlier one is not done."
    )

    @classmethod
    def of(cls, listed: ListedDelivery) -> Self:
        return cls(
            **_fields(listed.delivery),
            event_type=listed.event_type,
            request_id=listed.request_id,
            waits_for=listed.waits_for,
            endpoint_url=listed.endpoint_url,
        )


class RequestView(BaseModel):
    """What was sent: the body is the same at every attempt, the headers are those of the last that failed."""

    url: str
    headers: dict[str, str] | None
    body: str


class ResponseView(BaseModel):
    """What the receiver answered. `body` holds its first 16 KiB as text; `body_base64` is set if it is not UTF-8."""

    status: int
    headers: dict[str, str]
    body: str
    body_base64: str | None
    truncated: bool


class ExchangeView(BaseModel):
    """What went over the wire at the last attempt that failed, and every attempt."""

    request: RequestView
    response: ResponseView | None
    attempts: list[AttemptView]

    @classmethod
    def parts_of(cls, report: DeliveryReport) -> dict[str, Any]:
        """The fields of this class for a report."""
        last = report.last_exchange
        request = RequestView(
            url=last.url if last else report.endpoint_url,
            headers=_joined(last.request_headers) if last else None,
            body=report.request_body.decode(),
        )
        return {
            "request": request,
            "response": _response(last),
            "attempts": AttemptView.all_of(report.attempts),
        }


class DetailedDelivery(DeliveryView, ExchangeView):
    """A delivery with all its attempts."""

    @classmethod
    def of_report(cls, report: DeliveryReport) -> Self:
        event = report.event
        return cls(
            **_fields(report.delivery),
            event_type=event.type,
            request_id=event.request_id,
            waits_for=report.waits_for,
            endpoint_url=report.endpoint_url,
            **cls.parts_of(report),
        )


class OperatorEndpointView(OperatorsView):
    """A registered URL of some organization."""


class EndpointLimits(RequestBody):
    """What an endpoint is held to; null ends a limit."""

    rate_limit: RateLimit | None


class AuditEntryView(ResponseModel):
    """Who changed or sent what, when."""

    id: Id
    at: Time
    actor: str
    organization_id: Id | None
    action: str
    target_type: str
    target_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str | None


def _fields(delivery: Delivery) -> dict[str, Any]:
    return delivery.model_dump(exclude={"data"}) | {"next_attempt_at": delivery.next_attempt_at}


def _response(last: LastExchange | None) -> ResponseView | None:
    if last is None or last.response_status is None:
        return None
    return response_view(
        last.response_status,
        [(name, value) for name, value in last.response_headers or []],
        last.response_body or b"",
        truncated=last.response_truncated,
    )


def response_view(status: int, headers: Sequence[tuple[str, str]], raw: bytes, *, truncated: bool) -> ResponseView:
    """What a receiver answered, made readable."""
    try:
        text, encoded = raw.decode(), None
    except UnicodeDecodeError:
        text, encoded = raw.decode(errors="replace"), base64.b64encode(raw).decode()
    return ResponseView(
        status=status,
        headers=_joined(headers),
        body=text,
        body_base64=encoded,
        truncated=truncated,
    )


def _joined(pairs: Iterable[Sequence[str]]) -> dict[str, str]:
    """Headers by name; what came several times is joined by a comma, as HTTP reads it (RFC 9110, 5.3)."""
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
