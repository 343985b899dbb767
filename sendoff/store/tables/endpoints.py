"""Endpoints of customers. A Dialbird subscription is one, too."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index, LargeBinary, String, Text, text
from sqlmodel import Field

from sendoff.policy.states import EndpointState
from sendoff.store.engine.table import Table
from sendoff.store.engine.types import Identifier, Json, UtcDateTime


class Endpoint(Table, table=True):
    """A registered URL. Its secrets are encrypted by the vault, bound to this row's id."""

    __tablename__ = "endpoints"
    __table_args__ = (
        Index("ix_endpoints_organization", "organization_id", "id"),
        Index("ix_endpoints_state", "state"),
        Index(
            "ix_endpoints_drain_due",
            "id",
            postgresql_where=text("drain_due"),
            sqlite_where=text("drain_due"),
        ),
    )

    id: str = Field(sa_type=Identifier, primary_key=True)
    organization_id: str = Field(sa_type=Identifier, foreign_key="organizations.id")
    user_id: str | None = Field(default=None, sa_type=Identifier, foreign_key="users.id")
    """Who registered it; null for a token whose subject is not a user of this installation."""
    dialect: str = Field(sa_type=String(32))
    url: str = Field(sa_type=Text)
    description: str | None = Field(default=None, sa_type=Text)
    events: list[str] = Field(sa_type=Json)
    state: str = Field(default=EndpointState.ACTIVE, sa_type=String(16))
    secret: bytes = Field(sa_type=LargeBinary, repr=False)
    previous_secret: bytes | None = Field(default=None, sa_type=LargeBinary, repr=False)
    """The secret before the last rotation: it signs as well until `previous_secret_until`, then it is forgotten."""
    previous_secret_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    verified_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the URL last answered a ping; null where the contract has no ping."""
    last_success_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_failure_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    consecutive_failures: int = 0
    first_failure_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the first of the consecutive failures ended; null without one."""
    unhealthy_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Since when it has been failing or disabled; null again as soon as a delivery succeeds."""
    disabled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    disabled_by_operator: bool = False
    """Set while an operator's disable holds: the owner cannot switch it on."""
    rate_limit: int | None = None
    """Its owner's limit: maximum deliveries per second, across all workers."""
    operator_rate_limit: int | None = None
    """An operator's limit; the lower one of both counts."""
    filter: str | None = Field(default=None, sa_type=Text)
    """A CEL expression that events must match; null matches all."""
    transform: str | None = Field(default=None, sa_type=Text)
    """A CEL expression that makes this endpoint's `data` of an event's; null leaves it as it is."""
    headers: bytes | None = Field(default=None, sa_type=LargeBinary, repr=False)
    """Its owner's headers, a JSON object that the vault sealed."""
    header_names: list[str] | None = Field(default=None, sa_type=Json)
    """Their names, which reads show."""
    auth: bytes | None = Field(default=None, sa_type=LargeBinary, repr=False)
    """How its requests authenticate (`policy/endpoints/auth.py`), JSON that the vault sealed."""
    auth_type: str | None = Field(default=None, sa_type=String(16))
    """The `type` of it, which reads show."""
    retry_schedule: list[str] | None = Field(default=None, sa_type=Json)
    """Its owner's waits between attempts, as they were written (`5m`); null is the installation's schedule."""
    timeout_seconds: int | None = None
    """The longest that an attempt may take; null is the installation's."""
    max_in_flight: int | None = None
    """Maximum requests under way, over all workers; null is the installation's."""
    owner_metadata: dict[str, str] | None = Field(default=None, sa_type=Json)
    """Shown as `metadata`, a name that SQLAlchemy keeps for itself."""
    ordered: bool = False
    """Whether its deliveries go out one at a time, in the order of acceptance."""
    last_sequence: int = Field(default=0, sa_type=BigInteger)
    """The highest `sequence` given to a delivery of it."""
    organization_ids: list[str] | None = Field(default=None, sa_type=Json)
    """Of an alert endpoint: the organizations whose operational events it gets; null gets those of all."""
    drain_due: bool = False
    """Set when the endpoint stops being active, cleared when its open deliveries are in the dead-letter store."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)
