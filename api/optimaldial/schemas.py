"""Bodies and answers of `/api/v1/webhooks`, field by field as the contract has them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field

from sendoff.dialects.branded import NAME as HOUSE
from sendoff.endpoints.manage import RegisteredEndpoint
from sendoff.endpoints.secrets import LONGEST_OVERLAP_SECONDS
from sendoff.policy.states import DeliveryState, EndpointState
from sendoff.publishing.history import ListedDelivery
from sendoff.store.tables import Endpoint

from ..http.schemas import RateLimit, ResponseModel, Time, is_none
from ..http.validation import RequestBody, Text

_MOST_SUBSCRIPTIONS = 1_000

Url = Annotated[Text, Field(description="https, with a host that resolves to public addresses only")]
Description = Annotated[Text, Field(max_length=500)]
Events = Annotated[list[Text], Field(max_length=_MOST_SUBSCRIPTIONS, description="Event types to subscribe to")]

Status = Literal["pending", "in_flight", "delivered", "exhausted"]

STATUSES: dict[DeliveryState, Status] = {
    DeliveryState.PENDING: "pending",
    DeliveryState.HELD: "pending",
    DeliveryState.IN_FLIGHT: "in_flight",
    DeliveryState.DELIVERED: "delivered",
    DeliveryState.DEAD: "exhausted",
}
"""The contract's word for each state of a delivery."""


def _is_house(dialect: str) -> bool:
    return dialect == HOUSE


class NewWebhook(RequestBody):
    """A URL to register."""

    url: Url
    description: Description | None = None
    events: Events | None = Field(None, description="Defaults to upload.completed and upload.failed")
    dialect: Text = Field(
        HOUSE,
        description="How events are told and signed: `house` (or by its brand, such as `optimaldial`), `standard` "
        "(Standard Webhooks 1.0 with a shared secret) or `standard-v1a` (the same with an ed25519 key).",
    )
    rate_limit: RateLimit | None = None


class WebhookChange(RequestBody):
    """What to change; what is left out stays. Null clears `description` and `rate_limit`, nothing else can be null."""

    # Defaults that no schema shows: absent is not the same as any value.
    url: Url = Field(default_factory=str)
    description: Description | None = Field(default_factory=lambda: None)
    events: Events = Field(default_factory=list)
    is_active: bool = Field(default_factory=bool)
    rate_limit: RateLimit | None = Field(default_factory=lambda: None)

    def given(self) -> dict[str, Any]:
        """The fields that were in the body."""
        return self.model_dump(exclude_unset=True)


class WebhookEndpoint(ResponseModel):
    """A registered URL."""

    id: str
    user_id: str
    organization_id: str
    url: str
    description: str | None
    events: list[str]
    is_active: bool
    verified_at: Time
    last_success_at: Time | None
    last_failure_at: Time | None
    consecutive_failures: int = Field(ge=0)
    disabled_at: Time | None
    created_at: Time
    updated_at: Time
    dialect: str = Field(HOUSE, exclude_if=_is_house, description="Only of endpoints that speak another than `house`.")
    rate_limit: RateLimit | None = Field(None, exclude_if=is_none)

    @classmethod
    def of(cls, endpoint: Endpoint) -> Self:
        return cls(**endpoint.model_dump(), is_active=endpoint.state == EndpointState.ACTIVE)


class CreatedWebhook(BaseModel):
    """A saved endpoint with its secret, which is shown this once."""

    webhook: WebhookEndpoint
    secret: str | None = Field(description="Of `standard-v1a` null: its receivers have a public key to check with.")
    public_key: str | None = Field(None, exclude_if=is_none, pattern="^whpk_", description="Only of `standard-v1a`.")

    @classmethod
    def of(cls, registered: RegisteredEndpoint) -> Self:
        return cls(
            webhook=WebhookEndpoint.of(registered.endpoint),
            secret=registered.shared_secret,
            public_key=registered.public_key,
        )


class PublicKeys(BaseModel):
    """What signatures `v1a` are checked with."""

    public_key: str = Field(pattern="^whpk_")
    previous_public_key: str | None = Field(description="Of the signature beside it, during the overlap of a rotation.")


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

    id: str
    webhook_endpoint_id: str
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

    @classmethod
    def of(cls, listed: ListedDelivery) -> Self:
        delivery = listed.delivery
        status = STATUSES[DeliveryState(delivery.state)]
        return cls(
            **delivery.model_dump(exclude={"state", "lease"}),
            webhook_endpoint_id=delivery.endpoint_id,
            event_type=listed.event_type,
            status=status,
            next_retry_at=delivery.next_attempt_at if status == "pending" else None,
        )
