"""`/api/v1/webhooks/{id}/test`: a test call, which is neither an event nor an attempt."""

from __future__ import annotations

import json
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from sendoff.endpoints.trial import Trial, try_endpoint
from sendoff.policy.redaction import redact_url
from sendoff.publishing.publish import NewEvent

from ..http.dependencies import ContextOf, WebhooksWriter, optional_json_body
from ..http.idempotency import Write
from ..http.schemas import Id
from ..http.validation import RequestBody, Text
from ..openapi.operations import error_responses, optional_body_of
from ..operator.schemas import RequestView, ResponseView, response_view

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"])


class NewTrial(RequestBody):
    """The event to try; the body may be left out."""

    type: Text = "upload.completed"
    data: dict[str, Any] = Field(default_factory=lambda: {"test": True})
    dry_run: bool = Field(default=False, description="Whether to show what would be sent, and send nothing.")


class TrialView(BaseModel):
    """What the event comes to for this endpoint."""

    matched: bool
    because: str | None = Field(description="Why it does not match, or why its transform fails.")
    request: RequestView | None
    response: ResponseView | None
    error: str | None = Field(description="Why there is no response.")

    @classmethod
    def of(cls, trial: Trial) -> Self:
        request, response = trial.request, trial.response
        return cls(
            matched=trial.matched,
            because=trial.because,
            request=request
            and RequestView(
                url=redact_url(request.url), headers=dict(request.shown_headers), body=request.body.decode()
            ),
            response=response
            and response_view(response.status, response.headers, response.body, truncated=response.truncated),
            error=trial.error,
        )


@router.post(
    "/{webhook_id}/test",
    operation_id="testWebhook",
    openapi_extra=optional_body_of(NewTrial),
    response_model=TrialView,
    responses=error_responses(400, 404, 409, 413, 415, 429),
)
async def test(
    auth: WebhooksWriter,
    write: Write,
    context: ContextOf,
    webhook_id: Id,
    body: Annotated[NewTrial, Depends(optional_json_body(NewTrial))],
) -> Response:
    """Show what the endpoint would get for an event and, unless `dry_run`, send it and show the answer."""
    # Not by orjson, which refuses integers of more than 64 bits.
    event = NewEvent(body.type, json.dumps(body.data, ensure_ascii=False, separators=(",", ":")).encode())

    async def work() -> TrialView:
        trial = await try_endpoint(context, auth.organization_id, webhook_id, event, dry_run=body.dry_run)
        return TrialView.of(trial)

    return await write.once(auth, work)
