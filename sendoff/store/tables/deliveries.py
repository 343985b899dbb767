"""Deliveries, their attempts, and the last exchange of each."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index, LargeBinary, String, Text, UniqueConstraint, text
from sqlmodel import Field

from sendoff.policy.states import DeliveryState
from sendoff.store.engine.table import Table
from sendoff.store.engine.types import Identifier, Json, UtcDateTime

_OPEN = text("state IN ('pending', 'held', 'in_flight')")
_HELD = text("state = 'held'")
_QUEUED = text("state = 'queued'")
_PENDING = text("state = 'pending'")
_IN_FLIGHT = text("state = 'in_flight'")
_DEAD = text("state = 'dead'")
_DELIVERED = text("state = 'delivered'")


class Delivery(Table, table=True):
    """One event for one endpoint."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("event_id", "endpoint_id", name="uq_deliveries_event_endpoint"),
        Index("ix_deliveries_due_at", "due_at", postgresql_where=_PENDING, sqlite_where=_PENDING),
        Index("ix_deliveries_leased_until", "leased_until", postgresql_where=_IN_FLIGHT, sqlite_where=_IN_FLIGHT),
        Index(
            "ix_deliveries_held_in_turn",
            "endpoint_id",
            text("(replay_id IS NOT NULL)"),
            "id",
            postgresql_where=_HELD,
            sqlite_where=_HELD,
        ),
        Index(
            "ix_deliveries_queued",
            "endpoint_id",
            "sequence",
            "id",
            postgresql_where=_QUEUED,
            sqlite_where=_QUEUED,
        ),
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
    due_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the next attempt is due, or for a held or queued one was; null while in flight and afterwards."""
    leased_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Until when the claim holds, after which another worker may take it; null unless in flight."""
    lease_token: str | None = Field(default=None, sa_type=Identifier)
    """The claim that owns it while in flight; a record under another claim does not count."""
    sequence: int | None = Field(default=None, sa_type=BigInteger)
    """Its place in the order of acceptance at an ordered endpoint; null if the endpoint was not ordered then."""
    replay_id: str | None = Field(default=None, sa_type=Identifier)
    """The replay on whose word it is open again."""
    blocked_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When delivery first failed for a local reason (DNS, no route); null if the last attempt left this host."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    last_attempt_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_response_status: int | None = None
    last_error: str | None = Field(default=None, sa_type=Text)
    delivered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    data: str | None = Field(default=None, sa_type=Text)
    """What its endpoint's transform made of the event's data; null sends the event's own."""

    @property
    def next_attempt_at(self) -> datetime | None:
        """When the next attempt is due, by the name that the contracts give it; null while others must go first."""
        return None if self.state == DeliveryState.QUEUED else self.due_at


class Attempt(Table, table=True):
    """One HTTP exchange of a delivery, numbered from 1 without gaps. Never updated."""

    __tablename__ = "attempts"
    __table_args__ = (
        # A few bytes for each megabyte of rows, which are inserted in the order of time: it costs an attempt nothing.
        Index(
            "ix_attempts_started_at",
            "started_at",
            postgresql_using="brin",
            postgresql_with={"autosummarize": "on"},
        ).ddl_if(dialect="postgresql"),
    )

    delivery_id: str = Field(sa_type=Identifier, primary_key=True)
    number: int = Field(primary_key=True)
    started_at: datetime = Field(sa_type=UtcDateTime)
    duration_ms: int
    outcome: str = Field(sa_type=String(32))
    response_status: int | None = None
    error: str | None = Field(default=None, sa_type=Text)


class LastExchange(Table, table=True):
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
