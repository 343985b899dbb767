"""`/operator/v1/alert-endpoints`: where operational events go (Sendoff contract, section 8)."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from sendoff.endpoints.fields import AlertEndpointChanges, AlertEndpointFields, NewAlertEndpoint, is_none
from sendoff.endpoints.manage import EndpointChange, RegisteredEndpoint
from sendoff.operators import alert_endpoints
from sendoff.policy.operational_events import OperationalEventType

from ..customers.trials import TrialView
from ..http.dependencies import ContextOf, Operator, OperatorReader, json_body, optional_json_body
from ..http.idempotency import Write
from ..http.pagination import decode_cursor, split_page
from ..http.schemas import Id, Page
from ..http.validation import RequestBody
from ..openapi.operations import body_of, error_responses, optional_body_of
from ..optimaldial.schemas import Rotation
from .schemas import ListQuery

router = APIRouter(prefix="/operator/v1/alert-endpoints", tags=["operator: alerts"])


class NewAlertEndpointBody(NewAlertEndpoint, RequestBody):
    """Where operational events are to go."""


class AlertEndpointChange(AlertEndpointChanges, RequestBody):
    """What to change; what is left out stays. Fields that may be null are cleared by null."""


class AlertEndpointView(AlertEndpointFields):
    """Where operational events go."""


class CreatedAlertEndpoint(AlertEndpointView):
    """An alert endpoint with its secret, which is shown this once."""

    secret: str | None = Field(description="Of `standard-v1a` null: its receivers have a public key to check with.")
    public_key: str | None = Field(None, exclude_if=is_none, pattern="^whpk_", description="Only of `standard-v1a`.")
    warnings: list[str] = Field(default_factory=list, exclude_if=lambda warnings: not warnings)

    @classmethod
    def of_registered(cls, registered: RegisteredEndpoint) -> Self:
        return cls(
            **AlertEndpointView.of(registered.endpoint).model_dump(),
            secret=registered.shared_secret,
            public_key=registered.public_key,
            warnings=registered.warnings,
        )


class NewAlertTrial(RequestBody):
    """The operational event to try; the body may be left out."""

    type: Annotated[OperationalEventType, Field(strict=False)] = OperationalEventType.ENDPOINT_DISABLED
    data: dict[str, Any] | None = Field(None, description="Default: that of an example.")
    dry_run: bool = Field(default=False, description="Whether to show what would be sent, and send nothing.")


@router.post(
    "",
    operation_id="createAlertEndpoint",
    openapi_extra=body_of(NewAlertEndpointBody),
    response_model=CreatedAlertEndpoint,
    status_code=201,
    responses=error_responses(400, 409, 413, 415),
)
async def create(
    auth: Operator,
    write: Write,
    context: ContextOf,
    body: Annotated[NewAlertEndpointBody, Depends(json_body(NewAlertEndpointBody))],
) -> Response:
    """Check the URL, send it a signed ping, and save the alert endpoint if it is answered."""

    async def work() -> CreatedAlertEndpoint:
        registered = await alert_endpoints.create_alert_endpoint(context, auth.actor, body)
        return CreatedAlertEndpoint.of_registered(registered)

    return await write.once(auth, work, status=201, shows_secret=True)


@router.get("", operation_id="listAlertEndpoints", responses=error_responses(400))
async def list_page(
    _auth: OperatorReader, context: ContextOf, query: Annotated[ListQuery, Query()]
) -> Page[AlertEndpointView]:
    """Alert endpoints, newest first."""
    before = decode_cursor(query.cursor)
    found = await alert_endpoints.list_alert_endpoints(context, limit=query.limit + 1, before=before)
    page, cursor = split_page(found, query.limit, lambda endpoint: endpoint.id)
    return Page(data=[AlertEndpointView.of(endpoint) for endpoint in page], next_cursor=cursor)


@router.get("/{alert_endpoint_id}", operation_id="getAlertEndpoint", responses=error_responses(404))
async def get(_auth: OperatorReader, context: ContextOf, alert_endpoint_id: Id) -> AlertEndpointView:
    """One alert endpoint."""
    return AlertEndpointView.of(await alert_endpoints.get_alert_endpoint(context, alert_endpoint_id))


@router.patch(
    "/{alert_endpoint_id}",
    operation_id="updateAlertEndpoint",
    openapi_extra=body_of(AlertEndpointChange),
    response_model=AlertEndpointView,
    responses=error_responses(400, 404, 409, 413, 415),
)
async def update(
    auth: Operator,
    write: Write,
    context: ContextOf,
    alert_endpoint_id: Id,
    body: Annotated[AlertEndpointChange, Depends(json_body(AlertEndpointChange))],
) -> Response:
    """Change an alert endpoint; a changed URL gets a ping before anything is saved."""
    change = EndpointChange(body.given())

    async def work() -> AlertEndpointView:
        changed = await alert_endpoints.update_alert_endpoint(context, auth.actor, alert_endpoint_id, change)
        return AlertEndpointView.of(changed)

    return await write.once(auth, work)


@router.delete(
    "/{alert_endpoint_id}",
    operation_id="deleteAlertEndpoint",
    status_code=204,
    response_class=Response,
    responses=error_responses(400, 404, 409),
)
async def delete(auth: Operator, write: Write, context: ContextOf, alert_endpoint_id: Id) -> Response:
    """Send nothing more to it."""
    work = partial(alert_endpoints.delete_alert_endpoint, context, auth.actor, alert_endpoint_id)
    return await write.once(auth, work, status=204)


@router.post(
    "/{alert_endpoint_id}/rotate-secret",
    operation_id="rotateAlertEndpointSecret",
    openapi_extra=optional_body_of(Rotation),
    response_model=CreatedAlertEndpoint,
    responses=error_responses(400, 404, 409, 413, 415),
)
async def rotate(
    auth: Operator,
    write: Write,
    context: ContextOf,
    alert_endpoint_id: Id,
    body: Annotated[Rotation, Depends(optional_json_body(Rotation))],
) -> Response:
    """A new secret for it; the former one signs as well until the overlap ends."""

    async def work() -> CreatedAlertEndpoint:
        rotated = await alert_endpoints.rotate_alert_secret(
            context, auth.actor, alert_endpoint_id, overlap_seconds=body.overlap_seconds
        )
        return CreatedAlertEndpoint.of_registered(rotated)

    return await write.once(auth, work, shows_secret=True)


@router.post(
    "/{alert_endpoint_id}/test",
    operation_id="testAlertEndpoint",
    openapi_extra=optional_body_of(NewAlertTrial),
    response_model=TrialView,
    responses=error_responses(400, 404, 409, 413, 415),
)
async def test(
    auth: Operator,
    write: Write,
    context: ContextOf,
    alert_endpoint_id: Id,
    body: Annotated[NewAlertTrial, Depends(optional_json_body(NewAlertTrial))],
) -> Response:
    """Show what it would get for an event and, unless `dry_run`, send it and show the answer."""

    async def work() -> TrialView:
        trial = await alert_endpoints.try_alert_endpoint(
            context, alert_endpoint_id, event_type=body.type, data=body.data, dry_run=body.dry_run
        )
        return TrialView.of(trial)

    return await write.once(auth, work)
