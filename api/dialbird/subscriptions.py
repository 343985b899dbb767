"""`/api/v1/subscriptions` (Dialbird contract, "Subscriptions").

Reading one and switching it on and off are additions to the contract.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from sendoff.endpoints import subscriptions
from sendoff.endpoints.subscriptions import SubscriptionChange as Change
from sendoff.endpoints.subscriptions import SubscriptionStatus
from sendoff.errors import Invalid, Unprocessable

from ..http.dependencies import ContextOf, json_body
from ..http.idempotency import Write
from ..http.long_lists import stream_list
from ..http.schemas import Id
from ..openapi.operations import body_of
from .dependencies import WebhooksBearer, error_responses
from .paths import SUBSCRIPTIONS
from .schemas import CreatedSubscription, Subscription, SubscriptionBody, SubscriptionPatch

router = APIRouter(prefix=SUBSCRIPTIONS, tags=["dialbird"])


@router.post(
    "",
    operation_id="createSubscription",
    status_code=201,
    openapi_extra=body_of(SubscriptionBody),
    response_model=CreatedSubscription,
    responses=error_responses(400, 409, 413, 415),
)
async def create(
    auth: WebhooksBearer,
    write: Write,
    context: ContextOf,
    body: Annotated[SubscriptionBody, Depends(json_body(SubscriptionBody))],
) -> Response:
    """Send events of that type to the URL from now on."""

    async def work() -> CreatedSubscription:
        new = subscriptions.NewSubscription(**body.model_dump())
        made = await subscriptions.subscribe(context, auth.owner, auth.actor, new)
        return CreatedSubscription.of(Subscription.of(made.endpoint, context.auto_disable), made.secret)

    return await write.once(auth, work, status=201, shows_secret=True)


@router.get("", operation_id="listSubscriptions", response_model=list[Subscription], responses=error_responses())
async def list_all(auth: WebhooksBearer, context: ContextOf) -> Response:
    """The business's subscriptions, newest first."""
    pages = subscriptions.page_subscriptions(context, auth.organization_id)
    show = partial(Subscription.of, auto_disable=context.auto_disable)
    return await stream_list(context, auth.organization_id, pages, show)


@router.get("/{subscription_id}", operation_id="getSubscription", responses=error_responses(404))
async def get(auth: WebhooksBearer, context: ContextOf, subscription_id: Id) -> Subscription:
    """One subscription."""
    found = await subscriptions.get_subscription(context, auth.organization_id, subscription_id)
    return Subscription.of(found, context.auto_disable)


@router.patch(
    "/{subscription_id}",
    operation_id="updateSubscription",
    openapi_extra=body_of(SubscriptionPatch),
    response_model=Subscription,
    responses=error_responses(400, 404, 409, 410, 413, 415, 422),
)
async def update(
    auth: WebhooksBearer,
    write: Write,
    context: ContextOf,
    subscription_id: Id,
    body: Annotated[SubscriptionPatch, Depends(json_body(SubscriptionPatch))],
) -> Response:
    """Switch a subscription on or off, or limit its rate. One whose receiver answered 410 stays off: `gone`."""
    change = _change(body)

    async def work() -> Subscription:
        changed = await subscriptions.change_subscription(
            context, auth.organization_id, auth.actor, subscription_id, change
        )
        return Subscription.of(changed, context.auto_disable)

    return await write.once(auth, work)


@router.delete(
    "/{subscription_id}",
    operation_id="deleteSubscription",
    status_code=204,
    response_class=Response,
    responses=error_responses(400, 404, 409),
)
async def delete(auth: WebhooksBearer, write: Write, context: ContextOf, subscription_id: Id) -> Response:
    """Stop further deliveries for good."""
    work = partial(subscriptions.unsubscribe, context, auth.organization_id, auth.actor, subscription_id)
    return await write.once(auth, work, status=204)


def _change(body: SubscriptionPatch) -> Change:
    fields = body.given()
    if not fields:
        raise Invalid("Give `status`, `rate_limit` or both.", field="status")
    status = fields.pop("status", None)
    if status is SubscriptionStatus.FAILING:
        raise Unprocessable("Only deliveries make a subscription `failing`; set `active` or `disabled`.")
    return Change(fields if status is None else fields | {"is_active": status is SubscriptionStatus.ACTIVE})
