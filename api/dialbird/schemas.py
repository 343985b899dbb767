"""Bodies and answers of the surface, field by field as the contract has them."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from sendoff.accounts.token_owner import OwnerNames, TokenOwner
from sendoff.endpoints.fields import RateLimit, Time, effective_rate_limit, is_none
from sendoff.endpoints.subscriptions import SubscriptionStatus, status_of
from sendoff.policy.delivery.auto_disable import AutoDisable
from sendoff.store.tables import Endpoint

from ..http.schemas import Id, ResponseModel
from ..http.validation import RequestBody, Text


class SubscriptionBody(RequestBody):
    """An event type and the URL that gets its events."""

    event_type: Text = Field(description="Such as `message.incoming.received`.")
    target_url: Annotated[Text, Field(description="https, with a host that resolves to public addresses only")]
    rate_limit: RateLimit | None = None


class SubscriptionPatch(RequestBody):
    """What to change, at least one of both; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    # Defaults that no schema shows: absent is not the same as any value.
    status: Annotated[SubscriptionStatus, WithJsonSchema({"type": "string", "enum": ["active", "disabled"]})] = Field(
        default_factory=lambda: SubscriptionStatus.ACTIVE,
        strict=False,
        description="`active` switches a disabled subscription on again, `disabled` an active one off.",
    )
    rate_limit: RateLimit | None = Field(default_factory=lambda: None)

    def given(self) -> dict[str, Any]:
        """The fields that were in the body."""
        return self.model_dump(exclude_unset=True)


class Subscription(ResponseModel):
    """One event type for one URL."""

    id: Id
    event_type: str
    target_url: str
    status: SubscriptionStatus
    created_at: Time
    rate_limit: RateLimit | None = Field(None, exclude_if=is_none)

    @classmethod
    def of(cls, endpoint: Endpoint, auto_disable: AutoDisable) -> Self:
        return cls(
            id=endpoint.id,
            event_type=endpoint.events[0],
            target_url=endpoint.url,
            status=status_of(endpoint, auto_disable),
            created_at=endpoint.created_at,
            rate_limit=effective_rate_limit(endpoint),
        )


class CreatedSubscription(BaseModel):
    """A subscription with its signing secret, which is shown this once."""

    id: Id
    event_type: str
    target_url: str
    signing_secret: str = Field(pattern="^whsec_[0-9a-f]{64}$")
    status: SubscriptionStatus
    created_at: Time
    rate_limit: RateLimit | None = Field(None, exclude_if=is_none)

    @classmethod
    def of(cls, shown: Subscription, signing_secret: str) -> Self:
        return cls(**shown.model_dump(), signing_secret=signing_secret)


class Business(BaseModel):
    """The organization."""

    id: Id
    name: str


class TokenUser(BaseModel):
    """Who the token was made for; `email` only of a user of this installation."""

    id: str
    email: str | None


class TokenClient(BaseModel):
    """Who uses the token: an OAuth client, or an API key by its id."""

    id: str


class Me(BaseModel):
    """What a token grants."""

    business: Business
    user: TokenUser | None = Field(description="Null for a token that was made for no user.")
    client: TokenClient
    scopes: list[str]

    @classmethod
    def of(cls, owner: TokenOwner, names: OwnerNames) -> Self:
        user = None if owner.subject is None else TokenUser(id=owner.subject, email=names.email)
        return cls(
            business=Business(id=owner.organization_id, name=names.organization_name),
            user=user,
            client=TokenClient(id=owner.client_id),
            scopes=sorted(owner.scopes),
        )
