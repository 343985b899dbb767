"""Bodies and answers of `/api/v1/webhooks`, field by field as the contract has them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, Field

from sendoff.endpoints.fields import EndpointChanges, NewEndpoint, OwnersView, Time, is_none
from sendoff.endpoints.manage import RegisteredEndpoint
from sendoff.endpoints.secrets import LONGEST_OVERLAP_SECONDS
from sendoff.policy.states import DeliveryState
from sendoff.publishing.history import ListedDelivery

from ..http.schemas import Id, ResponseModel
from ..http.validation import RequestBody

Status = Literal["pending", "in_flight", "delivered", "exhausted"]

STATUSES: dict[DeliveryState, Status] = {
    DeliveryState.PENDING: "pending",
    DeliveryState.HELD: "pending",
    DeliveryState.QUEUED: "pending",
    DeliveryState.IN_FLIGHT: "in_flight",
    DeliveryState.DELIVERED: "delivered",
    DeliveryState.DEAD: "exhausted",
}
"""The contract's word for each state of a delivery."""


class NewWebhook(NewEndpoint, RequestBody):
    """A URL to register."""


class WebhookChange(EndpointChanges, RequestBody):
    """What to change; what is left out stays. Fields that may be null are cleared by null."""


class WebhookEndpoint(OwnersView):
    """A registered URL."""


class CreatedWebhook(BaseModel):
    """A saved endpoint with its secret, which is shown this once."""

    webhook: WebhookEndpoint
    secret: str | None = Field(description="Of `standard-v1a` null: its receivers have a public key to check with.")
    public_key: str | None = Field(None, exclude_if=is_none, pattern="^whpk_", description="Only of `standard-v1a`.")
    warnings: list[str] = Field(
        default_factory=list,
        exclude_if=lambda warnings: not warnings,
        description="What its owner should know.",
    )

    @classmethod
    def of(cls, registered: RegisteredEndpoint) -> Self:
        return cls(
            webhook=WebhookEndpoint.of(registered.endpoint),
            secret=registered.shared_secret,
            public_key=registered.public_key,
            warnings=registered.warnings,
        )


class PublicKeys(BaseModel):
    """What signatures `v1a` are checked with."""

    public_key: str = Field(pattern="^whpk_")
    previous_public_key: str | None = Field(
        description="Of the former secret's signature, during the overlap of a rotation."
    )


class Rotation(RequestBody):
    """How to rotate a secret; the body may be left out."""

    overlap_seconds: int | None = Field(
        None,
        ge=0,
        le=LONGEST_OVERLAP_SECONDS,
        description="How long the secret before signs as well; 0 ends it at once. Default: the installation's, a day.",
    )


class WebhookDelivery(ResponseModel):
    """One event for this endpoint, and how far its delivery is."""

    id: Id
    webhook_endpoint_id: Id
    event_id: str
    event_type: str
    status: Status
    attempt_count: int
    next_retry_at: Time | None
    created_at: Time
    last_attempt_at: Time | None
    last_response_status: int | None
    last_error: str | None
    delivered_at: Time | None
    waits_for: Id | None = Field(
        None,
        exclude_if=is_none,
        description="The delivery that holds it back, if the endpoint is ordered and an earlier one is not done.",
    )

    @classmethod
    def of(cls, listed: ListedDelivery) -> Self:
        delivery = listed.delivery
        status = STATUSES[DeliveryState(delivery.state)]
        return cls(
            **delivery.model_dump(exclude={"state", "data"}),
            webhook_endpoint_id=delivery.endpoint_id,
            event_type=listed.event_type,
            status=status,
            next_retry_at=delivery.next_attempt_at if status == "pending" else None,
            waits_for=listed.waits_for,
        )
