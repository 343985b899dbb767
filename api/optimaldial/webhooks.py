"""`/api/v1/webhooks` (OptimalDial contract, "Webhook endpoints")."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from sendoff.endpoints.manage import (
    EndpointChange,
    delete_endpoint,
    find_public_keys,
    get_endpoint,
    page_endpoints,
    register_endpoint,
    update_endpoint,
)
from sendoff.endpoints.secrets import rotate_secret
from sendoff.publishing.history import list_deliveries
from sendoff.store.queries.traffic.delivery_history import DeliveryFilter

from ..http.dependencies import ContextOf, WebhooksReader, WebhooksWriter, json_body, optional_json_body
from ..http.idempotency import Write
from ..http.long_lists import stream_list
from ..http.pagination import MOST_PER_PAGE
from ..http.schemas import Id
from ..openapi.operations import body_of, error_responses, optional_body_of
from .schemas import (
    CreatedWebhook,
    NewWebhook,
    PublicKeys,
    Rotation,
    WebhookChange,
    WebhookDelivery,
    WebhookEndpoint,
)

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"])


@router.post(
    "",
    operation_id="createWebhook",
    openapi_extra=body_of(NewWebhook),
    response_model=CreatedWebhook,
    responses=error_responses(400, 409, 413, 415, 429),
)
async def create(
    auth: WebhooksWriter,
    write: Write,
    context: ContextOf,
    body: Annotated[NewWebhook, Depends(json_body(NewWebhook))],
) -> Response:
    """Check the URL, send it a signed ping, and save the endpoint if a 2xx comes back within 5 seconds."""

    async def work() -> CreatedWebhook:
        return CreatedWebhook.of(await register_endpoint(context, auth.principal, auth.actor, body))

    return await write.once(auth, work, shows_secret=True)


@router.get("", operation_id="listWebhooks", response_model=list[WebhookEndpoint], responses=error_responses(429))
async def list_all(auth: WebhooksReader, context: ContextOf) -> Response:
    """The organization's endpoints, newest first."""
    pages = page_endpoints(context, auth.organization_id)
    return await stream_list(context, auth.organization_id, pages, WebhookEndpoint.of)


@router.get("/{webhook_id}", operation_id="getWebhook", responses=error_responses(404))
async def get(auth: WebhooksReader, context: ContextOf, webhook_id: Id) -> WebhookEndpoint:
    """One endpoint."""
    return WebhookEndpoint.of(await get_endpoint(context, auth.organization_id, webhook_id))


@router.patch(
    "/{webhook_id}",
    operation_id="updateWebhook",
    openapi_extra=body_of(WebhookChange),
    response_model=WebhookEndpoint,
    responses=error_responses(400, 404, 409, 413, 415, 429),
)
async def update(
    auth: WebhooksWriter,
    write: Write,
    context: ContextOf,
    webhook_id: Id,
    body: Annotated[WebhookChange, Depends(json_body(WebhookChange))],
) -> Response:
    """Change an endpoint; a changed URL is checked and pinged before anything is saved."""
    changed = body.given()

    async def work() -> WebhookEndpoint:
        change = EndpointChange(changed)
        return WebhookEndpoint.of(await update_endpoint(context, auth.organization_id, auth.actor, webhook_id, change))

    return await write.once(auth, work)


@router.delete(
    "/{webhook_id}",
    operation_id="deleteWebhook",
    status_code=204,
    response_class=Response,
    responses=error_responses(400, 404, 409, 429),
)
async def delete(auth: WebhooksWriter, write: Write, context: ContextOf, webhook_id: Id) -> Response:
    """Stop further deliveries for good."""
    work = partial(delete_endpoint, context, auth.organization_id, auth.actor, webhook_id)
    return await write.once(auth, work, status=204)


@router.post(
    "/{webhook_id}/rotate-secret",
    operation_id="rotateWebhookSecret",
    openapi_extra=optional_body_of(Rotation),
    response_model=CreatedWebhook,
    responses=error_responses(400, 404, 409, 413, 415, 429),
)
async def rotate(
    auth: WebhooksWriter,
    write: Write,
    context: ContextOf,
    webhook_id: Id,
    body: Annotated[Rotation, Depends(optional_json_body(Rotation))],
) -> Response:
    """A new secret for the endpoint; the former one signs as well until the overlap ends."""

    async def work() -> CreatedWebhook:
        rotated = await rotate_secret(
            context, auth.organization_id, auth.actor, webhook_id, overlap_seconds=body.overlap_seconds
        )
        return CreatedWebhook.of(rotated)

    return await write.once(auth, work, shows_secret=True)


@router.get("/{webhook_id}/public-key", operation_id="getWebhookPublicKey", responses=error_responses(404))
async def public_key(auth: WebhooksReader, context: ContextOf, webhook_id: Id) -> PublicKeys:
    """What the signatures of a `standard-v1a` endpoint are checked with."""
    current, *previous = await find_public_keys(context, auth.organization_id, webhook_id)
    return PublicKeys(public_key=current, previous_public_key=previous[0] if previous else None)


@router.get("/{webhook_id}/deliveries", operation_id="listWebhookDeliveries", responses=error_responses(400, 404))
async def deliveries(
    auth: WebhooksReader,
    context: ContextOf,
    webhook_id: Id,
    limit: Annotated[int, Query(ge=1, le=MOST_PER_PAGE)] = 20,
) -> list[WebhookDelivery]:
    """The endpoint's deliveries, most recent first."""
    endpoint = await get_endpoint(context, auth.organization_id, webhook_id)
    chosen = DeliveryFilter(organization_id=auth.organization_id, endpoint_id=endpoint.id)
    found = await list_deliveries(context, chosen, limit=limit)
    return [WebhookDelivery.of(listed) for listed in found.rows]
