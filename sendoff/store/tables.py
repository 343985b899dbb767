"""The tables. Times are UTC; each state is one column; rows of history are never updated in place.

Deliveries carry one `next_attempt_at` for everything that can make them due: a retry's time, a manual retry's "now",
and for one in flight the end of its lease. What is due is found by that column alone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, LargeBinary, String, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from sendoff.policy.states import DeadLetterState, DeliveryState, EndpointState, ReplayItemState, ReplayState
from sendoff.store.types import Identifier, Json, Moment

_OPEN = text("state IN ('pending', 'held', 'in_flight')")
_HELD = text("state = 'held'")
_DUE = text("state IN ('pending', 'in_flight')")
_DEAD = text("state = 'dead'")
_DELIVERED = text("state = 'delivered'")


class Organization(SQLModel, table=True):
    """A tenant. `credits` is null without an active subscription."""

    __tablename__ = "organizations"

    id: str = Field(sa_type=Identifier, primary_key=True)
    name: str = Field(sa_type=Text)
    credits: int | None = Field(default=None, sa_type=BigInteger)
    suspended_at: datetime | None = Field(default=None, sa_type=Moment)
    """Set while its keys and tokens are refused; what it was promised to be delivered is delivered all the same."""
    created_at: datetime = Field(sa_type=Moment)


class User(SQLModel, table=True):
    """A person, known by e-mail address."""

    __tablename__ = "users"

    id: str = Field(sa_type=Identifier, primary_key=True)
    email: str = Field(sa_type=Text, unique=True)
    created_at: datetime = Field(sa_type=Moment)


class Membership(SQLModel, table=True):
    """A user belongs to an organization."""

    __tablename__ = "memberships"

    organization_id: str = Field(sa_type=Identifier, primary_key=True, foreign_key="organizations.id")
    user_id: str = Field(sa_type=Identifier, primary_key=True, foreign_key="users.id")
    created_at: datetime = Field(sa_type=Moment)


class ApiKey(SQLModel, table=True):
    """An API key: its SHA-256 to find it by, its first twelve characters to show."""

    __tablename__ = "api_keys"

    id: str = Field(sa_type=Identifier, primary_key=True)
    organization_id: str = Field(sa_type=Identifier, foreign_key="organizations.id", index=True)
    user_id: str = Field(sa_type=Identifier, foreign_key="users.id")
    key_hash: str = Field(sa_type=String(64), unique=True)
    prefix: str = Field(sa_type=String(12))
    scopes: list[str] = Field(sa_type=Json)
    created_at: datetime = Field(sa_type=Moment)
    expires_at: datetime | None = Field(default=None, sa_type=Moment)
    revoked_at: datetime | None = Field(default=None, sa_type=Moment)


class Endpoint(SQLModel, table=True):
    """A registered URL. Its secrets are sealed by the vault, bound to this row's id."""

    __tablename__ = "endpoints"
    __table_args__ = (
        Index("ix_endpoints_organization", "organization_id", "id"),
        Index(
            "ix_endpoints_burial_due",
            "id",
            postgresql_where=text("burial_due"),
            sqlite_where=text("burial_due"),
        ),
    )

    id: str = Field(sa_type=Identifier, primary_key=True)
    organization_id: str = Field(sa_type=Identifier, foreign_key="organizations.id")
    user_id: str | None = Field(default=None, sa_type=Identifier, foreign_key="users.id")
    """Who registered it; null for a token of somebody who is no user here."""
    dialect: str = Field(sa_type=String(32))
    url: str = Field(sa_type=Text)
    description: str | None = Field(default=None, sa_type=Text)
    events: list[str] = Field(sa_type=Json)
    state: str = Field(default=EndpointState.ACTIVE, sa_type=String(16))
    secret: bytes = Field(sa_type=LargeBinary, repr=False)
    previous_secret: bytes | None = Field(default=None, sa_type=LargeBinary, repr=False)
    """The secret before the last rotation: it signs as well until `previous_secret_until`, then it is forgotten."""
    previous_secret_until: datetime | None = Field(default=None, sa_type=Moment)
    verified_at: datetime | None = Field(default=None, sa_type=Moment)
    """When the URL last answered a ping; null where the contract has no ping."""
    last_success_at: datetime | None = Field(default=None, sa_type=Moment)
    last_failure_at: datetime | None = Field(default=None, sa_type=Moment)
    consecutive_failures: int = 0
    disabled_at: datetime | None = Field(default=None, sa_type=Moment)
    rate_limit: int | None = None
    """Deliveries per second at the most, over all workers."""
    burial_due: bool = False
    """Set when the endpoint stops being active, cleared when its open deliveries are in the dead-letter store."""
    created_at: datetime = Field(sa_type=Moment)
    updated_at: datetime = Field(sa_type=Moment)


class EventType(SQLModel, table=True):
    """An event type beyond the built-in ones, with the JSON Schema its `data` must satisfy, if any."""

    __tablename__ = "event_types"

    name: str = Field(sa_type=String(128), primary_key=True)
    data_schema: dict[str, Any] | None = Field(default=None, sa_type=Json)
    created_at: datetime = Field(sa_type=Moment)


