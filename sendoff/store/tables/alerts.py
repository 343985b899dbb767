"""Operational events that were committed with what they tell of and are not published yet, and what alerts wait for."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Integer, String
from sqlmodel import Field

from sendoff.store.engine.table import Table
from sendoff.store.engine.types import Identifier, Json, UtcDateTime


class OperationalEvent(Table, table=True):
    """Something that happened, written in the transaction in which it happened, and removed when it is published."""

    __tablename__ = "operational_events"

    id: int | None = Field(default=None, sa_type=BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    type: str = Field(sa_type=String(128))
    organization_id: str | None = Field(default=None, sa_type=Identifier)
    """Whom it happened to; null if it concerns several organizations."""
    endpoint_id: str | None = Field(default=None, sa_type=Identifier)
    subject_id: str | None = Field(default=None, sa_type=Identifier)
    """The dead letter or the replay."""
    facts: dict[str, Any] | None = Field(default=None, sa_type=Json)
    """What only the moment knew. The rest of the event's data is read when it is published."""
    occurred_at: datetime = Field(sa_type=UtcDateTime)


class AlertGroup(Table, table=True):
    """What an alert endpoint for people gets of one event type: the first at once, the others together at `due_at`.

    A row of the operators' organization itself says that `dead_letters.threshold_exceeded` is not said before `due_at`.
    """

    __tablename__ = "alert_groups"

    endpoint_id: str = Field(sa_type=Identifier, primary_key=True)
    type: str = Field(sa_type=String(128), primary_key=True)
    due_at: datetime = Field(sa_type=UtcDateTime)
    count: int = 0
    """Events that wait."""
    first_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    by_endpoint: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    """The endpoints that they tell of, with their number; of the most only some."""