class Event(SQLModel, table=True):
    """Something that happened once. `data` is the JSON text as it was handed in, byte for byte."""

    __tablename__ = "events"
    __table_args__ = (
        Index(
            "ix_events_without_deliveries",
            "created_at",
            postgresql_where=text("delivery_count = 0"),
            sqlite_where=text("delivery_count = 0"),
        ),
    )

    id: str = Field(sa_type=String(28), primary_key=True)
    organization_id: str = Field(sa_type=Identifier)
    type: str = Field(sa_type=String(128))
    data: str = Field(sa_type=Text)
    occurred_at: datetime = Field(sa_type=Moment)
    created_at: datetime = Field(sa_type=Moment)
    request_id: str | None = Field(default=None, sa_type=String(64))
    delivery_count: int
    """How many deliveries it was accepted with, less those that are past their retention."""


class Delivery(SQLModel, table=True):
    """One event for one endpoint."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("event_id", "endpoint_id", name="uq_deliveries_event_endpoint"),
        Index("ix_deliveries_due", "next_attempt_at", postgresql_where=_DUE, sqlite_where=_DUE),
        Index("ix_deliveries_held", "endpoint_id", "id", postgresql_where=_HELD, sqlite_where=_HELD),
        Index("ix_deliveries_open", "endpoint_id", "id", postgresql_where=_OPEN, sqlite_where=_OPEN),
        Index("ix_deliveries_endpoint", "endpoint_id", "id"),
        Index("ix_deliveries_dead", "id", postgresql_where=_DEAD, sqlite_where=_DEAD),
        Index("ix_deliveries_dead_of_endpoint", "endpoint_id", "id", postgresql_where=_DEAD, sqlite_where=_DEAD),
        Index("ix_deliveries_delivered", "delivered_at", postgresql_where=_DELIVERED, sqlite_where=_DELIVERED),
    )

    id: str = Field(sa_type=Identifier, primary_key=True)
    event_id: str = Field(sa_type=String(28))
    endpoint_id: str = Field(sa_type=Identifier)
    organization_id: str = Field(sa_type=Identifier)
    state: str = Field(default=DeliveryState.PENDING, sa_type=String(16))
    attempt_count: int = 0
    next_attempt_at: datetime | None = Field(default=None, sa_type=Moment)
    lease: str | None = Field(default=None, sa_type=Identifier)
    """The claim that owns it while in flight; a record under another claim does not count."""
    replay_id: str | None = Field(default=None, sa_type=Identifier)
    """The replay on whose word it is open again."""
    untried_since: datetime | None = Field(default=None, sa_type=Moment)
    """Since when attempts fail by a fault of ours, before they reach anybody; null while they don't."""
    created_at: datetime = Field(sa_type=Moment)
    last_attempt_at: datetime | None = Field(default=None, sa_type=Moment)
    last_response_status: int | None = None
    last_error: str | None = Field(default=None, sa_type=Text)
    delivered_at: datetime | None = Field(default=None, sa_type=Moment)


class Attempt(SQLModel, table=True):
    """One HTTP exchange of a delivery, numbered from 1 without gaps. Never updated."""

    __tablename__ = "attempts"

    delivery_id: str = Field(sa_type=Identifier, primary_key=True)
    number: int = Field(primary_key=True)
    started_at: datetime = Field(sa_type=Moment)
    duration_ms: int
    outcome: str = Field(sa_type=String(32))
    response_status: int | None = None
    error: str | None = Field(default=None, sa_type=Text)


class LastExchange(SQLModel, table=True):
    """What was sent and answered at the last failed attempt of a delivery; the newest replaces the one before."""

    __tablename__ = "last_exchanges"

    delivery_id: str = Field(sa_type=Identifier, primary_key=True)
    attempt: int
    url: str = Field(sa_type=Text)
    request_headers: list[list[str]] = Field(sa_type=Json)
    response_status: int | None = None
    response_headers: list[list[str]] | None = Field(default=None, sa_type=Json)
    response_body: bytes | None = Field(default=None, sa_type=LargeBinary)
    response_truncated: bool = False


class DeadLetter(SQLModel, table=True):
    """A delivery that was given up, as it stood then. One that dies again after a replay gets another."""

    __tablename__ = "dead_letters"
    __table_args__ = (
        Index("ix_dead_letters_state", "state", "id"),
        Index("ix_dead_letters_endpoint", "endpoint_id", "id"),
        Index("ix_dead_letters_organization", "organization_id", "id"),
        Index("ix_dead_letters_delivery", "delivery_id"),
        Index("ix_dead_letters_died", "died_at"),
    )

    id: str = Field(sa_type=Identifier, primary_key=True)
    delivery_id: str = Field(sa_type=Identifier)
    event_id: str = Field(sa_type=String(28))
    event_type: str = Field(sa_type=String(128))
    endpoint_id: str = Field(sa_type=Identifier)
    endpoint_url: str = Field(sa_type=Text)
    organization_id: str = Field(sa_type=Identifier)
    reason: str = Field(sa_type=String(32))
    last_response_status: int | None = None
    last_error: str | None = Field(default=None, sa_type=Text)
    attempt_count: int
    died_at: datetime = Field(sa_type=Moment)
    state: str = Field(default=DeadLetterState.OPEN, sa_type=String(16))
    replayed_at: datetime | None = Field(default=None, sa_type=Moment)


class Replay(SQLModel, table=True):
    """Deliveries sent again on an operator's word, at `rate` per second; `ticked_at` is when it last moved."""

    __tablename__ = "replays"
    __table_args__ = (Index("ix_replays_state", "state"),)

    id: str = Field(sa_type=Identifier, primary_key=True)
    state: str = Field(default=ReplayState.RUNNING, sa_type=String(16))
    filter: dict[str, Any] = Field(sa_type=Json)
    rate: int
    total: int
    requested_by: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=Moment)
    ticked_at: datetime = Field(sa_type=Moment)
    finished_at: datetime | None = Field(default=None, sa_type=Moment)


class ReplayItem(SQLModel, table=True):
    """One delivery of a replay."""

    __tablename__ = "replay_items"
    __table_args__ = (Index("ix_replay_items_state", "replay_id", "state"),)

    replay_id: str = Field(sa_type=Identifier, primary_key=True)
    delivery_id: str = Field(sa_type=Identifier, primary_key=True)
    state: str = Field(default=ReplayItemState.WAITING, sa_type=String(16))


class Upload(SQLModel, table=True):
    """An upload of phone numbers. What follows `updated_at` serves its processing and is not shown."""

    __tablename__ = "uploads"
    __table_args__ = (
        Index("ix_uploads_organization", "organization_id", "id"),
        Index(
            "ix_uploads_waiting",
            "leased_until",
            postgresql_where=text("status IN ('ready_for_processing', 'processing')"),
            sqlite_where=text("status IN ('ready_for_processing', 'processing')"),
        ),
    )

    id: str = Field(sa_type=Identifier, primary_key=True)
    user_id: str = Field(sa_type=Identifier)
    organization_id: str = Field(sa_type=Identifier, foreign_key="organizations.id")
    original_filename: str = Field(sa_type=Text)
    storage_path: str = Field(sa_type=Text)
    file_size_bytes: int = Field(sa_type=BigInteger)
    status: str = Field(sa_type=String(32))
    valid_row_count: int
    invalid_row_count: int
    credits_required: int
    credits_charged: int
    credits_refunded: int = 0
    source: str = Field(sa_type=String(8))
    api_key_id: str | None = Field(default=None, sa_type=Identifier)
    skip_mobile_lookup: bool = False
    processed_storage_path: str | None = Field(default=None, sa_type=Text)
    processed_filtered_storage_path: str | None = Field(default=None, sa_type=Text)
    error_message: str | None = Field(default=None, sa_type=Text)
    exceeded_daily_limit: bool = False
    created_at: datetime = Field(sa_type=Moment)
    updated_at: datetime = Field(sa_type=Moment)
    phone_column: str = Field(sa_type=Text)
    processed_rows: int = 0
    processing_attempts: int = 0
    leased_until: datetime | None = Field(default=None, sa_type=Moment)
    lease: str | None = Field(default=None, sa_type=Identifier)
    request_id: str | None = Field(default=None, sa_type=String(64))
    """The request that made it: whatever is told of it later was caused by that request, too."""


class IdempotencyRecord(SQLModel, table=True):
    """The first answer to a write with an Idempotency-Key; `response_status` is null while that write runs.

    `response_body` is sealed by the vault, bound to organization and key.
    """

    __tablename__ = "idempotency_records"
    __table_args__ = (Index("ix_idempotency_records_created", "created_at"),)

    organization_id: str = Field(sa_type=Identifier, primary_key=True)
    key: str = Field(sa_type=String(255), primary_key=True)
    request_hash: str = Field(sa_type=String(64))
    response_status: int | None = None
    response_body: bytes | None = Field(default=None, sa_type=LargeBinary)
    created_at: datetime = Field(sa_type=Moment)


class AuditEntry(SQLModel, table=True):
    """Who changed or sent what, when. Append-only; secrets never stand in it."""

    __tablename__ = "audit_entries"
    __table_args__ = (Index("ix_audit_entries_organization", "organization_id", "id"),)

    id: str = Field(sa_type=Identifier, primary_key=True)
    at: datetime = Field(sa_type=Moment)
    actor: str = Field(sa_type=Text)
    organization_id: str | None = Field(default=None, sa_type=Identifier)
    action: str = Field(sa_type=String(64))
    target_type: str = Field(sa_type=String(32))
    target_id: str = Field(sa_type=Text)
    before: dict[str, Any] | None = Field(default=None, sa_type=Json)
    after: dict[str, Any] | None = Field(default=None, sa_type=Json)
    request_id: str | None = Field(default=None, sa_type=String(64))
